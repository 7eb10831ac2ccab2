"""One fit: a network and its loaders become a fitted Learner, its history and what it cost."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from fastai.callback.core import Callback, TrainEvalCallback
from fastai.callback.mixup import CutMix, MixUp
from fastai.callback.training import GradientClip
from fastai.data.core import DataLoaders
from fastai.learner import CastToTensor, Learner
from fastai.optimizer import SGD, RMSProp
from torch import nn

from darkcovid.compute import Compute
from darkcovid.ranks import current
from darkcovid.recipe import Optimiser, Training
from darkcovid.training import schedule
from darkcovid.training.callbacks import Autocast, EachEpoch, History, Recording, ScoreItems
from darkcovid.training.checkpoint import load_checkpoint, save_checkpoint
from darkcovid.training.compiled import Compiled
from darkcovid.training.cost import Cost, measured
from darkcovid.training.fused import FusedAdam
from darkcovid.training.halting import end_of_batch, memory_explained
from darkcovid.training.monitor import Monitored, WholeSide
from darkcovid.training.outcome import Average, Best, Keeper
from darkcovid.training.progressive import Growing
from darkcovid.training.together import Together, refuse_uneven_batches


@dataclass(frozen=True)
class Fitted:
    """A fitted learner, its history over all epochs (earlier sessions of a resumed run included), and the cost."""

    learner: Learner
    history: History
    cost: Cost


def seed_everything(seed: int) -> None:
    """Python's, NumPy's and torch's generators, the three that fastai draws from."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (the one that fastai draws from)
    torch.manual_seed(seed)


def make_learner(dls: DataLoaders, network: nn.Module, loss: Callable, compute: Compute, training: Training) -> Learner:
    """A fastai Learner without fastai's recorder and bars, which read the device once a batch and flood logs."""
    compute.prepare()
    network.to(compute.device, memory_format=torch.channels_last)
    return Learner(
        dls,
        network,
        loss_func=loss,
        opt_func=optimiser(training.optimiser),
        splitter=body_and_head,
        wd=training.weight_decay,
        train_bn=not training.frozen,
        wd_bn_bias=training.optimiser.decay_all,
        default_cbs=False,
        cbs=[TrainEvalCallback(), CastToTensor(), Autocast(compute), *_regularisers(training)],
    )


def optimiser(wanted: Optimiser) -> Callable:
    """fastai's optimiser with the recipe's constants, Adam's with a fused kernel; weight decay is decoupled from the gradient."""
    if wanted.name == "sgd":
        return partial(SGD, mom=wanted.momentum)
    kind = FusedAdam if wanted.name == "adam" else RMSProp
    return partial(kind, mom=wanted.momentum, sqr_mom=wanted.sqr_momentum, eps=wanted.eps)


def body_and_head(network: nn.Module) -> list[list[nn.Parameter]]:
    """Parameter groups: backbone and head of a transfer learner, all in one of any other network."""
    parts = [network.body, network.head] if hasattr(network, "body") else [network]
    return [[parameter for parameter in part.parameters() if parameter.requires_grad] for part in parts]


def fit(
    learner: Learner,
    training: Training,
    compute: Compute,
    *,
    metric: str,
    score: ScoreItems,
    figure: WholeSide | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    on_epoch: Callable[[History], None] = lambda history: None,
    watchers: Sequence[Callback] = (),
    names: Sequence[str] = (),
) -> Fitted:
    """Train through the phases of `training`, saving to `checkpoint` after each epoch, going on from it when `resume` and
    it exists. on_epoch: called with the history after each epoch, and once when a checkpoint is resumed, since a kill may have
    come between the checkpoint and what was derived from it. figure: what `training.monitor` names, where neither `metric` nor
    the loss is meant;
    watchers: more callbacks, such as those of a `Profile`; names: what to call the images in an error.

    Raises DarkCovidError when the loss is no longer a number, or memory is exhausted; DataError when the checkpoint is damaged;
    KeyboardInterrupt at the end of the batch in which SIGINT or SIGTERM came.
    """
    history, spent, kept, ranks = History(), Cost(), {}, current()
    refuse_uneven_batches(training.batch_size, ranks)
    learner.create_opt()
    if resume and checkpoint is not None and checkpoint.is_file():
        saved = load_checkpoint(checkpoint, learner, lambda done: _freeze_for(learner, training, done))
        history, kept, spent = saved.history, saved.kept, Cost(**saved.notes["cost"])
        on_epoch(history)
    keepers = _keepers(training, history, kept)

    with measured(compute.device, spent) as meter, memory_explained(compute, training.batch_size), end_of_batch() as stopping:

        def after_epoch(learner: Learner) -> None:
            if checkpoint is not None:
                held = {keeper.name: keeper.kept for keeper in keepers if keeper.kept is not None}
                save_checkpoint(checkpoint, learner, history, {"cost": meter.cost().as_dict()}, held)
            on_epoch(history)

        together = [Together(ranks)] if ranks.size > 1 else []
        compiled = [Compiled(compute)] if training.compile else []
        monitored = [Monitored(history, training.monitor, figure)] if training.monitor not in (None, metric, "loss") else []
        growing = [Growing(training, history)] if training.progressive else []
        recording = Recording(history, compute, metric, score, names=names)
        callbacks = [recording, EachEpoch(after_epoch), stopping, *monitored, *keepers, *growing, *together, *compiled, *watchers]
        for phase in schedule.phases(training):
            done = len(history.rows)
            if done >= phase.end or schedule.stale(history, training):
                continue
            if done == phase.before:
                schedule.freeze(learner, training, phase)
            schedule.follow(learner, training, phase, callbacks, history)
    for keeper in keepers:
        learner.model.load_state_dict(keeper.kept)
    return Fitted(learner, history, meter.cost())


def _freeze_for(learner: Learner, training: Training, done: int) -> None:
    """Bring the learner into the state in which epoch `done` (counted from 1) was trained."""
    phase = next((phase for phase in schedule.phases(training) if phase.before < done <= phase.end), None)
    if phase is not None:
        schedule.freeze(learner, training, phase)


def _keepers(training: Training, history: History, kept: dict[str, dict[str, torch.Tensor]]) -> list[Keeper]:
    """Later ones decide: the best epoch's weights are of the average where there is one."""
    keepers: list[Keeper] = []
    if training.ema is not None:
        keepers.append(Average(history, training.ema))
    if training.keep == "best":
        keepers.append(Best(history, training.monitor))
    for keeper in keepers:
        keeper.kept = kept.get(keeper.name)
    return keepers


def _regularisers(training: Training) -> list:
    chosen = []
    if training.mixup is not None:
        chosen.append(MixUp(training.mixup))
    if training.cutmix is not None:
        chosen.append(CutMix(training.cutmix))
    if training.clip is not None:
        chosen.append(GradientClip(training.clip))
    return chosen

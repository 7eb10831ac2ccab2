"""One fit: a network and its loaders become a fitted Learner, its history and what it cost."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from fastai.callback.core import TrainEvalCallback
from fastai.callback.schedule import fit_one_cycle  # noqa: F401 (importing it gives Learner the method)
from fastai.data.core import DataLoaders
from fastai.learner import CastToTensor, Learner
from fastai.optimizer import Adam
from torch import nn

from darkcovid.compute import Compute
from darkcovid.recipe import Training
from darkcovid.training.callbacks import Autocast, EachEpoch, History, Recording, ScoreItems
from darkcovid.training.checkpoint import load_checkpoint, save_checkpoint
from darkcovid.training.cost import Cost, measured


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


def make_learner(dls: DataLoaders, network: nn.Module, loss: Callable, compute: Compute, weight_decay: float) -> Learner:
    """A fastai Learner without fastai's recorder and bars, which read the device once a batch and flood logs."""
    compute.prepare()
    network.to(compute.device, memory_format=torch.channels_last)
    return Learner(
        dls,
        network,
        loss_func=loss,
        opt_func=partial(Adam, mom=0.9, sqr_mom=0.99, eps=1e-5),
        wd=weight_decay,
        default_cbs=False,
        cbs=[TrainEvalCallback(), CastToTensor(), Autocast(compute)],
    )


def fit(
    learner: Learner,
    training: Training,
    compute: Compute,
    *,
    metric: str,
    score: ScoreItems,
    checkpoint: Path | None = None,
    resume: bool = False,
    on_epoch: Callable[[History], None] = lambda history: None,
) -> Fitted:
    """Train for `training.epochs`, saving to `checkpoint` after each, going on from it when `resume` and it exists.

    Raises DarkCovidError when the loss is no longer a number; DataError when the checkpoint is damaged.
    """
    history, spent = History(), Cost()
    learner.create_opt()
    if resume and checkpoint is not None and checkpoint.is_file():
        history, notes = load_checkpoint(checkpoint, learner)
        spent = Cost(**notes["cost"])
    done = len(history.rows)

    with measured(compute.device, spent) as meter:

        def after_epoch(learner: Learner) -> None:
            if checkpoint is not None:
                save_checkpoint(checkpoint, learner, history, {"cost": meter.cost().as_dict()})
            on_epoch(history)

        callbacks = [Recording(history, compute, metric, score), EachEpoch(after_epoch)]
        if done < training.epochs:
            _run(learner, training, callbacks, done)
    return Fitted(learner, history, meter.cost())


def _run(learner: Learner, training: Training, callbacks: list, start_epoch: int) -> None:
    if training.schedule == "one_cycle":
        learner.fit_one_cycle(training.epochs, training.lr, cbs=callbacks, start_epoch=start_epoch)
    else:
        learner.fit(training.epochs, training.lr, cbs=callbacks, start_epoch=start_epoch)

"""One fit: a network and its loaders become a fitted Learner, its history and what it cost."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from fastai.callback.core import Callback, TrainEvalCallback
from fastai.callback.training import BnFreeze, GradientClip
from fastai.data.core import DataLoaders
from fastai.learner import CastToTensor, Learner
from fastai.optimizer import SGD, RMSProp
from torch import nn

from darkcovid.core.device import Device, to_channels_last
from darkcovid.core.errors import UsageError
from darkcovid.models.transfer import TransferClassifier
from darkcovid.recipe import Optimizer, Training
from darkcovid.training import schedule
from darkcovid.training.best_weights import BestWeights
from darkcovid.training.callbacks import (
    Autocast,
    EpochEndCallback,
    EpochTimer,
    MetricsRecorder,
    NanGuard,
    ScoreTuple,
    WeightTracker,
)
from darkcovid.training.checkpoint import load_checkpoint, save_checkpoint
from darkcovid.training.compiled import TorchCompileCallback
from darkcovid.training.cuda_graphs import CudaGraphsCallback
from darkcovid.training.ddp import DistributedDataParallelCallback, check_batch_divisible, check_one_gpu_per_process
from darkcovid.training.early_stopping import should_stop_early
from darkcovid.training.group_losses import GroupLoss
from darkcovid.training.history import History
from darkcovid.training.interrupt import defer_signals_to_batch_end, explain_oom
from darkcovid.training.mixup import mixup_callbacks
from darkcovid.training.model_ema import ModelEma
from darkcovid.training.monitored_metric import ValidationMetric, ValidationMetricCallback
from darkcovid.training.optimizer import FusedAdam
from darkcovid.training.progressive import ProgressiveResizing
from darkcovid.training.resources import ResourceUsage, track_resources

LearnerT = TypeVar("LearnerT", bound=Learner)


@dataclass(frozen=True)
class FitResult:
    """A finished fit.

    Attributes:
        learner: With the selected weights.
        history: Over all epochs, earlier sessions of a resumed run included.
        cost: Memory and energy, earlier sessions included.
    """

    learner: Learner
    history: History
    cost: ResourceUsage


@dataclass(frozen=True)
class FitOptions:
    """What is done beside learning.

    Attributes:
        checkpoint: File written after each epoch; None: none.
        resume: Whether to continue from `checkpoint` where it exists.
        on_epoch: Called with the history after each epoch, and once when a checkpoint is resumed, since a kill may have come
            between the checkpoint and what was derived from it.
        callbacks: More fastai callbacks, such as those of a `FitProfiler`.
    """

    checkpoint: Path | None = None
    resume: bool = False
    on_epoch: Callable[[History], None] = lambda history: None
    callbacks: Sequence[Callback] = ()


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's generators, the three that fastai draws from."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (the one that fastai draws from)
    torch.manual_seed(seed)


def create_learner(
    dls: DataLoaders,
    network: nn.Module,
    loss: Callable,
    compute: Device,
    training: Training,
    kind: type[LearnerT] = Learner,
) -> LearnerT:
    """A fastai Learner without fastai's recorder and bars, which read the device once per batch and flood logs.

    Args:
        dls: Training and validation batches.
        network: Moved to the device.
        loss: (outputs, targets) to a number.
        compute: Device and precision.
        training: The recipe's section.
        kind: Learner, or a kind of it.

    Returns:
        The learner.
    """
    compute.prepare()
    to_channels_last(network, compute.device)
    return kind(
        dls,
        network,
        loss_func=loss,
        opt_func=make_opt_func(training.optimizer),
        splitter=gradual_splitter if training.schedule == "gradual_unfreezing" else backbone_head_splitter,
        wd=training.weight_decay,
        train_bn=not training.freeze_backbone,
        wd_bn_bias=training.optimizer.decay_norm_and_bias,
        default_cbs=False,
        cbs=[TrainEvalCallback(), CastToTensor(), Autocast(compute), *_optional(training)],
    )


def make_opt_func(optimizer: Optimizer) -> Callable:
    """fastai's optimizer with the recipe's constants, Adam's with a fused kernel; weight decay is decoupled from the gradient."""
    if optimizer.name == "sgd":
        return partial(SGD, mom=optimizer.momentum)
    kind = FusedAdam if optimizer.name == "adam" else RMSProp
    return partial(kind, mom=optimizer.momentum, sqr_mom=optimizer.sqr_momentum, eps=optimizer.eps)


def backbone_head_splitter(network: nn.Module) -> list[list[nn.Parameter]]:
    """Parameter groups: backbone and head of a transfer learner, all in one of any other network."""
    parts = [network.body, network.head] if isinstance(network, TransferClassifier) else [network]
    return [[parameter for parameter in part.parameters() if parameter.requires_grad] for part in parts]


def gradual_splitter(network: nn.Module) -> list[list[nn.Parameter]]:
    """Parameter groups: four contiguous parts of a transfer learner's backbone with as many layers each, and the head."""
    *_, head = backbone_head_splitter(network)
    layers = [
        [parameter for parameter in layer.parameters(recurse=False) if parameter.requires_grad]
        for layer in network.get_submodule("body").modules()
    ]
    layers = [parameters for parameters in layers if parameters]
    parts = np.array_split(np.arange(len(layers)), schedule.BACKBONE_PARTS)
    return [*([parameter for layer in part for parameter in layers[layer]] for part in parts), head]


def fit(
    learner: Learner,
    training: Training,
    compute: Device,
    *,
    metric: str,
    score: ScoreTuple,
    monitored: ValidationMetric | None = None,
    image_paths: Sequence[str] = (),
    options: FitOptions = FitOptions(),
) -> FitResult:
    """Train through the phases of `training`.

    Args:
        learner: As `create_learner` makes it.
        training: The recipe's section.
        compute: Device and precision.
        metric: Name of the mean of `score`.
        score: (outputs, targets) of a batch to one number per item.
        monitored: What `training.monitor` names, where that is neither `metric` nor the loss.
        image_paths: Of all images of the cohort, for error messages.
        options: Checkpoint, resuming and callbacks.

    Returns:
        The learner with the weights that `training.checkpoint` and `training.ema_decay` select.

    Raises:
        DarkCovidError: A training loss is not finite, or memory is exhausted.
        DataError: The checkpoint is damaged.
        UsageError: The batch cannot be dealt out evenly to the processes, processes share a GPU, or several processes are to fit
            by group DRO.
        KeyboardInterrupt: At the end of the batch in which SIGINT or SIGTERM came.
    """
    history, spent, kept, checkpoint = History(metric), ResourceUsage(), {}, options.checkpoint
    check_batch_divisible(training.batch_size, compute.distributed)
    check_one_gpu_per_process(compute.device)
    group_loss = next((callback for callback in learner.cbs if isinstance(callback, GroupLoss)), None)
    if group_loss is not None and group_loss.kind == "dro" and compute.distributed.size > 1:
        raise UsageError("training.loss.groups: dro is fitted by one process, which sees all groups; start it without accelerate")
    learner.create_opt()
    if options.resume and checkpoint is not None and checkpoint.is_file():
        saved = load_checkpoint(checkpoint, learner, lambda done: _freeze_for(learner, training, done), compute.distributed)
        history, kept, spent = saved.history, saved.kept, ResourceUsage(**saved.notes["cost"])
        if group_loss is not None:
            group_loss.weights = saved.notes["group_weights"]
        options.on_epoch(history)
    trackers = _weight_trackers(training, history, kept)

    with (
        track_resources(compute.device, spent) as meter,
        explain_oom(compute, training.batch_size),
        compute.one_cpu_thread(),
        defer_signals_to_batch_end() as stopping,
    ):

        def after_epoch(learner: Learner) -> None:
            if checkpoint is not None:
                weights = {tracker.name: tracker.kept for tracker in trackers if tracker.kept is not None}
                notes = {"cost": meter.cost().as_dict(), "group_weights": group_loss and group_loss.weights}
                save_checkpoint(checkpoint, learner, history, notes, weights, compute.distributed)
            options.on_epoch(history)

        callbacks = [
            MetricsRecorder(history, compute, score),
            EpochTimer(history, compute),
            NanGuard(history, compute, image_paths),
            EpochEndCallback(after_epoch),
            stopping,
            *_optional_callbacks(training, compute, history, monitored),
            *trackers,
            *options.callbacks,
        ]
        for phase in schedule.phases(training):
            done = len(history.rows)
            if done >= phase.end or should_stop_early(history, training):
                continue
            if done == phase.before:
                schedule.apply_freezing(learner, training, phase)
            schedule.run_phase(learner, training, phase, callbacks, history)
    for tracker in trackers:
        learner.model.load_state_dict(tracker.kept)
    return FitResult(learner, history, meter.cost())


def _optional_callbacks(
    training: Training, compute: Device, history: History, monitored: ValidationMetric | None
) -> list[Callback]:
    """Those that only some recipes or machines need."""
    callbacks: list[Callback] = []
    if monitored is not None and training.monitor not in (None, history.metric, "loss"):
        callbacks.append(ValidationMetricCallback(compute, monitored, partial(history.complete_last, training.monitor)))
    if training.progressive_resizing:
        callbacks.append(ProgressiveResizing(training, history))
    if compute.distributed.size > 1:
        callbacks.append(DistributedDataParallelCallback(compute.distributed))
    if training.compile:
        callbacks.append(TorchCompileCallback())
    elif training.cuda_graphs and compute.device.type == "cuda" and compute.distributed.size == 1:
        callbacks.append(CudaGraphsCallback(compute))
    return callbacks


def _freeze_for(learner: Learner, training: Training, done: int) -> None:
    """Bring the learner into the state in which epoch `done` (counted from 1) was trained."""
    phase = next((phase for phase in schedule.phases(training) if phase.before < done <= phase.end), None)
    if phase is not None:
        schedule.apply_freezing(learner, training, phase)


def _weight_trackers(training: Training, history: History, kept: dict[str, dict[str, torch.Tensor]]) -> list[WeightTracker]:
    """Later ones decide: the best epoch's weights are of the average where there is one."""
    trackers: list[WeightTracker] = []
    if training.ema_decay is not None:
        trackers.append(ModelEma(history, training.ema_decay))
    if training.checkpoint == "best":
        trackers.append(BestWeights(history, training.monitor))
    for tracker in trackers:
        tracker.kept = kept.get(tracker.name)
    return trackers


def _optional(training: Training) -> list[Callback]:
    """Mixup, clipping, and what keeps the statistics of BatchNorm that does not train."""
    callbacks = mixup_callbacks(training)
    if training.clip_grad_norm is not None:
        callbacks.append(GradientClip(training.clip_grad_norm))
    if training.freeze_backbone or training.batch_norm != "train":
        callbacks.append(BnFreeze())
    return callbacks

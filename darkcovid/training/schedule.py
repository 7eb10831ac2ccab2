"""When is which rate used, and which part of the network trains? Phases of epochs, each one call of fastai's own.

What depends on how training goes (plateaus, early stopping) is a function of the history alone, so that a resumed run
decides as the uninterrupted one would have.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from fastai.callback.schedule import (
    ParamScheduler,
    combined_cos,
    fit_one_cycle,  # noqa: F401 (importing it gives Learner the method)
)
from fastai.learner import Learner
from torch import nn

from darkcovid.core.errors import UsageError
from darkcovid.recipe import Recipe, Training
from darkcovid.training.batch_norm import has_batch_norm
from darkcovid.training.callbacks import PlainErrorsCallback
from darkcovid.training.early_stopping import EarlyStopping
from darkcovid.training.history import History
from darkcovid.training.monitored_metric import monitored_values

FINE_TUNE_HEAD_PCT_START, FINE_TUNE_PCT_START, FINE_TUNE_DIV = 0.99, 0.3, 5.0  # of fastai's Learner.fine_tune
BACKBONE_LR_DIVISOR = 100  # how many times lower the earliest layers' rate is, once all train: fastai's fine_tune
BACKBONE_PARTS, DISCRIMINATIVE_FACTOR = 4, 2.6  # of gradual unfreezing: parameter groups before the head's; rate per group
FLAT = 0.75
BY_EPOCH = ("constant", "exponential")


@dataclass(frozen=True)
class Phase:
    """Epochs that are trained in one way.

    Attributes:
        before: Epochs before it.
        epochs: Its own.
        freeze_to: The first parameter group that trains, as fastai's `freeze_to` takes it: 0 all, -1 the head alone.
        run: Trains a learner, with callbacks, from an epoch of the phase on.
    """

    before: int
    epochs: int
    freeze_to: int
    run: Callable[[Learner, list, int], None]

    @property
    def end(self) -> int:
        """Epochs at its end."""
        return self.before + self.epochs


def phases(training: Training) -> list[Phase]:
    """The phases of a recipe's `training`, in order."""
    if training.schedule == "fine_tune":
        return [_one_cycle_head(training), _one_cycle_all(training)]
    if training.schedule == "gradual_unfreezing":
        return _gradual_phases(training)
    if training.unfreeze_epoch is None:
        return [_plain(training, 0, training.epochs, -1 if training.freeze_backbone else 0, training.lr)]
    rest = training.epochs - training.unfreeze_epoch
    return [
        _plain(training, 0, training.unfreeze_epoch, -1, training.lr),
        _plain(training, training.unfreeze_epoch, rest, 0, slice(training.lr / BACKBONE_LR_DIVISOR, training.lr)),
    ]


def total_epochs(recipe: Recipe) -> int:
    """Epochs of all phases of one arm's recipe together; a probe is fitted in one."""
    return 1 if recipe.model.is_probe else phases(recipe.training)[-1].end


def check_has_backbone(network: nn.Module, training: Training) -> None:
    """Refuse a frozen backbone where the network has none.

    Args:
        network: The classifier.
        training: The recipe's section.

    Raises:
        UsageError: The network has no backbone.
    """
    if any(phase.freeze_to for phase in phases(training)) and not hasattr(network, "body"):
        keys = "freeze_backbone, unfreeze_epoch, fine_tune, gradual_unfreezing"
        raise UsageError(f"training: this network has no backbone to freeze; leave out {keys}")
    body = getattr(network, "body", None)
    if training.batch_norm != "train" and (body is None or not has_batch_norm(body)):
        raise UsageError("training.batch_norm: this network has no backbone with BatchNorm; leave it out")


def apply_freezing(learner: Learner, training: Training, phase: Phase) -> None:
    """Let the parts train that train in a phase; the optimizer's state is cleared, as fastai does.

    Args:
        learner: Of the network.
        training: The recipe's section.
        phase: The phase.
    """
    if len(phases(training)) > 1 or phase.freeze_to:
        learner.freeze_to(phase.freeze_to)


def run_phase(learner: Learner, training: Training, phase: Phase, callbacks: list, history: History) -> None:
    """Run what is left of a phase.

    Args:
        learner: Of the network.
        training: The recipe's section.
        phase: The phase.
        callbacks: fastai's, of the whole fit.
        history: The epochs so far.
    """
    extra: list = [EarlyStopping(history, training)]
    if training.schedule in BY_EPOCH:
        extra.append(EpochLRScheduler(history, training))
    phase.run(learner, [*callbacks, *extra], len(history.rows) - phase.before)


def lr_multiplier(history: History, training: Training) -> float:
    """The factor of the next epoch's learning rate.

    Args:
        history: The epochs so far.
        training: The recipe's section.

    Returns:
        `lr_gamma` for each epoch done (`exponential`), times the plateau's `factor` for each time that `monitor` had not
        improved
        for its `patience`.
    """
    factor = training.lr_gamma ** len(history.rows) if training.schedule == "exponential" else 1.0
    if training.reduce_lr_on_plateau is None:
        return factor
    best, waited = -np.inf, 0
    for value in monitored_values(history, training.monitor):
        improved = value > best
        best, waited = max(best, value), 0 if improved else waited + 1
        if waited == training.reduce_lr_on_plateau.patience:
            factor, waited = factor * training.reduce_lr_on_plateau.factor, 0
    return factor


class EpochLRScheduler(PlainErrorsCallback):
    """Sets each epoch's rate from the history so far."""

    def __init__(self, history: History, training: Training):
        self.history, self.training = history, training

    def before_fit(self):
        self.peaks = [group["lr"] for group in self.opt.hypers]

    def before_train(self):
        factor = lr_multiplier(self.history, self.training)
        for group, peak in zip(self.opt.hypers, self.peaks, strict=True):
            group["lr"] = peak * factor


def _plain(training: Training, before: int, epochs: int, freeze_to: int, rate: float | slice) -> Phase:
    def run(learner: Learner, callbacks: list, start: int) -> None:
        if training.schedule == "one_cycle":
            learner.fit_one_cycle(
                epochs, rate, div_final=training.div_final, pct_start=training.warmup_fraction, cbs=callbacks, start_epoch=start
            )
        elif training.schedule == "flat_cos":
            _fit_flat_cos(learner, epochs, rate, training.div_final, callbacks, start)
        else:
            learner.fit(epochs, rate, cbs=callbacks, start_epoch=start)

    return Phase(before, epochs, freeze_to, run)


def _fit_flat_cos(learner: Learner, epochs: int, rate: float | slice, final_div: float, callbacks: list, start: int) -> None:
    """fastai's `fit_flat_cos`, whose `start_epoch` it forgets: flat for three quarters, then a cosine."""
    learner.opt.set_hyper("lr", rate)
    peaks = np.array([group["lr"] for group in learner.opt.hypers])
    scheduler = ParamScheduler({"lr": combined_cos(FLAT, peaks, peaks, peaks / final_div)})
    learner.fit(epochs, cbs=[scheduler, *callbacks], start_epoch=start)


def _one_cycle_head(training: Training) -> Phase:
    def run(learner: Learner, callbacks: list, start: int) -> None:
        learner.fit_one_cycle(
            training.freeze_epochs, slice(training.lr), pct_start=FINE_TUNE_HEAD_PCT_START, cbs=callbacks, start_epoch=start
        )

    return Phase(0, training.freeze_epochs, -1, run)


def _one_cycle_all(training: Training) -> Phase:
    half = training.lr / 2

    def run(learner: Learner, callbacks: list, start: int) -> None:
        rates = slice(half / BACKBONE_LR_DIVISOR, half)
        learner.fit_one_cycle(
            training.epochs, rates, pct_start=FINE_TUNE_PCT_START, div=FINE_TUNE_DIV, cbs=callbacks, start_epoch=start
        )

    return Phase(training.freeze_epochs, training.epochs, 0, run)


def _gradual_phases(training: Training) -> list[Phase]:
    rates = slice(training.lr / DISCRIMINATIVE_FACTOR**BACKBONE_PARTS, training.lr)

    def cycle(epochs: int) -> Callable[[Learner, list, int], None]:
        def run(learner: Learner, callbacks: list, start: int) -> None:
            learner.fit_one_cycle(epochs, rates, cbs=callbacks, start_epoch=start)

        return run

    each = training.freeze_epochs
    growing = [Phase(part * each, each, -1 - part, cycle(each)) for part in range(BACKBONE_PARTS)]
    return [*growing, Phase(growing[-1].end, training.epochs, 0, cycle(training.epochs))]

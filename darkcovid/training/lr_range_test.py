"""The learning-rate range test (Smith 2017) by fastai, leaving no trace: weights, optimizer, callbacks and every random
generator are as they were. fastai's own call writes a file and disturbs state (its issues 3295, 3240, 3658)."""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from fastai.callback.schedule import LRFinder, ParamScheduler, SuggestionMethod
from fastai.learner import Learner, Recorder

from darkcovid.core.errors import DarkCovidError
from darkcovid.training.checkpoint import rng_state, set_rng_state

SUGGESTIONS = ("valley", "steep", "minimum", "slide")
MIN_POINTS = 20


@dataclass(frozen=True)
class RangeTest:
    """A learning-rate range test.

    Attributes:
        lrs: Learning rates tried.
        losses: fastai's smoothed training loss at each.
        suggestions: Learning rate by the suggestion's name.
    """

    lrs: list[float]
    losses: list[float]
    suggestions: dict[str, float]


class TracelessLRFinder(LRFinder):
    """fastai's finder without its temporary file; `lr_find` restores the learner from memory."""

    def before_fit(self):
        ParamScheduler.before_fit(self)
        self.best_loss = float("inf")

    def after_fit(self):
        ParamScheduler.after_fit(self)


def lr_find(learner: Learner, start_lr: float = 1e-7, end_lr: float = 10.0, steps: int = 100) -> RangeTest:
    """Raise the learning rate batch by batch, stopping when the loss is four times its best; the learner stays as it was.

    Args:
        learner: Whose model is trained meanwhile.
        start_lr: The lowest learning rate.
        end_lr: The highest.
        steps: Batches from one to the other.

    Returns:
        The test.

    Raises:
        DarkCovidError: The loss diverges before there is enough to suggest from.
    """
    with preserve_state(learner), learner.added_cbs([Recorder()]), learner.no_logging():
        finder = TracelessLRFinder(start_lr=start_lr, end_lr=end_lr, num_it=steps)
        learner.fit(math.ceil(steps / len(learner.dls.train)), cbs=finder)
        lrs = [float(rate) for rate in learner.recorder.lrs]
        losses = [float(loss) for loss in learner.recorder.losses]
    finite = next((index for index, loss in enumerate(losses) if not math.isfinite(loss)), len(losses))
    lrs, losses = lrs[:finite], losses[:finite]
    if len(losses) < MIN_POINTS:
        raise DarkCovidError(f"the loss diverged after {len(losses)} steps, before any rate could be judged; lower --start-lr")
    return RangeTest(lrs, losses, suggest(lrs, losses, steps))


def suggest(lrs: list[float], losses: list[float], steps: int) -> dict[str, float]:
    """fastai's four suggestions, each from the curve without its first tenth and its last five points.

    Args:
        lrs: Learning rates tried.
        losses: Smoothed training loss at each.
        steps: Batches that were planned.

    Returns:
        Learning rate by the suggestion's name.
    """
    judged = slice(steps // 10, -5)
    rates, curve = torch.tensor(lrs[judged]), torch.tensor(losses[judged])
    return {name: float(getattr(SuggestionMethod, name.capitalize())(rates, curve, steps)[0]) for name in SUGGESTIONS}


@contextmanager
def preserve_state(learner: Learner) -> Iterator[None]:
    """A context after which the learner's weights, optimizer, mode and all random generators are as they were before."""
    weights = copy.deepcopy(learner.model.state_dict())
    modes = [(module, module.training) for module in learner.model.modules()]
    optimizer = None if learner.opt is None else copy.deepcopy(learner.opt.state_dict())
    plain, tensors = rng_state(learner)
    try:
        yield
    finally:
        learner.model.load_state_dict(weights)
        for module, training in modes:
            module.training = training
        learner.model.zero_grad()
        if optimizer is None or learner.opt is None:
            learner.opt = None
        else:
            learner.opt.load_state_dict(optimizer)
        set_rng_state(learner, plain, tensors)

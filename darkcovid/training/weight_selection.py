"""Whose weights are the result: the last epoch's, the best epoch's, or an average over the steps?

Each keeps its own copy, which a checkpoint carries along. fastai's trackers write pickles and need its recorder.
"""

import torch

from darkcovid.training.callbacks import PlainErrorsCallback
from darkcovid.training.history import History
from darkcovid.training.monitored_metric import monitored_values

EMA_WARMUP_STEPS = 10  # steps: until then the average forgets faster, so that fresh weights do not linger


class WeightTracker(PlainErrorsCallback):
    """Holds a copy of the network's state.

    Attributes:
        kept: By the names of its state_dict; None while there is none.
    """

    name = ""

    def __init__(self):
        self.kept: dict[str, torch.Tensor] | None = None

    def remember(self) -> dict[str, torch.Tensor]:
        """Copy the network's present state, and return the copy."""
        self.kept = {name: value.detach().clone() for name, value in self.learn.model.state_dict().items()}
        return self.kept


class ModelEma(WeightTracker):
    """An exponential moving average of the weights (Polyak and Juditsky 1992), on which validation is done.

    BatchNorm's running statistics are averaged along.

    Args:
        history: Whose steps are counted.
        decay: Of the average, in 0..1.
    """

    name, order = "average", 50

    def __init__(self, history: History, decay: float):
        super().__init__()
        self.history, self.decay = history, decay

    def after_step(self):
        kept = self.remember() if self.kept is None else self.kept
        steps = len(self.history.lrs) + 1
        decay = min(self.decay, steps / (steps + EMA_WARMUP_STEPS))
        for name, value in self.learn.model.state_dict().items():
            if value.is_floating_point():
                kept[name].lerp_(value.detach(), 1 - decay)
            else:
                kept[name].copy_(value)

    def before_validate(self):
        self.own = {name: value.detach().clone() for name, value in self.learn.model.state_dict().items()}
        self.learn.model.load_state_dict(self.kept)

    def after_validate(self):
        self.learn.model.load_state_dict(self.own)


class BestWeights(WeightTracker):
    """The weights of the first epoch with the best `monitor` on the validation set."""

    name = "best"

    def __init__(self, history: History, monitor: str | None):
        super().__init__()
        self.history, self.monitor = history, monitor

    def after_validate(self):
        values = monitored_values(self.history, self.monitor)
        if max(values) > max(values[:-1], default=-float("inf")):
            self.remember()

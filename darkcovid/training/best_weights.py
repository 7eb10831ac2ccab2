"""The weights of the best epoch are kept, and a checkpoint carries them along. fastai's tracker writes pickles and needs its
recorder."""

from darkcovid.training.callbacks import WeightTracker
from darkcovid.training.history import History
from darkcovid.training.monitored_metric import monitored_values


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

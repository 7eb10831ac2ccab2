"""Training ends when the monitored metric has stopped improving."""

import numpy as np
from fastai.callback.core import CancelFitException

from darkcovid.recipe import Training
from darkcovid.training.callbacks import PlainErrorsCallback
from darkcovid.training.history import History
from darkcovid.training.monitored_metric import monitored_values


def should_stop_early(history: History, training: Training) -> bool:
    """Whether the best epoch by `monitor` is `early_stopping_patience` epochs old or older.

    Args:
        history: The epochs so far.
        training: The recipe's section.

    Returns:
        False where the recipe asks for no early stopping.
    """
    if training.early_stopping_patience is None or not history.rows:
        return False
    values = monitored_values(history, training.monitor)
    return len(values) - 1 - int(np.argmax(values)) >= training.early_stopping_patience


class EarlyStopping(PlainErrorsCallback):
    """Early stopping, after everything else has seen the epoch."""

    order = 70

    def __init__(self, history: History, training: Training):
        self.history, self.training = history, training

    def after_epoch(self):
        if should_stop_early(self.history, self.training):
            raise CancelFitException

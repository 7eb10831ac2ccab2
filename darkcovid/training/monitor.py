"""By which figure is one epoch better than another? Early stopping, plateaus and the best epoch all ask here."""

from collections.abc import Callable

import torch

from darkcovid.core.distributed import get_distributed
from darkcovid.training.callbacks import PlainErrorsCallback
from darkcovid.training.history import History

LOWER_IS_BETTER = ("loss", "brier", "log_loss", "ece")

ValidationMetric = Callable[[torch.Tensor, torch.Tensor], float]


def monitored_values(history: History, monitor: str | None) -> list[float]:
    """Each epoch's `monitor` of the validation set, turned so that greater is better; None: the task's own metric."""
    if not history.rows:
        return []
    column = "valid_loss" if monitor == "loss" else monitor or history.metric
    sign = -1 if monitor in LOWER_IS_BETTER else 1
    return [sign * row[column] for row in history.rows]


class MonitorMetricCallback(PlainErrorsCallback):
    """Adds a figure of the whole validation set, which no mean over images gives, to each epoch's row. `figure`: of all
    (n, outputs) logits and (n,) labels on the CPU."""

    order = -10  # once `Recording` has written the row, before anything asks for it

    def __init__(self, history: History, monitor: str, figure: ValidationMetric):
        self.history, self.monitor, self.figure = history, monitor, figure

    def before_validate(self):
        self.seen = []

    def after_pred(self):
        if not self.training:
            self.seen.append((self.pred.detach().float().cpu(), torch.Tensor(self.yb[0]).cpu()))

    def after_validate(self):
        everyones = [pair for seen in get_distributed().each(self.seen) for pair in seen]
        logits, labels = (torch.cat(part) for part in zip(*everyones, strict=True))
        self.history.rows[-1][self.monitor] = self.figure(logits, labels)

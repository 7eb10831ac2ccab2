"""By which metric is one epoch better than another? Early stopping, plateaus and the best epoch all ask here."""

from collections.abc import Callable

import torch

from darkcovid.core.device import Device
from darkcovid.recipe import LOWER_IS_BETTER
from darkcovid.training.callbacks import PlainErrorsCallback
from darkcovid.training.history import History

ValidationMetric = Callable[[torch.Tensor, torch.Tensor], float]


def monitored_values(history: History, monitor: str | None) -> list[float]:
    """Each epoch's monitored metric of the validation set.

    Args:
        history: The epochs so far.
        monitor: The metric's name, or "loss"; None: the task's own metric.

    Returns:
        One value per epoch, turned so that greater is better.
    """
    if not history.rows:
        return []
    column = "valid_loss" if monitor == "loss" else monitor or history.metric
    sign = -1 if monitor in LOWER_IS_BETTER else 1
    return [sign * row[column] for row in history.rows]


class MonitorMetricCallback(PlainErrorsCallback):
    """Adds a metric of the whole validation set, which no mean over images gives, to each epoch's row.

    Args:
        history: Whose newest row is completed.
        compute: Whose processes saw a part of the set.
        monitor: The metric's name, which becomes the column's.
        metric: Of all (n, outputs) logits and (n,) labels, on the CPU.
    """

    order = -10  # once `MetricsRecorder` has written the row, before anything asks for it

    def __init__(self, history: History, compute: Device, monitor: str, metric: ValidationMetric):
        self.history, self.compute, self.monitor, self.metric = history, compute, monitor, metric

    def before_validate(self):
        self.seen = []

    def after_pred(self):
        if not self.training:
            self.seen.append((self.pred.detach().float().cpu(), torch.Tensor(self.yb[0]).cpu()))

    def after_validate(self):
        batches = [batch for seen in self.compute.distributed.all_gather(self.seen) for batch in seen]
        logits, labels = (torch.cat(part) for part in zip(*batches, strict=True))
        self.history.rows[-1][self.monitor] = self.metric(logits, labels)

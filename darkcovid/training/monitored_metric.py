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


class ValidationMetricCallback(PlainErrorsCallback):
    """Computes a metric of the whole validation set, which no mean over images gives, after each epoch.

    Args:
        compute: Whose processes saw a part of the set.
        metric: Of all (n, outputs) logits and (n,) labels, on the CPU.
        then: Called with the metric once the epoch's row of the history is written, before anything asks for it.
    """

    order = -10  # after `MetricsRecorder`

    def __init__(self, compute: Device, metric: ValidationMetric, then: Callable[[float], None]):
        self.compute, self.metric, self.then = compute, metric, then

    def before_validate(self):
        self.seen = []

    def after_pred(self):
        if not self.training:
            self.seen.append((self.pred.detach().float().cpu(), torch.Tensor(self.yb[0]).cpu()))

    def after_validate(self):
        batches = [batch for seen in self.compute.distributed.all_gather(self.seen) for batch in seen]
        logits, labels = (torch.cat(part) for part in zip(*batches, strict=True))
        self.then(self.metric(logits, labels))

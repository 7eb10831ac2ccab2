"""fastai callbacks that keep precision, history and time, without asking the device for a number inside an epoch."""

import time
from collections.abc import Callable, Sequence

import torch
from fastai.callback.core import Callback

from darkcovid.core.device import Device
from darkcovid.core.errors import DarkCovidError
from darkcovid.training.history import History
from darkcovid.training.loss import batch_weight

ScoreTuple = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class PlainErrorsCallback(Callback):
    """A callback whose errors arrive as they were raised: fastai rewrites them, and loses an OSError's number and words."""

    def __call__(self, event_name: str):
        return getattr(self, event_name, _nothing)()


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


class Autocast(PlainErrorsCallback):
    """Forward and loss in the compute's precision; predictions come out in float32. fastai's own is CUDA only."""

    order = 10

    def __init__(self, compute: Device):
        self.compute = compute

    def before_batch(self):
        self.context = self.compute.autocast()
        self.context.__enter__()

    def after_pred(self):
        self.learn.pred = self.learn.pred.float()

    def after_loss(self):
        self.context.__exit__(None, None, None)


class MetricsRecorder(PlainErrorsCallback):
    """Adds one row per epoch to a `History`: the mean losses of both sets, the validation set's metric and the learning rate.

    Args:
        history: Gets the rows, and each step's learning rate.
        compute: Whose processes saw a part of each set.
        score: Gives each validation item a number whose mean is the epoch's metric.
    """

    order = -20

    def __init__(self, history: History, compute: Device, score: ScoreTuple):
        self.history, self.compute, self.score = history, compute, score

    def before_train(self):
        self._reset()

    def before_validate(self):
        self._reset()

    def after_pred(self):
        if not self.training:
            self.scores.append(self.score(self.pred.detach(), self.yb[0]))

    def after_batch(self):
        weight = batch_weight(getattr(self.learn, "loss_func", None), self.yb[0])
        self.loss_sum = self.loss_sum + self.loss.detach() * weight
        self.weight = self.weight + weight
        if self.training:
            self.history.lrs.append(float(self.opt.hypers[-1]["lr"]))

    def after_train(self):
        self.train_loss, _ = self._means()

    def after_validate(self):
        valid_loss, metric = self._means()
        row = {
            "epoch": len(self.history.rows) + 1,
            "train_loss": self.train_loss,
            "valid_loss": valid_loss,
            self.history.metric: metric,
            "lr": self.history.lrs[-1],
        }
        self.history.rows.append(row)

    def _reset(self) -> None:
        self.loss_sum, self.weight, self.scores = 0.0, 0.0, []

    def _means(self) -> tuple[float, float]:
        """Mean loss and mean score of what all processes saw of a set; the score of a training set, which has none, is 0."""
        scores = torch.cat(self.scores).float() if self.scores else torch.zeros(0)
        if self.compute.distributed.size == 1:
            return float(self.loss_sum) / (float(self.weight) or 1.0), float(scores.mean()) if len(scores) else 0.0
        local = [float(self.loss_sum), float(self.weight), float(scores.sum()), float(len(scores))]
        sums = self.compute.distributed.all_reduce(torch.tensor(local, dtype=torch.float64, device=self.compute.device))
        loss_sum, weight, score_sum, count = sums.tolist()
        return loss_sum / (weight or 1.0), score_sum / (count or 1.0)


class EpochTimer(PlainErrorsCallback):
    """Adds to each epoch's row the seconds spent in all, waiting for data, in training steps and in validation, and how many
    images the training steps saw.

    Args:
        history: Whose newest row is completed, once `MetricsRecorder` has written it.
        compute: Waited for before the clock is read at the end of a set.
        clock: Seconds since any fixed moment.
    """

    order = -19

    def __init__(self, history: History, compute: Device, clock: Callable[[], float] = time.perf_counter):
        self.history, self.compute, self.clock = history, compute, clock

    def before_train(self):
        self._start()
        self.epoch_began = self.began

    def before_validate(self):
        self._start()

    def before_batch(self):
        self.waited += self.clock() - self.ready

    def after_batch(self):
        self.images += len(self.yb[0])
        self.ready = self.clock()

    def after_train(self):
        self.trained, self.train_waited, self.train_images = self._stop(), self.waited, self.images

    def after_validate(self):
        validated = self._stop()
        self.history.rows[-1] |= {
            "seconds": self.clock() - self.epoch_began,
            "data_seconds": self.train_waited,
            "step_seconds": self.trained - self.train_waited,
            "valid_seconds": validated,
            "train_images": self._images_of_all_processes(),
        }

    def _start(self) -> None:
        self.images, self.waited = 0, 0.0
        self.began = self.ready = self.clock()

    def _stop(self) -> float:
        self.compute.synchronize()
        return self.clock() - self.began

    def _images_of_all_processes(self) -> int:
        return int(self.compute.distributed.all_reduce(torch.tensor(self.train_images, device=self.compute.device)))


class NanGuard(PlainErrorsCallback):
    """Ends a fit at the end of the epoch in which a training loss was not finite, and names the first such step.

    Args:
        history: Of the fit, for the number of the epoch and the learning rates.
        compute: Whose processes all stop when one of them saw such a loss.
        image_paths: Of all images of the cohort, to name those of the step.
    """

    order = -18

    def __init__(self, history: History, compute: Device, image_paths: Sequence[str] = ()):
        self.history, self.compute, self.image_paths = history, compute, image_paths

    def before_train(self):
        self.losses = []

    def after_batch(self):
        if self.training:
            self.losses.append(self.loss.detach())

    def after_train(self):
        losses = torch.stack(self.losses).float() if self.losses else torch.zeros(0, device=self.compute.device)
        steps = torch.nonzero(~torch.isfinite(losses)).flatten()
        if int(self.compute.distributed.all_reduce(torch.tensor(len(steps), device=losses.device))):
            raise DarkCovidError(self._message(losses, int(steps[0]) if len(steps) else None))

    def _message(self, losses: torch.Tensor, step: int | None) -> str:
        """step: The first whose loss is not finite; None: another process has it."""
        epoch, advice = (
            len(self.history.rows) + 1,
            "lower training.lr (`darkcovid lr-find` suggests one) or set training.precision=fp32",
        )
        if step is None:
            return f"the training loss of another process became infinite or nan in epoch {epoch}; {advice}"
        lr = self.history.lrs[len(self.history.lrs) - len(losses) + step]
        return (
            f"the training loss became {float(losses[step])} in epoch {epoch}, step {step + 1} of {len(losses)}, at the learning "
            f"rate {lr:.2e}; {advice}{self._images(step)}"
        )

    def _images(self, step: int) -> str:
        batches = getattr(self.dls.train, "batches", [])
        paths = [self.image_paths[int(row)] for row in batches[step]] if self.image_paths and step < len(batches) else []
        return f" (its images: {', '.join(paths)})" if paths else ""


class EpochEndCallback(PlainErrorsCallback):
    """Calls `then(learner)` after every epoch that was really run, once its history row is written."""

    order = 60

    def __init__(self, then: Callable):
        self.then = then

    def after_validate(self):
        self.then(self.learn)


def _nothing() -> None:
    return None

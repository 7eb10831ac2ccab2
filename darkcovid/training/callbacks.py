"""fastai callbacks that keep precision, history and time, without asking the device for a number inside an epoch."""

import time
from collections.abc import Callable, Sequence

import torch
from fastai.callback.core import Callback

from darkcovid.core.device import Device
from darkcovid.core.distributed import get_distributed
from darkcovid.core.errors import DarkCovidError
from darkcovid.training.history import History
from darkcovid.training.loss import batch_weight

ScoreTuple = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class PlainErrorsCallback(Callback):
    """A callback whose errors arrive as they were raised: fastai rewrites them, and loses an OSError's number and words."""

    def __call__(self, event_name: str):
        return getattr(self, event_name, _nothing)()


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
    """Fills a `History`. `score` gives each validation item a number whose mean is the epoch's metric; `names`: of all images,
    to name those of a batch."""

    order = -20

    def __init__(
        self,
        history: History,
        compute: Device,
        metric: str,
        score: ScoreTuple,
        clock: Callable[[], float] = time.perf_counter,
        names: Sequence[str] = (),
    ):
        self.history, self.compute, self.metric, self.score, self.clock = history, compute, metric, score, clock
        self.names = names
        self.ranks = get_distributed()

    def before_train(self):
        self.losses = []
        self._start_side()
        self.epoch_began = self.began

    def before_validate(self):
        self._start_side()

    def before_batch(self):
        self.waited += self.clock() - self.ready

    def after_pred(self):
        if not self.training:
            self.scores.append(self.score(self.pred.detach(), self.yb[0]))

    def after_batch(self):
        weight = batch_weight(getattr(self.learn, "loss_func", None), self.yb[0])
        self.loss_sum = self.loss_sum + self.loss.detach() * weight
        self.weight = self.weight + weight
        self.items += len(self.yb[0])
        if self.training:
            self.losses.append(self.loss.detach())
            self.history.lrs.append(float(self.opt.hypers[-1]["lr"]))
        self.ready = self.clock()

    def after_train(self):
        self.trained = self._end_side()
        self.train_loss, self.train_waited, self.train_items = self._mean_loss(), self.waited, self.items
        if not torch.isfinite(torch.tensor(self.train_loss)):
            raise DarkCovidError(self._what_broke())

    def after_validate(self):
        validated = self._end_side()
        row = {
            "epoch": len(self.history.rows) + 1,
            "train_loss": self.train_loss,
            "valid_loss": self._mean_loss(),
            self.metric: float(torch.cat(self.scores).float().mean()),
            "lr": self.history.lrs[-1],
            "seconds": self.clock() - self.epoch_began,
            "data_seconds": self.train_waited,
            "step_seconds": self.trained - self.train_waited,
            "valid_seconds": validated,
            "train_images": self.train_items,
        }
        self.history.rows.append(row)

    def _what_broke(self) -> str:
        """The first step whose loss is no number: which it was, its rate, and its images."""
        losses = torch.stack(self.losses).float()
        step = int((~torch.isfinite(losses)).int().argmax())
        rate = self.history.lrs[len(self.history.lrs) - len(losses) + step]
        batches = getattr(self.dls.train, "batches", [])
        names = [self.names[int(row)] for row in batches[step]] if self.names and step < len(batches) else []
        images = f" (its images: {', '.join(names)})" if names else ""
        epoch, steps = len(self.history.rows) + 1, len(losses)
        return (
            f"the training loss became {float(losses[step])} in epoch {epoch}, step {step + 1} of {steps}, at the learning rate "
            f"{rate:.2e}; lower training.lr (`darkcovid lr-find` suggests one) or set training.precision=fp32{images}"
        )

    def _start_side(self):
        self.loss_sum, self.weight, self.items, self.waited, self.scores = 0.0, 0.0, 0, 0.0, []
        self.began = self.ready = self.clock()

    def _end_side(self) -> float:
        self._add_up()
        self.compute.synchronize()
        return self.clock() - self.began

    def _add_up(self) -> None:
        """What all processes saw of this side."""
        ranks, device = self.ranks, self.compute.device
        if ranks.size == 1:
            return
        right = float(torch.cat(self.scores).float().sum()) if self.scores else 0.0
        sums = [float(self.loss_sum), float(self.weight), float(self.items), right]
        self.loss_sum, self.weight, items, right = ranks.total(torch.tensor(sums, dtype=torch.float64, device=device)).tolist()
        self.items = int(items)
        self.scores = [torch.tensor([right / max(items, 1)])]

    def _mean_loss(self) -> float:
        return float(self.loss_sum) / (float(self.weight) or 1.0)


class EpochEndCallback(PlainErrorsCallback):
    """Calls `then(learner)` after every epoch that was really run, once its history row is written."""

    order = 60

    def __init__(self, then: Callable):
        self.then = then

    def after_validate(self):
        self.then(self.learn)


def _nothing() -> None:
    return None

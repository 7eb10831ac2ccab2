"""Where does the time of training go? Stages by a stopwatch in fastai's events, operators by torch's profiler."""

import time
from collections.abc import Callable
from pathlib import Path

from fastai.callback.core import Callback
from torch.profiler import ProfilerActivity, profile

from darkcovid.core.device import Device
from darkcovid.core.io import atomic_path
from darkcovid.training.callbacks import PlainErrorsCallback

STAGES = ("data", "forward", "backward", "optimizer", "validation", "other")
FIRST_STEP, STEPS = 2, 5
OPERATORS = 15
WIDTH = 48


class StageTimer(PlainErrorsCallback):
    """Adds up `seconds` of each stage: data (waiting for a batch, moving and augmenting it), forward (and loss), backward,
    optimizer (and gradient clipping), validation, and other (checkpoints, plots, what else happens between epochs).

    It waits for the device at the end of each stage, so that the work is booked where it belongs; that costs a little time.
    """

    order = -100

    def __init__(self, compute: Device, clock: Callable[[], float] = time.perf_counter):
        self.compute, self.clock = compute, clock
        self.restart(running=True)

    def restart(self, running: bool) -> None:
        """Restart, or stand still."""
        self.seconds: dict[str, float] = dict.fromkeys(STAGES, 0.0)
        self.running, self.last = running, self.clock()

    def before_fit(self):
        self.last = self.clock()

    def before_train(self):
        self._lap("other")

    def before_batch(self):
        self._lap("data")

    def after_loss(self):
        self._lap("forward")

    def after_backward(self):
        self._lap("backward")

    def after_batch(self):
        self._lap("optimizer")

    def before_validate(self):
        self._lap("other", always=True)

    def after_validate(self):
        self._lap("validation", always=True)

    def after_fit(self):
        self._lap("other", always=True)

    def _lap(self, stage: str, always: bool = False) -> None:
        if self.running and (always or self.training):
            self.compute.synchronize()
            now = self.clock()
            self.seconds[stage] += now - self.last
            self.last = now


class TorchProfilerCallback(PlainErrorsCallback):
    """Records a few training steps of the first epoch that it sees, once things are warm: `operators`, the costliest of them,
    and with `write` a trace file for chrome://tracing and perfetto."""

    order = -90

    def __init__(self, compute: Device):
        kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if compute.device.type == "cuda" else [])]
        self.recorder, self.state = profile(activities=kinds), "waiting"
        self.on_device = compute.device.type == "cuda"

    @property
    def operators(self) -> list[tuple[str, float]]:
        """(name, seconds of all recorded steps) of every operator, the costliest first; none where the epoch was too short."""
        if self.state != "done":
            return []
        events = self.recorder.key_averages()
        seconds = [(e.key, (e.self_device_time_total if self.on_device else e.self_cpu_time_total) / 1e6) for e in events]
        return sorted(seconds, key=lambda one: -one[1])

    def write(self, path: Path) -> None:
        """The recorded steps as gzipped JSON."""
        with atomic_path(path) as temporary:
            self.recorder.export_chrome_trace(f"{temporary}.json.gz")
            Path(f"{temporary}.json.gz").replace(temporary)

    def before_batch(self):
        if self.training and self.state == "waiting" and self.iter == FIRST_STEP:
            self.recorder.__enter__()
            self.state = "recording"

    def after_batch(self):
        if self.state == "recording" and self.iter == FIRST_STEP + STEPS - 1:
            self._stop()

    def after_train(self):
        if self.state == "recording":
            self._stop()

    def _stop(self) -> None:
        self.recorder.__exit__(None, None, None)
        self.state = "done"


class FitProfiler:
    """A stopwatch and a trace of one fit, and the page that says what they found."""

    def __init__(self, compute: Device, clock: Callable[[], float] = time.perf_counter):
        self.stopwatch, self.trace = StageTimer(compute, clock), TorchProfilerCallback(compute)

    @property
    def callbacks(self) -> list[Callback]:
        """The callbacks to fit with."""
        return [self.stopwatch, self.trace]

    def page(self, title: str, beside: dict[str, float]) -> str:
        """The table of stages and operators as text.

        Args:
            title: Its first line.
            beside: What else took time, in seconds by name, such as `segment_seconds`.

        Returns:
            Lines.
        """
        stages = {name.replace("_", " "): seconds for name, seconds in beside.items()}
        stages |= {f"training: {stage}": seconds for stage, seconds in self.stopwatch.seconds.items()}
        total = sum(stages.values()) or 1.0
        lines = [title, ""]
        lines += [_line(stage, seconds, total) for stage, seconds in stages.items()]
        lines += [_line("all", total, total)]
        operators = self.trace.operators
        if operators:
            of_all = sum(seconds for _, seconds in operators)
            lines += ["", f"The costliest operators of {STEPS} training steps, by themselves:", ""]
            lines += [_line(name, seconds, of_all) for name, seconds in operators[:OPERATORS]]
        return "\n".join(lines) + "\n"


def _line(name: str, seconds: float, total: float) -> str:
    return f"{name[:WIDTH]:<{WIDTH}}{seconds:10.3f} s{seconds / total:7.1%}"

"""A person watching a run: a live bar on a terminal, plain lines in a log. All of it on stderr, so stdout is for results."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bars

from darkcovid.data.cohort import Cohort
from darkcovid.data.external import ExternalSet
from darkcovid.data.fetch import Fetched, Watcher
from darkcovid.training.callbacks import History


class Progress:
    """Prints stages, the cohort, and each epoch: number, losses, metric and time left."""

    def __init__(self, console: Console | None = None):
        self.console = console or Console(stderr=True, highlight=False, soft_wrap=True)

    def stage(self, text: str) -> None:
        self.console.print(text, markup=False)

    def cohort(self, cohort: Cohort) -> None:
        counts = cohort.counts()
        names = {"train": "training", "valid": "validation", "test": "test"}
        for side, of_class in counts.items():
            classes = ", ".join(f"{count} {label}" for label, count in of_class.items())
            self.stage(f"{names[side]}: {sum(of_class.values())} images ({classes})")
        for bad in cohort.bad[:5]:
            self.stage(f"set aside: {bad.path} ({bad.reason})")
        if len(cohort.bad) > 5:
            self.stage(f"set aside: {len(cohort.bad) - 5} more; all are listed in metrics.json")

    def external(self, sets: Sequence[ExternalSet]) -> None:
        for one in sets:
            classes = ", ".join(f"{count} {label}" for label, count in one.cohort.counts()["test"].items())
            self.stage(f"external, {one.name}: {len(one.cohort)} images ({classes})")
            for reason, count in one.left_out.items():
                self.stage(f"  left out: {count}, {reason}")

    def run_folder(self, path: Path) -> None:
        self.stage(f"run folder: {path}")

    @contextmanager
    def arm(self, name: str, size: tuple[int, int], epochs: int) -> Iterator[Callable[[History], None]]:
        """Announce an arm; yields what shows each epoch's row."""
        self.stage(f"{name}: {epochs} epochs at {size[0]}x{size[1]} px")
        if not self.console.is_terminal:
            yield lambda history: self.stage(f"{name} {epoch_line(history, epochs)}")
            return
        columns = [TextColumn("{task.description}"), BarColumn(8), MofNCompleteColumn(), TextColumn("{task.fields[line]}")]
        with Bars(*columns, console=self.console) as bars:
            task = bars.add_task(name, total=epochs, line="")

            def show(history: History) -> None:
                bars.update(task, completed=len(history.rows), line=short_line(history, epochs))

            yield show
            bars.update(task, completed=epochs)


def silent() -> Progress:
    """Says nothing: of several processes that fit together, one speaks."""
    return Progress(Console(quiet=True))


@contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, nothing in a log; yields what takes the number done so far."""
    console = Console(stderr=True)
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()]
    with Bars(*columns, console=console, disable=not console.is_terminal) as bars:
        task = bars.add_task(what, total=total)
        yield lambda done: bars.update(task, completed=done)


class FetchProgress:
    """A fetch: a bar of bytes with the time left on a terminal, a line for each file in a log."""

    def __init__(self, console: Console | None = None):
        self.console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self.done = self.files = self.came = 0
        self.length: int | None = None
        columns = [
            TextColumn("{task.fields[files]}"),
            BarColumn(12),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        ]
        self.bars = Bars(*columns, console=self.console, disable=not self.console.is_terminal)

    @contextmanager
    def watching(self) -> Iterator[Watcher]:
        with self.bars:
            yield Watcher(self._begin, self._bytes, self._file)

    def _begin(self, files: int, length: int | None) -> None:
        self.files, self.length, self.began = files, length, time.monotonic()
        self.task = self.bars.add_task("", total=length, files=f"0/{files} files")

    def _bytes(self, count: int) -> None:
        self.came += count
        self.bars.update(self.task, advance=count)

    def _file(self, fetched: Fetched) -> None:
        self.done += 1
        self.bars.update(self.task, files=f"{self.done}/{self.files} files")
        if fetched.fault or not self.console.is_terminal:
            what = fetched.fault or f"fetched, {decimal(fetched.length)}"
            self.console.print(f"{self.done}/{self.files} {fetched.path}: {what}{self._left()}", markup=False)

    def _left(self) -> str:
        """`; 12.0 MB of 40.0 MB, 5 min 27 s left`, where lengths are known and some are to come."""
        if not self.length or not 0 < self.came < self.length:
            return ""
        seconds = (time.monotonic() - self.began) * (self.length - self.came) / self.came
        return f"; {decimal(self.came)} of {decimal(self.length)}, {duration(seconds)} left"


def epoch_line(history: History, epochs: int) -> str:
    """`epoch 3/30  train_loss 0.812  valid_loss 0.790  accuracy 0.652  12.1 s  5 min 27 s left`, for a log."""
    row, metric = history.rows[-1], history.metric
    return (
        f"epoch {row['epoch']}/{epochs}  train_loss {row['train_loss']:.3f}  valid_loss {row['valid_loss']:.3f}  "
        f"{metric} {row[metric]:.3f}  {row['seconds']:.1f} s  {duration(seconds_left(history, epochs))} left"
    )


def short_line(history: History, epochs: int) -> str:
    """`5 min 27 s left  loss 0.812/0.790  accuracy 0.652`, beside a bar in 80 columns: training and validation loss."""
    row, metric = history.rows[-1], history.metric
    left = duration(seconds_left(history, epochs))
    return f"{left} left  loss {row['train_loss']:.3f}/{row['valid_loss']:.3f}  {metric} {row[metric]:.3f}"


def seconds_left(history: History, epochs: int) -> float:
    """The remaining epochs at the mean pace of those done."""
    return (epochs - len(history.rows)) * history.total("seconds") / len(history.rows)


def duration(seconds: float) -> str:
    """`8 s`, `5 min 27 s`, `2 h 03 min`."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes} min {seconds:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"

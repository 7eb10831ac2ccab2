"""A person watching a run: a live bar on a terminal, plain lines in a log. All of it on stderr, so stdout is for results."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn
from rich.progress import Progress as Bars

from darkcovid.core import log
from darkcovid.core.words import counted
from darkcovid.data.cohort import Cohort
from darkcovid.data.external import ExternalSet
from darkcovid.data.table_cells import parse_age
from darkcovid.report.duration import duration
from darkcovid.training.history import History

LATEST = 5  # epochs by which the time of those to come is told


class Progress:
    """Prints stages, the cohort, and each epoch: number, losses, metric and time left."""

    def __init__(self, console: Console | None = None):
        self.console = console or log.console

    def stage(self, text: str) -> None:
        """Print one line."""
        self.console.print(text, markup=False)

    def cohort(self, cohort: Cohort) -> None:
        """Print the images of each set and class, and what was excluded or unreadable."""
        counts = cohort.counts()
        names = {"train": "training", "valid": "validation", "test": "test"}
        for side, of_class in counts.items():
            classes = ", ".join(f"{count} {label}" for label, count in of_class.items())
            self.stage(f"{names[side]}: {counted(sum(of_class.values()), 'image')} ({classes})")
        if cohort.excluded_by_label:
            labels = [f"{count} {label or 'without a label'}" for label, count in cohort.excluded_by_label.items()]
            shown = ", ".join(labels[:8]) + (f", {len(labels) - 8} more labels" if len(labels) > 8 else "")
            self.stage(f"excluded, being of no class: {counted(sum(cohort.excluded_by_label.values()), 'image')} ({shown})")
        merged = cohort.manifest.merged_patients
        if merged:
            self.stage(
                f"patient ids: {len(merged)} are spelled in several ways, such as {' and '.join(merged[0])}; each is one patient"
            )
        ages = cohort.rows.age[cohort.rows.age != ""]
        unread = ages[ages.map(parse_age).isna()]
        if len(unread):
            self.stage(
                f"ages: {len(unread)} of {len(ages)} cannot be read, such as {unread.iloc[0]!r}; give years, or 070Y, 018M"
            )
        for bad in cohort.bad[:5]:
            self.stage(f"excluded: {bad.path} ({bad.reason})")
        if len(cohort.bad) > 5:
            self.stage(f"excluded: {len(cohort.bad) - 5} more; all are listed in metrics.json")

    def external(self, sets: Sequence[ExternalSet]) -> None:
        """Print the images of each external set, and how many are left out."""
        for external_set in sets:
            classes = ", ".join(f"{count} {label}" for label, count in external_set.cohort.counts()["test"].items())
            self.stage(f"external, {external_set.name}: {counted(len(external_set.cohort), 'image')} ({classes})")
            for reason, count in external_set.left_out.items():
                self.stage(f"  left out: {count}, {reason}")

    def run_folder(self, path: Path) -> None:
        """Print where the run's files go."""
        self.stage(f"run folder: {path}")

    @contextmanager
    def arm(self, name: str, size: tuple[int, int], epochs: int) -> Iterator[Callable[[History], None]]:
        """Announce an arm.

        Args:
            name: The arm's.
            size: (height, width) of its input in pixels.
            epochs: Of all its phases.

        Yields:
            What shows each epoch's row, given the history.
        """
        self.stage(f"{name}: {counted(epochs, 'epoch')} at {size[0]}x{size[1]} px")
        with self._epochs(name, epochs) as show:
            yield show

    @contextmanager
    def _epochs(self, name: str, epochs: int) -> Iterator[Callable[[History], None]]:
        """What shows each epoch's row."""
        pace = Pace()
        if not self.console.is_terminal:
            yield lambda history: self.stage(f"{name} {epoch_line(history, epochs, pace.seconds_left(history, epochs))}")
            return
        columns = [
            SpinnerColumn(finished_text=" "),
            TextColumn("{task.description}"),
            BarColumn(8),
            MofNCompleteColumn(),
            TextColumn("{task.fields[line]}"),
        ]
        alone = log.take_bar()
        try:
            with Bars(*columns, console=self.console) as bars:
                task = bars.add_task(name, total=epochs, line="")

                def show(history: History) -> None:
                    line = short_line(history, epochs, pace.seconds_left(history, epochs))
                    bars.update(task, completed=len(history.rows), line=line)

                yield show
                bars.update(task, completed=epochs)
        finally:
            if alone:
                log.one_bar.release()


def null_progress() -> Progress:
    """Says nothing: of several processes that fit together, one speaks."""
    return Progress(Console(quiet=True))


def epoch_line(history: History, epochs: int, left: float) -> str:
    """`epoch 3/30  train_loss 0.812  valid_loss 0.790  accuracy 0.652  12.1 s  5 min 27 s left`, for a log.

    Args:
        history: The epochs so far.
        epochs: In all.
        left: Seconds.

    Returns:
        The line.
    """
    row, metric = history.rows[-1], history.metric
    return (
        f"epoch {row['epoch']}/{epochs}  train_loss {row['train_loss']:.3f}  valid_loss {row['valid_loss']:.3f}  "
        f"{metric} {row[metric]:.3f}  {row['seconds']:.1f} s  {_time_left(history, epochs, left)}"
    )


def short_line(history: History, epochs: int, left: float) -> str:
    """`5 min 27 s left  loss 0.812/0.790  accuracy 0.652`, beside a bar in 80 columns: training and validation loss.

    Args:
        history: The epochs so far.
        epochs: In all.
        left: Seconds.

    Returns:
        The line.
    """
    row, metric = history.rows[-1], history.metric
    losses = f"loss {row['train_loss']:.3f}/{row['valid_loss']:.3f}  {metric} {row[metric]:.3f}"
    return f"{_time_left(history, epochs, left)}  {losses}"


def _time_left(history: History, epochs: int, left: float) -> str:
    """After the last epoch, what is done next: every image of the cohort is predicted."""
    return f"{duration(left)} left" if len(history.rows) < epochs else "now predicting"


class Pace:
    """How long the epochs to come will take, by the latest ones: the first is slower, for what is made once, and those of frozen
    layers are faster. What passes between epochs, such as writing checkpoints, counts.

    Args:
        clock: Seconds since any fixed moment.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self.clock = clock
        self.ends: deque[float] = deque(maxlen=LATEST + 1)

    def seconds_left(self, history: History, epochs: int) -> float:
        """Of the remaining epochs; to be called once at the end of each.

        Args:
            history: The epochs so far.
            epochs: In all.

        Returns:
            Seconds.
        """
        self.ends.append(self.clock())
        passed = [end - begin for begin, end in pairwise(self.ends)]
        latest = passed or [history.rows[-1]["seconds"]]
        return (epochs - len(history.rows)) * median(latest)

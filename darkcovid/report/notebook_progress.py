"""A person watching a run in a notebook: a line on what is done now, and a table of epochs as fastai shows one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

from rich.console import Console

from darkcovid.report.duration import duration
from darkcovid.report.progress import Pace, Progress
from darkcovid.training.history import History

COLUMNS = ("epoch", "train_loss", "valid_loss")


class NotebookProgress(Progress):
    """Shows stages as text, and for each fit a table that grows by a row per epoch."""

    def __init__(self) -> None:
        super().__init__(Console(quiet=True))

    def stage(self, text: str) -> None:
        """Show one line."""
        print(text)

    @contextmanager
    def _epochs(self, name: str, epochs: int) -> Iterator[Callable[[History], None]]:
        from IPython.display import HTML, display

        shown: Any = display(HTML(""), display_id=True)
        pace = Pace()

        def show(history: History) -> None:
            shown.update(HTML(epoch_table(history, epochs, pace.seconds_left(history, epochs))))

        yield show


def epoch_table(history: History, epochs: int, left: float) -> str:
    """The epochs so far as an HTML table, and the time left.

    Args:
        history: The epochs so far.
        epochs: In all.
        left: Seconds.

    Returns:
        HTML.
    """
    columns = [*COLUMNS, history.metric]
    head = "".join(f"<th>{escape(column)}</th>" for column in [*columns, "time"])
    rows = []
    for row in history.rows:
        cells = [str(row["epoch"]), *(f"{row[column]:.4f}" for column in columns[1:]), duration(row["seconds"])]
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    done = len(history.rows)
    remaining = "" if done >= epochs else f", {duration(left)} left"
    bar = f"<progress value='{done}' max='{epochs}'></progress> {done}/{epochs}{remaining}"
    return f"{bar}<table><tr>{head}</tr>{''.join(rows)}</table>"

"""What a person is told while a command works, on stderr, so that stdout is for results."""

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from darkcovid.core.credentials import without_credentials
from darkcovid.core.words import printable

console = Console(stderr=True, highlight=False, soft_wrap=True)
logger = logging.getLogger("darkcovid")
one_bar = threading.Lock()  # held while a bar is shown: older rich refuses a second one


class ConsoleHandler(logging.Handler):
    """Prints each message in a line of its own, through rich's console so that live bars stay whole; warnings also when quiet."""

    def emit(self, record: logging.LogRecord) -> None:
        """logging's: print a record on stderr, through rich's console."""
        text = printable(without_credentials(self.format(record)))
        if record.levelno >= logging.WARNING and console.quiet:
            print(text, file=sys.stderr)
        else:
            console.print(text, markup=False)


class LineFormatter(logging.Formatter):
    """The message alone, after `warning: ` or `error: ` where it is one."""

    def format(self, record: logging.LogRecord) -> str:
        """logging's: the message, after its level from warnings on."""
        prefix = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        return prefix + record.getMessage()


def configure_logging(quiet: bool = False, verbose: bool = False) -> None:
    """Set up logging for the command line.

    Args:
        quiet: Warnings and errors only, no progress.
        verbose: What darkcovid and its libraries log too, with each logger's name and level.
    """
    console.quiet = quiet
    handler = ConsoleHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s") if verbose else LineFormatter())
    logging.basicConfig(level=logging.DEBUG if verbose else logging.WARNING, handlers=[handler], force=True)
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)


def nothing_gives_way() -> None:
    """There is no sign to be taken away."""


give_way: Callable[[], None] = nothing_gives_way  # takes the turning sign away, where one is shown


def take_bar() -> bool:
    """Hold `one_bar`, where no other bar does; a turning sign gives way."""
    if one_bar.acquire(blocking=False):
        return True
    give_way()
    return one_bar.acquire(blocking=False)


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A context with a bar on a terminal, and nothing in a log or while another bar is shown.

    Args:
        what: Before the bar.
        total: Steps in all.

    Yields:
        What takes the number of steps done so far.
    """
    if not take_bar():
        yield lambda done: None
        return
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()]
    try:
        with Bars(*columns, console=console, disable=not console.is_terminal) as bars:
            task = bars.add_task(what, total=total)
            yield lambda done: bars.update(task, completed=done)
    finally:
        one_bar.release()


@contextmanager
def turning_sign() -> Iterator[Callable[[str], None]]:
    """A context with a turning sign and the time so far, on a terminal; nothing while a bar is shown.

    Yields:
        What takes the text beside it.
    """
    if not one_bar.acquire(blocking=False):
        yield lambda text: None
        return
    try:
        columns = [SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()]
        with Bars(*columns, console=console, transient=True) as bars:
            task = bars.add_task("", total=None)
            yield lambda text: bars.update(task, description=text)
    finally:
        one_bar.release()

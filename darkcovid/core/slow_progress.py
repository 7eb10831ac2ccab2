"""How far work on many things has come, once it takes long enough to be wondered about."""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from html import escape
from typing import Any

from darkcovid.core import log
from darkcovid.core.log import progress_bar

PATIENCE, BETWEEN = 2.0, 0.2  # seconds until a bar is shown, and from one drawing to the next


def slow_progress(doing: str, results: Iterable, total: int) -> Iterator:
    """The results as they come; after two seconds under a bar, on a terminal or in a notebook, of one process of several.

    Args:
        doing: Said beside the bar.
        results: Any.
        total: How many they will be.

    Yields:
        Each result.
    """
    began = drawn = time.monotonic()
    main = os.environ.get("RANK", "0") == "0"
    with ExitStack() as stack:
        show: Callable[[int], None] | None = None
        for done, result in enumerate(results, 1):
            now = time.monotonic()
            if main and show is None and now - began > PATIENCE and done < total:
                show = stack.enter_context(notebook_bar(doing, total) if in_notebook() else progress_bar(doing, total))
            if show is not None and (now - drawn > BETWEEN or done == total):
                show(done)
                drawn = now
            yield result


@contextmanager
def slow_step(doing: str) -> Iterator[None]:
    """A context of work whose length is not known: after two seconds it is told what is done, in one line of a log; on a terminal
    with a turning sign and the time so far, which are gone afterwards. A step inside another is told in its place while it lasts.
    Of one process of several; a bar takes its place.

    Args:
        doing: What is done, such as "small: intervals".

    Yields:
        Nothing.
    """
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    step = object()
    timer = threading.Timer(PATIENCE, lambda: _STEPS.show(step))
    timer.daemon = True
    _STEPS.enter(step, doing)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        _STEPS.leave(step)


class _Steps:
    """The steps that go on, and the sign that tells the one that began last. A bar takes the sign's place; it comes back with the
    next step that begins or ends."""

    def __init__(self) -> None:
        self.names: dict[object, str] = {}
        self.late = False  # whether one of them has lasted two seconds
        self.tell: Callable[[str], None] | None = None
        self.shown, self.lock = ExitStack(), threading.RLock()

    def enter(self, step: object, doing: str) -> None:
        with self.lock:
            self.names[step] = doing
            self._tell_last()

    def show(self, step: object) -> None:
        """A step has lasted two seconds."""
        with self.lock:
            if step not in self.names:
                return
            if in_notebook() or log.console.is_terminal:
                self.late = True
                self._tell_last()
            elif not log.one_bar.locked():
                log.console.print(f"{self.names[step]} ...", markup=False)

    def leave(self, step: object) -> None:
        with self.lock:
            del self.names[step]
            if self.names:
                self._tell_last()
            else:
                self.late = False
                self.hide()

    def hide(self) -> None:
        with self.lock:
            self.tell, log.give_way = None, log.nothing_gives_way
            self.shown.close()

    def _tell_last(self) -> None:
        if not self.late:
            return
        if self.tell is None and in_notebook():
            self.tell = self.shown.enter_context(notebook_text())
        elif self.tell is None and not log.one_bar.locked():
            self.tell, log.give_way = self.shown.enter_context(log.turning_sign()), self.hide
        if self.tell is not None:
            self.tell(next(reversed(self.names.values())))


_STEPS = _Steps()


def in_notebook() -> bool:
    """Whether this is a kernel of Jupyter or Colab, where output is shown as HTML."""
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    shell = get_ipython()
    return shell is not None and hasattr(shell, "kernel")


@contextmanager
def notebook_bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A context with a bar in a notebook, which is gone afterwards.

    Args:
        what: Beside the bar.
        total: Steps in all.

    Yields:
        What takes the number of steps done so far.
    """
    from IPython.display import HTML, display

    shown: Any = display(HTML(""), display_id=True)
    yield lambda done: shown.update(HTML(f"<progress value='{done}' max='{total}'></progress> {escape(what)}, {done}/{total}"))
    shown.update(HTML(""))


@contextmanager
def notebook_text() -> Iterator[Callable[[str], None]]:
    """A context with a line in a notebook, which is gone afterwards.

    Yields:
        What takes the line.
    """
    from IPython.display import HTML, display

    shown: Any = display(HTML(""), display_id=True)
    yield lambda text: shown.update(HTML(f"{escape(text)} ..."))
    shown.update(HTML(""))

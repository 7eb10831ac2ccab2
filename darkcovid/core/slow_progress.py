"""How far work on many things has come, once it takes long enough to be wondered about."""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from html import escape
from typing import Any

from darkcovid.core.log import progress_bar, turning_sign

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
    """A context of work whose length is not known: after two seconds a line says what is done, on a terminal with a turning sign
    and the time so far, which are gone afterwards. Of one process of several; not while a bar is shown.

    Args:
        doing: What is done, such as "small: intervals".

    Yields:
        Nothing.
    """
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    lock, shown, ended = threading.Lock(), ExitStack(), threading.Event()

    def show() -> None:
        with lock:
            if not ended.is_set():
                shown.enter_context(notebook_text(doing) if in_notebook() else turning_sign(doing))

    timer = threading.Timer(PATIENCE, show)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        ended.set()
        timer.cancel()
        with lock:
            shown.close()


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
def notebook_text(what: str) -> Iterator[None]:
    """A context with a line in a notebook, which is gone afterwards.

    Args:
        what: Said.

    Yields:
        Nothing.
    """
    from IPython.display import HTML, display

    shown: Any = display(HTML(f"{escape(what)} ..."), display_id=True)
    yield
    shown.update(HTML(""))

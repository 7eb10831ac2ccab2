"""Work that takes long is seen to go on, on a terminal and in a notebook, and nowhere else."""

import io
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from rich.console import Console

from darkcovid.core import log, slow_progress
from darkcovid.core.threads import map_in_threads


@pytest.fixture
def terminal(monkeypatch):
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    monkeypatch.setattr(log, "console", console)
    return console.file


def doubled(count=50):
    return map_in_threads(lambda number: 2 * number, range(count), "reading images")


def test_a_bar_on_a_terminal_once_it_takes_long(terminal, monkeypatch):
    assert doubled() == list(range(0, 100, 2))
    assert terminal.getvalue() == ""
    monkeypatch.setattr(slow_progress, "PATIENCE", 0.0)
    assert doubled() == list(range(0, 100, 2))
    assert "reading images" in terminal.getvalue()
    assert "50/50" in terminal.getvalue()


def test_nothing_in_a_log_of_other_processes_or_where_nothing_is_done(terminal, monkeypatch):
    monkeypatch.setattr(slow_progress, "PATIENCE", 0.0)
    assert doubled(0) == []
    monkeypatch.setenv("RANK", "1")
    assert len(doubled()) == 50
    assert terminal.getvalue() == ""
    monkeypatch.delenv("RANK")
    monkeypatch.setattr(log, "console", Console(file=terminal))
    assert len(doubled()) == 50
    assert terminal.getvalue() == ""


def test_a_bar_within_a_bar_is_not_shown(terminal, monkeypatch):
    monkeypatch.setattr(slow_progress, "PATIENCE", 0.0)
    with log.progress_bar("importing", 1) as show:
        assert doubled() == list(range(0, 100, 2))
        show(1)
    assert "importing" in terminal.getvalue()
    assert "reading images" not in terminal.getvalue()
    doubled()
    assert "reading images" in terminal.getvalue()


def test_a_bar_in_a_notebook_is_gone_afterwards(monkeypatch):
    shown = []

    class Display:
        def update(self, html):
            shown.append(html.data)

    monkeypatch.setattr(slow_progress, "PATIENCE", 0.0)
    monkeypatch.setattr(slow_progress, "in_notebook", lambda: True)
    monkeypatch.setattr("IPython.display.display", lambda html, display_id: Display())
    doubled()
    assert "<progress value='50' max='50'></progress> reading images, 50/50" in shown
    assert shown[-1] == ""


def test_a_mistake_in_the_work_is_raised_as_it_is(terminal, monkeypatch):
    monkeypatch.setattr(slow_progress, "PATIENCE", 0.0)
    with pytest.raises(ZeroDivisionError):
        map_in_threads(lambda number: 1 / number, [2, 1, 0], "reading images")


def step(seconds=0.3):
    with slow_progress.slow_step("small: intervals"):
        time.sleep(seconds)


def test_a_step_of_unknown_length_is_told_once_it_takes_long(terminal, monkeypatch):
    step(0)
    assert terminal.getvalue() == ""
    monkeypatch.setattr(slow_progress, "PATIENCE", 0.05)
    step()
    assert "small: intervals" in terminal.getvalue() and "0:00:00" in terminal.getvalue()
    terminal.truncate(0)
    with log.progress_bar("importing", 1):
        step()
    assert "small: intervals" not in terminal.getvalue()
    monkeypatch.setenv("RANK", "1")
    step()
    assert "small: intervals" not in terminal.getvalue()


def test_a_long_step_is_one_line_of_a_log_also_where_it_fails(terminal, monkeypatch):
    monkeypatch.setattr(slow_progress, "PATIENCE", 0.05)
    monkeypatch.setattr(log, "console", Console(file=terminal))
    with pytest.raises(ValueError, match="inner"), slow_progress.slow_step("outer"):
        while not terminal.getvalue():
            time.sleep(0.01)
        step()
        raise ValueError("inner")
    assert terminal.getvalue() == "outer ...\nsmall: intervals ...\n"
    monkeypatch.setattr(log, "console", Console(file=terminal, quiet=True))
    step()
    assert terminal.getvalue().count("intervals") == 1


def test_a_step_inside_another_is_told_in_its_place(terminal, monkeypatch):
    monkeypatch.setattr(slow_progress, "PATIENCE", 0.05)
    with slow_progress.slow_step("small: audits"):
        time.sleep(0.3)
        step()
        inside = len(terminal.getvalue())
        time.sleep(0.3)
    said = terminal.getvalue()
    assert said.index("small: audits") < said.index("small: intervals") < inside
    assert "small: audits" in said[inside:]
    assert log.take_bar()  # the sign has given it back
    log.one_bar.release()


def test_a_bar_takes_the_place_of_a_step_and_the_step_comes_back(terminal, monkeypatch):
    monkeypatch.setattr(slow_progress, "PATIENCE", 0.05)
    with slow_progress.slow_step("near copies"):
        time.sleep(0.3)
        with log.progress_bar("importing", 3) as show:
            show(2)
            time.sleep(0.3)
        bar = terminal.getvalue()
        assert bar.index("near copies") < bar.index("importing") and "2/3" in bar
        step()
        after = terminal.getvalue()[len(bar) :]
        assert "small: intervals" in after
        time.sleep(0.3)
    assert terminal.getvalue()[len(bar) + len(after) :].count("near copies")


def test_a_step_that_grew_long_under_a_bar_is_told_after_it(terminal, monkeypatch):
    monkeypatch.setattr(slow_progress, "PATIENCE", 0.05)
    with slow_progress.slow_step("near copies"):
        with log.progress_bar("importing", 1):
            time.sleep(0.3)
        step(0.2)
    assert "small: intervals" in terminal.getvalue()


def test_steps_of_threads_end_as_they_like(terminal, monkeypatch):
    monkeypatch.setattr(slow_progress, "PATIENCE", 0.05)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(step, [0.3, 0.1, 0.2, 0.05, 0.15]))
    assert not slow_progress._STEPS.names and log.take_bar()
    log.one_bar.release()

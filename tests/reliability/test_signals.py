"""SIGINT and SIGTERM end a run after the batch, with the command that goes on."""

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import psutil
import pytest

from darkcovid.recipe import FitId
from darkcovid.scale import parallel
from darkcovid.training import interrupt
from darkcovid.training.interrupt import defer_signals_to_batch_end

from ..conftest import RECIPES
from .attempts import SETS


@pytest.fixture(autouse=True)
def sigint_is_heard():
    """A shell's background job begins with SIGINT ignored, and so would its children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_batch_and_says_how_to_go_on(tmp_path, number):
    words = ["run", str(RECIPES / "base.yaml"), "--runs-dir", str(tmp_path)]
    words += [word for key in [*SETS, "training.epochs=2000"] for word in ("--set", key)]
    process = subprocess.Popen([sys.executable, "-m", "darkcovid", *words], stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if "epoch 2/2000" in line:
            break
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "Traceback" not in said
    (told,) = [line for line in said.splitlines() if line.startswith("interrupted; continue with: ")]
    command = shlex.split(told.removeprefix("interrupted; continue with: darkcovid "))
    assert command == [*words, "--resume"]
    (run,) = tmp_path.iterdir()
    done = len(pd.read_csv(run / "base" / "history.csv"))
    assert done >= 2
    goes_on = subprocess.Popen([sys.executable, "-m", "darkcovid", *command], stderr=subprocess.PIPE, text=True)
    for line in goes_on.stderr:
        if "epoch " in line:
            assert f"epoch {done + 1}/2000" in line
            break
    goes_on.kill()
    goes_on.communicate()


@pytest.mark.slow
def test_a_signal_to_parallel_fits_ends_all_of_them(tmp_path):
    words = ["run", str(RECIPES / "base.yaml"), "--runs-dir", str(tmp_path), "--jobs", "2"]
    words += [word for key in [*SETS, "training.epochs=2000", "training.folds=3"] for word in ("--set", key)]
    process = subprocess.Popen([sys.executable, "-m", "darkcovid", *words], stderr=subprocess.PIPE, text=True)
    while len(list(tmp_path.glob("*/base/fold*/history.csv"))) < 2:
        assert process.poll() is None
        time.sleep(0.1)
    fits = psutil.Process(process.pid).children()
    process.send_signal(signal.SIGINT)
    try:
        said = process.communicate(timeout=120)[1]
    finally:
        left = [one for one in (process, *fits) if (one.poll() is None if one is process else one.is_running())]
        for one in left:
            one.kill()
    assert not left
    assert process.returncode == 130
    assert "Traceback" not in said and "failed" not in said and "--jobs 2" in said and said.rstrip().endswith("--resume")
    assert len(fits) == 2
    (run,) = tmp_path.iterdir()
    assert json.loads((run / "status.json").read_text())["state"] == "interrupted"
    assert not (run / "base" / "fold3" / "history.csv").exists()


def test_a_signal_waits_for_the_batch_and_a_later_one_does_not(monkeypatch):
    monkeypatch.setattr(interrupt, "TOGETHER", 0.0)
    before = signal.getsignal(signal.SIGINT)
    seen = []
    with pytest.raises(KeyboardInterrupt), defer_signals_to_batch_end() as stopping:
        os.kill(os.getpid(), signal.SIGINT)
        seen.append(stopping.told)
        stopping.after_batch()
    assert seen == [True]
    with pytest.raises(KeyboardInterrupt), defer_signals_to_batch_end():
        os.kill(os.getpid(), signal.SIGTERM)
        seen.append("in the batch")
        os.kill(os.getpid(), signal.SIGTERM)
        seen.append("never")
    assert seen == [True, "in the batch"]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_terminal_and_the_run_that_started_a_fit_ask_once():
    with pytest.raises(KeyboardInterrupt), defer_signals_to_batch_end() as stopping:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGTERM):
            os.kill(os.getpid(), number)
        told = stopping.told
        stopping.after_batch()
    assert told


def test_a_signal_that_is_ignored_stays_so():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with defer_signals_to_batch_end() as stopping:
        os.kill(os.getpid(), signal.SIGINT)
    assert not stopping.told
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


FIT = """#!/bin/bash
trap "echo x >> {folder}/asked" TERM
echo $$ >> {folder}/began
while [ $(wc -l < {folder}/asked) -lt {enough} ]; do sleep 0.1; done
"""


@pytest.fixture
def fits_that_are_asked(tmp_path, monkeypatch):
    """Two processes in place of fits, and what makes them: each ends after so many lines of `asked`."""

    def start(enough):
        (tmp_path / "asked").touch()
        (tmp_path / "began").touch()
        (tmp_path / "fit").write_text(FIT.format(folder=tmp_path, enough=enough))
        (tmp_path / "fit").chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(tmp_path / "fit"))
        return parallel.ChildProcesses(2)

    return start


def lines(path):
    return path.read_text().splitlines()


def wait_for(path, count):
    while len(lines(path)) < count:
        time.sleep(0.02)


def begun(processes, pool):
    return [pool.submit(parallel.run_fit, processes, Path("run"), Path("cache"), print, "arm", FitId(fold)) for fold in (1, 2, 3)]


def test_every_signal_is_passed_on_to_the_fits(fits_that_are_asked, tmp_path):
    processes = fits_that_are_asked(4)
    with processes.signals_passed_on(), ThreadPoolExecutor(2) as pool:
        fits = begun(processes, pool)
        for asked in (2, 4):
            wait_for(tmp_path / "began", 2)
            os.kill(os.getpid(), signal.SIGINT)
            wait_for(tmp_path / "asked", asked)
    assert processes.stopped.is_set()
    assert len(lines(tmp_path / "began")) == 2  # the third was not begun
    assert [fit.result() for fit in fits] == ["arm/fold1", "arm/fold2", "arm/fold3"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_fits_are_of_the_process_group_of_their_run(fits_that_are_asked, tmp_path):
    """So a closed terminal, Ctrl-Z and `timeout` reach them."""
    processes = fits_that_are_asked(1)
    with processes.signals_passed_on(), ThreadPoolExecutor(2) as pool:
        begun(processes, pool)
        wait_for(tmp_path / "began", 2)
        groups = {os.getpgid(int(pid)) for pid in lines(tmp_path / "began")}
        (tmp_path / "asked").write_text("x\n")
    assert groups == {os.getpgid(0)}
    assert not processes.stopped.is_set()


def test_outside_the_main_thread_signals_stay_as_they_are():
    found = []

    def work():
        with defer_signals_to_batch_end() as stopping:
            stopping.after_batch()
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    before = signal.getsignal(signal.SIGINT)
    thread.start()
    thread.join()
    assert found == [before]

"""Fits as tasks of a real Ray cluster on this machine."""

import _thread
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from darkcovid.scale import ray_cluster

from ..commands import error_of
from .test_parallel import RECIPE, WORDS

FEW_EPOCHS = [*WORDS, "--set", "training.epochs=5", "--set", "training.folds=null"]


def kill_one_fit(parent: int) -> None:
    """Kill a fit once it has written a checkpoint of its first epoch."""
    ends = time.monotonic() + 120
    while time.monotonic() < ends:
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if "--run-dir" in words and "--arm" in words and parent in (above.pid for above in process.parents()):
                folder = Path(words[words.index("--run-dir") + 1], words[words.index("--arm") + 1])
                if any(folder.glob("checkpoint*")):
                    os.kill(process.pid, signal.SIGKILL)
                    return
        time.sleep(0.02)
    raise AssertionError("no fit wrote a checkpoint")


@pytest.mark.slow
def test_fits_on_ray_are_those_of_jobs_also_when_one_is_killed(darkcovid, tmp_path):
    (tmp_path / "parts.yaml").write_text(RECIPE)
    words = ["run", str(tmp_path / "parts.yaml"), *FEW_EPOCHS, "--cache-dir", str(tmp_path / "cache"), "--json"]
    darkcovid(*words, "--runs-dir", tmp_path / "jobs", "--jobs", 2)
    command = [sys.executable, "-m", "darkcovid", *words, "--runs-dir", str(tmp_path / "ray"), "--jobs", "2", "--engine", "ray"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        kill_one_fit(process.pid)
        printed = process.communicate()[0]
    assert process.returncode == 0, printed
    comparison = json.loads(printed)
    assert set(comparison["arms"]) == {"one", "two"}
    (local,), (ray,) = (tmp_path / "jobs").iterdir(), (tmp_path / "ray").iterdir()
    for arm in ("one", "two"):
        assert (ray / arm / "predictions.csv").read_bytes() == (local / arm / "predictions.csv").read_bytes()


def test_a_cluster_that_does_not_answer_is_one_line(darkcovid, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    done = darkcovid("run", "demo", "--engine", "ray", "--runs-dir", tmp_path, code=1)
    assert "127.0.0.1:1" in error_of(done) and not list(tmp_path.iterdir())


def test_a_canceled_task_stops_its_command(monkeypatch):
    """Ray cancels by an exception in the thread that waits for the command, and by no signal."""
    started = []

    def start(*_):
        started.append(subprocess.Popen(["sleep", "60"], stderr=subprocess.PIPE, text=True))
        return started[0]

    monkeypatch.setattr(ray_cluster, "start_command", start)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    began = time.monotonic()
    threading.Timer(0.2, _thread.interrupt_main).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            ray_cluster._run_command(["run"], 1, False, ".")
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - began < 10
    assert started[0].returncode == -signal.SIGTERM

"""Processes forked from a server that has imported everything, so that neither a command nor a kill costs an import."""

import gc
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

IMPORTED = ["darkcovid.cli", "darkcovid.experiment.runner", "darkcovid.inference.segment_files", "darkcovid.inference.predictor",
            "darkcovid.experiment.lr_find", "darkcovid.experiment.sweep.runner",
            "segmentation_models_pytorch", "captum.attr", "timm", "matplotlib.figure", "sklearn.ensemble"]  # fmt: skip


@cache
def processes():
    """A fork server with the package in memory. Its threads are one, or a forked child could wait for another's lock."""
    os.environ["OMP_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*IMPORTED, __name__])
    first = context.Process(target=ready)  # starts the server, which takes longer than a run
    first.start()
    first.join()
    return context


def ready() -> None:
    """Nothing is left to be imported."""


def command(words: Sequence[str], folder: Path) -> subprocess.CompletedProcess:
    """`darkcovid WORDS` in `folder`, with this process's environment: its exit code and what it printed."""
    with tempfile.TemporaryDirectory() as printed:
        outputs = [Path(printed) / "stdout", Path(printed) / "stderr"]
        process = processes().Process(target=_main, args=([*map(str, words)], folder, dict(os.environ), outputs))
        process.start()
        process.join()
        texts = [output.read_text(encoding="utf-8") for output in outputs]
    return subprocess.CompletedProcess(words, process.exitcode, *texts)


def error_of(done: subprocess.CompletedProcess) -> str:
    """The one line in which a command said why it failed."""
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    return line


def _main(words: list[str], folder: Path, environment: dict[str, str], outputs: list[Path]) -> None:
    gc.freeze()  # what was imported before
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, output in enumerate(outputs, 1):
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT), number)
    sys.argv = ["darkcovid", *words]
    from darkcovid.cli import main

    main()

"""Several fits of a run at once: each a command of its own, on this machine or on a cluster."""

import os
import signal
import subprocess
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from darkcovid.core.available_processors import available_processors
from darkcovid.core.errors import DarkCovidError, Interrupted
from darkcovid.experiment.run_dir import RunDir
from darkcovid.experiment.runner import RunContext, RunPaths, aggregate_run, check_same_inputs, prepare, track_status
from darkcovid.recipe import FitId, Recipe
from darkcovid.report.progress import Progress
from darkcovid.training.interrupt import SIGNALS
from darkcovid.vision.arm_inputs import select_arms


class Commands(ABC):
    """Commands of this program that run at the same time.

    Args:
        jobs: How many at a time.

    Attributes:
        stopped: Set when they are to stop.
    """

    def __init__(self, jobs: int):
        self.jobs, self.stopped = jobs, threading.Event()

    @abstractmethod
    def call(self, *words: str, say_parent: bool = False) -> tuple[int, list[str]]:
        """Run `darkcovid WORDS` to its end.

        Args:
            *words: Of the command line.
            say_parent: Whether to add `--parent` with the number of the process that waits for it.

        Returns:
            Its exit code, and the lines that it printed on stderr, at least one.
        """

    @abstractmethod
    def stop(self) -> None:
        """Tell the running commands to stop, fits at the end of their batch, and later ones at once."""

    @contextmanager
    def signals_passed_on(self) -> Iterator[None]:
        """A context in which every SIGINT and SIGTERM is passed on to the running commands, and raises nothing here."""
        before = {}
        if threading.current_thread() is threading.main_thread():
            heard = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
            before = {number: signal.signal(number, lambda *_: self.stop()) for number in heard}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class ChildProcesses(Commands):
    """Processes of this machine, each with its share of the cores.

    Args:
        jobs: How many at a time.
    """

    def __init__(self, jobs: int):
        super().__init__(jobs)
        self.threads = max(1, available_processors()[0] // jobs)
        self.running: set[subprocess.Popen] = set()

    def call(self, *words: str, say_parent: bool = False) -> tuple[int, list[str]]:
        """As `Commands.call`.

        Args:
            *words: Of the command line.
            say_parent: Whether to add `--parent`.

        Returns:
            Its exit code, and the lines that it printed on stderr, at least one.
        """
        process = start_command(words, self.threads, say_parent)
        self.running.add(process)
        if self.stopped.is_set():
            process.terminate()
        lines = last_lines(process)
        self.running.discard(process)
        return process.returncode, lines

    def stop(self) -> None:
        """As `Commands.stop`."""
        self.stopped.set()
        for process in tuple(self.running):
            process.terminate()


def start_command(words: Sequence[str], threads: int, say_parent: bool = False, folder: str | None = None) -> subprocess.Popen:
    """`darkcovid WORDS` as a process of its own.

    Args:
        words: Of the command line.
        threads: For its arithmetic.
        say_parent: Whether to add `--parent` with this process's number.
        folder: Where it runs; None: here.

    Returns:
        The process.
    """
    parent = ["--parent", str(os.getpid())] if say_parent else []
    return subprocess.Popen(
        [sys.executable, "-m", "darkcovid", *words, *parent],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": str(threads)},
    )


def last_lines(process: subprocess.Popen, seconds: float | None = None) -> list[str]:
    """Wait for a process.

    Args:
        process: Of `start_command`.
        seconds: How long at a time, where exceptions are raised in this thread from outside; None: without a break.

    Returns:
        The lines that it printed on stderr, at least one.
    """
    while True:
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=seconds)[1].strip().splitlines() or [""]


def run_in_parallel(
    recipe: Recipe, folders: RunPaths, progress: Progress, arms: list[str], commands: Commands, resume: bool
) -> dict[str, Any]:
    """What `runner.run` does, several fits at a time.

    Args:
        recipe: What to run.
        folders: Where runs and caches go.
        progress: Shown to a person.
        arms: Names of those to run; none means all.
        commands: Fits are given to them.
        resume: Whether to continue the newest unfinished run of this recipe.

    Returns:
        The comparison that is also in the run folder's `comparison.json`.

    Raises:
        DarkCovidError: A fit failed; the others are finished first, and the run can be resumed. And as `runner.run` does.
        Interrupted: Stopped by SIGINT or SIGTERM, and its fits with it: at the first signal after their batch, at the second at
            once. The run can be resumed.
    """
    names = select_arms(recipe, arms)
    prepared = prepare(recipe, names, folders, progress)
    directory = RunDir.unfinished(folders.runs, recipe) if resume else RunDir.create(folders.runs, recipe)
    check_same_inputs(directory.path, recipe, prepared)
    fits = [(name, fit) for name in names for fit in prepared.fits[name]]
    with track_status(RunContext(recipe, prepared, directory, folders, progress), names):
        directory.event("parallel", jobs=commands.jobs)
        do = partial(run_fit, commands, directory.path.absolute(), folders.cache.absolute(), progress.stage)
        with commands.signals_passed_on(), ThreadPoolExecutor(commands.jobs) as pool:
            running = [pool.submit(do, name, fit) for name, fit in fits]
        if commands.stopped.is_set():
            raise Interrupted
        failed = [name for fit in running if (name := fit.result())]
        if failed:
            raise DarkCovidError(
                f"{len(failed)} of {len(fits)} fits failed: {', '.join(failed)}; fix the cause and continue with --resume"
            )
        progress.stage("fits shared the machine, so no speed-up is given")
        return aggregate_run(directory, recipe, names, progress, prepared.images)


def run_fit(commands: Commands, path: Path, cache: Path, say: Callable[[str], None], arm: str, fit: FitId) -> str | None:
    """Do one fit of a run by a command.

    Args:
        commands: Gets it.
        path: The run's folder, absolute.
        cache: Folder of caches, absolute.
        say: Told of its last epoch, or why it failed.
        arm: Name.
        fit: Fold and seed.

    Returns:
        The fit's name if it failed or was stopped, else None.
    """
    name = fit.name(arm)
    if commands.stopped.is_set():
        return name
    selection = [f"--{key}={value}" for key, value in asdict(fit).items() if value is not None]
    words = ["run", str(path / "recipe.yaml"), "--run-dir", str(path), "--arm", arm, *selection, "--cache-dir", str(cache)]
    code, lines = commands.call(*words)
    if commands.stopped.is_set():
        return name
    if code:
        say(f"{name} failed: {lines[-1]}")
        return name
    say(next((line for line in reversed(lines) if " epoch " in line), f"{name} is finished"))
    return None

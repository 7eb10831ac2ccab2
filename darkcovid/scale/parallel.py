"""Several fits of a run at once on one machine: each a process of its own, with its share of the cores."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from darkcovid.core.cpu_threads import available_processors
from darkcovid.core.errors import DarkCovidError, Interrupted
from darkcovid.experiment.run_dir import RunDir
from darkcovid.experiment.runner import RunContext, RunPaths, aggregate_run, check_same_inputs, prepare, track_status
from darkcovid.recipe import FitId, Recipe
from darkcovid.report.progress import Progress
from darkcovid.training.interrupt import SIGNALS
from darkcovid.vision.arm_inputs import select_arms


def run_in_parallel(
    recipe: Recipe, folders: RunPaths, progress: Progress, arms: list[str], jobs: int, resume: bool
) -> dict[str, Any]:
    """What `runner.run` does, several fits at a time.

    Args:
        recipe: What to run.
        folders: Where runs and caches go.
        progress: Shown to a person.
        arms: Names of those to run; none means all.
        jobs: Fits at a time.
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
        processes = FitProcesses(directory.path, folders.cache, jobs, progress.stage)
        with processes.signals_passed_on(), ThreadPoolExecutor(jobs) as pool:
            running = [pool.submit(processes.fit, fit) for fit in fits]
        if processes.stopped.is_set():
            raise Interrupted
        failed = [name for fit in running if (name := fit.result())]
        if failed:
            raise DarkCovidError(
                f"{len(failed)} of {len(fits)} fits failed: {', '.join(failed)}; fix the cause and continue with --resume"
            )
        return aggregate_run(directory, recipe, names, progress, prepared.images)


class ChildProcesses:
    """Commands of this program, each a process with its share of the cores.

    Args:
        jobs: How many at a time share the cores.
    """

    def __init__(self, jobs: int):
        self.threads = str(max(1, available_processors()[0] // jobs))
        self.running: set[subprocess.Popen] = set()
        self.stopped = threading.Event()

    def call(self, *words: str) -> tuple[int, list[str]]:
        """Run `darkcovid WORDS` to its end.

        Args:
            *words: Of the command line.

        Returns:
            Its exit code, and the lines that it printed on stderr, at least one.
        """
        process = subprocess.Popen(
            [sys.executable, "-m", "darkcovid", *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": self.threads},
        )
        self.running.add(process)
        if self.stopped.is_set():
            process.terminate()
        lines = process.communicate()[1].strip().splitlines() or [""]
        self.running.discard(process)
        return process.returncode, lines

    def stop(self) -> None:
        """Tell the running processes to stop, fits at the end of their batch, and later ones at once."""
        self.stopped.set()
        for process in tuple(self.running):
            process.terminate()

    @contextmanager
    def signals_passed_on(self) -> Iterator[None]:
        """A context in which every SIGINT and SIGTERM is passed on to the running processes, and raises nothing here."""
        before = {}
        if threading.current_thread() is threading.main_thread():
            heard = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
            before = {number: signal.signal(number, lambda *_: self.stop()) for number in heard}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class FitProcesses(ChildProcesses):
    """Processes of one fit each.

    Args:
        path: The run's folder.
        cache: Folder of caches.
        jobs: Fits at a time, which share the cores.
        say: Told of each fit that is done.
    """

    def __init__(self, path: Path, cache: Path, jobs: int, say: Callable[[str], None]):
        super().__init__(jobs)
        self.path, self.cache, self.say = path, cache, say

    def fit(self, arm_fit: tuple[str, FitId]) -> str | None:
        """Do one fit in a process of its own; its name if it failed."""
        arm, fit = arm_fit
        if self.stopped.is_set():
            return fit.name(arm)
        selection = [f"--{key}={value}" for key, value in asdict(fit).items() if value is not None]
        words = ["run", str(self.path / "recipe.yaml"), "--run-dir", str(self.path), "--arm", arm, *selection]
        code, lines = self.call(*words, "--cache-dir", str(self.cache))
        if self.stopped.is_set():
            return fit.name(arm)
        if code:
            self.say(f"{fit.name(arm)} failed: {lines[-1]}")
            return fit.name(arm)
        self.say(next((line for line in reversed(lines) if " epoch " in line), f"{fit.name(arm)} is finished"))
        return None

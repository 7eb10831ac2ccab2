"""Several fits of a run at once on one machine: each a process of its own, with its share of the cores."""

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from darkcovid.core.errors import DarkCovidError
from darkcovid.experiment.run_dir import RunDir
from darkcovid.experiment.runner import RunContext, RunPaths, aggregate_run, check_same_inputs, prepare, track_status
from darkcovid.recipe import FitId, Recipe
from darkcovid.report.progress import Progress
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
    """
    names = select_arms(recipe, arms)
    prepared = prepare(recipe, names, folders, progress)
    directory = RunDir.unfinished(folders.runs, recipe) if resume else RunDir.create(folders.runs, recipe)
    check_same_inputs(directory.path, recipe, prepared)
    fits = [(name, fit) for name in names for fit in prepared.fits[name]]
    with track_status(RunContext(recipe, prepared, directory, folders, progress), names):
        with ThreadPoolExecutor(jobs) as pool:
            call = _fit_subprocess(directory.path, folders.cache, jobs, progress.stage)
            failed = [name for name in pool.map(call, fits) if name]
        if failed:
            raise DarkCovidError(
                f"{len(failed)} of {len(fits)} fits failed: {', '.join(failed)}; fix the cause and continue with --resume"
            )
        return aggregate_run(directory, recipe, names, progress, prepared.images)


def _fit_subprocess(path: Path, cache: Path, jobs: int, say: Callable[[str], None]) -> Callable[[tuple[str, FitId]], str | None]:
    """What does one fit in a process and returns its name when it failed."""
    threads = str(max(1, (os.cpu_count() or 1) // jobs))

    def call(arm_fit: tuple[str, FitId]) -> str | None:
        arm, fit = arm_fit
        selection = [f"--{key}={value}" for key, value in asdict(fit).items() if value is not None]
        command = [sys.executable, "-m", "darkcovid", "run", str(path / "recipe.yaml"), "--run-dir", str(path), "--arm", arm]
        finished = subprocess.run(
            [*command, *selection, "--cache-dir", str(cache)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env=os.environ | {"OMP_NUM_THREADS": threads},
        )
        lines = finished.stderr.strip().splitlines() or [""]
        if finished.returncode:
            say(f"{fit.name(arm)} failed: {lines[-1]}")
            return fit.name(arm)
        say(next((line for line in reversed(lines) if " epoch " in line), f"{fit.name(arm)} is finished"))
        return None

    return call

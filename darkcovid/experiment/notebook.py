"""`darkcovid run` and `darkcovid sweep` as calls, for notebooks and scripts."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darkcovid.core.errors import UsageError
from darkcovid.core.io import user_cache_dir
from darkcovid.core.slow_progress import in_notebook
from darkcovid.experiment.finished_run import Run
from darkcovid.experiment.resolve_recipe import resolve_recipe
from darkcovid.experiment.runner import RunPaths
from darkcovid.experiment.runner import run as run_recipe
from darkcovid.experiment.sweep import check_optuna
from darkcovid.recipe import Recipe
from darkcovid.report.notebook_progress import NotebookProgress
from darkcovid.report.progress import Progress

if TYPE_CHECKING:
    from darkcovid.evaluation.sweep_result import SweepResult


def run(
    recipe: Recipe | str | Path,
    manifest: str | Path | None = None,
    set: Mapping[str, Any] | None = None,
    arms: Sequence[str] = (),
    phantom: bool = False,
    data_root: str | Path | None = None,
    resume: bool = False,
    runs_dir: str | Path = "runs",
    cache_dir: str | Path | None = None,
    progress: Progress | None = None,
) -> Run:
    """Train and score every arm of a recipe.

    Args:
        recipe: A recipe, its file, or the name of a shipped one, such as `segmented`.
        manifest: In place of the recipe's.
        set: Keys to replace: {"training.epochs": 5}.
        arms: Names of those to run; none means all.
        phantom: Whether the images are drawn ones.
        data_root: Where images are looked for besides.
        resume: Whether to continue the newest unfinished run of this recipe.
        runs_dir: Where the run's folder is made.
        cache_dir: Where decoded images and masks are kept; None: the user's cache.
        progress: What shows it; None: an epoch table in a notebook, bars in a terminal, lines elsewhere.

    Returns:
        The finished run.

    Raises:
        UsageError: A mistake in the recipe, or keys beside a `Recipe`.
        DarkCovidError: Whatever else stops a run; one that began can be resumed.
    """
    resolved = _resolved("run", recipe, manifest, set, phantom, data_root)
    folders, shown = _folders(runs_dir, cache_dir), progress or _progress()
    if resolved.tracker is None:
        return Run(run_recipe(resolved, folders, shown, arms, resume)["run_dir"])
    from darkcovid.experiment.trackers.tracker import LiveTracking, make_tracker

    live = LiveTracking(make_tracker(resolved.tracker, None), resolved.tracker)
    return Run(run_recipe(resolved, folders, shown, arms, resume, watch=live.watch)["run_dir"])


def sweep(
    recipe: Recipe | str | Path,
    manifest: str | Path | None = None,
    set: Mapping[str, Any] | None = None,
    minutes: float | None = None,
    phantom: bool = False,
    data_root: str | Path | None = None,
    resume: bool = False,
    runs_dir: str | Path = "runs",
    cache_dir: str | Path | None = None,
    progress: Progress | None = None,
) -> "SweepResult":
    """Search the values in a recipe's `sweep:` on inner folds, and fit the winner again against the plain recipe on patients that
    no trial saw.

    Args:
        recipe: A recipe, its file, or the name of a shipped one, such as `sweep`.
        manifest: In place of the recipe's.
        set: Keys to replace: {"sweep.trials": 20}.
        minutes: Time budget, the winner's final fits included; None: until all trials are made.
        phantom: Whether the images are drawn ones.
        data_root: Where images are looked for besides.
        resume: Whether to continue the newest unfinished sweep of this recipe.
        runs_dir: Where the sweep's and the final run's folder are made.
        cache_dir: Where decoded images and masks are kept; None: the user's cache.
        progress: What shows it; None: as in `run`.

    Returns:
        What it found: the winner's values, its final metrics beside the plain recipe's, and the folders of both.

    Raises:
        UsageError: A mistake in the recipe, or keys beside a `Recipe`.
        DarkCovidError: Optuna is not installed, or whatever else stops a sweep; one that began can be resumed.
    """
    check_optuna()
    from darkcovid.experiment.sweep.runner import run_sweep

    resolved = _resolved("sweep", recipe, manifest, set, phantom, data_root)
    return run_sweep(resolved, _folders(runs_dir, cache_dir), progress or _progress(), resume, minutes)


def _resolved(
    call: str,
    recipe: Recipe | str | Path,
    manifest: str | Path | None,
    changes: Mapping[str, Any] | None,
    phantom: bool,
    data_root: str | Path | None,
) -> Recipe:
    if not isinstance(recipe, Recipe):
        return resolve_recipe(recipe, overrides(changes or {}), manifest, phantom, data_root)
    if manifest is not None or changes or phantom or data_root is not None:
        raise UsageError(f"{call}: manifest, set, phantom and data_root change a recipe's file; change the Recipe itself instead")
    return recipe


def _folders(runs_dir: str | Path, cache_dir: str | Path | None) -> RunPaths:
    return RunPaths(Path(runs_dir).expanduser(), Path(cache_dir).expanduser() if cache_dir else user_cache_dir())


def _progress() -> Progress:
    return NotebookProgress() if in_notebook() else Progress()


def overrides(changes: Mapping[str, Any]) -> list[str]:
    """Changes of keys as `--set` takes them.

    Args:
        changes: Values by `key.path`.

    Returns:
        `key.path=value` each, the value being JSON.
    """
    return [f"{key}={json.dumps(value)}" for key, value in changes.items()]

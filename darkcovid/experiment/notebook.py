"""`darkcovid run` as a call, for notebooks and scripts."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from darkcovid.core.errors import UsageError
from darkcovid.core.io import user_cache_dir
from darkcovid.core.slow_progress import in_notebook
from darkcovid.experiment.finished_run import Run
from darkcovid.experiment.resolve_recipe import resolve_recipe
from darkcovid.experiment.runner import RunPaths
from darkcovid.experiment.runner import run as run_recipe
from darkcovid.recipe import Recipe
from darkcovid.report.notebook_progress import NotebookProgress
from darkcovid.report.progress import Progress


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
    if isinstance(recipe, Recipe):
        if manifest is not None or set or phantom or data_root is not None:
            raise UsageError("run: manifest, set, phantom and data_root change a recipe's file; change the Recipe itself instead")
        resolved = recipe
    else:
        resolved = resolve_recipe(recipe, overrides(set or {}), manifest, phantom, data_root)
    folders = RunPaths(Path(runs_dir).expanduser(), Path(cache_dir).expanduser() if cache_dir else user_cache_dir())
    shown = progress or (NotebookProgress() if in_notebook() else Progress())
    return Run(run_recipe(resolved, folders, shown, arms, resume)["run_dir"])


def overrides(changes: Mapping[str, Any]) -> list[str]:
    """Changes of keys as `--set` takes them.

    Args:
        changes: Values by `key.path`.

    Returns:
        `key.path=value` each, the value being JSON.
    """
    return [f"{key}={json.dumps(value)}" for key, value in changes.items()]

"""Runs in processes that can be killed."""

import sys
from pathlib import Path

from darkcovid.recipe import load_recipe
from darkcovid.report.progress import null_progress

from ..conftest import RECIPES

SETS = ["data.manifest=phantom", "data.dataset=null", "data.phantom.patients=24", "data.phantom.image_size=64"]
SETS += ["data.image_size=64", "training.epochs=4", "training.batch_size=8", "training.precision=fp32", "training.device=cpu"]
SETS += ["data.split.valid=0.3", "audit=data"]


def attempt(folder: Path, sets: list[str] = SETS) -> None:
    """One try at a run: a new one, or on with the unfinished one. The process's exit code is 0 when the run is done."""
    from darkcovid.core.errors import Interrupted
    from darkcovid.experiment.runner import RunPaths, run

    recipe = load_recipe(RECIPES / "base.yaml", sets)
    resume = (folder / "runs").is_dir() and any((folder / "runs").iterdir())
    try:
        run(recipe, RunPaths(folder / "runs", folder / "cache"), null_progress(), resume=resume)
    except Interrupted:
        sys.exit(130)

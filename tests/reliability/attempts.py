"""Runs in processes that can be killed: forked from a server that has imported everything, so that a kill costs no import."""

import multiprocessing
import os
import sys
from pathlib import Path

from darkcovid.recipe import load_recipe
from darkcovid.report.progress import silent

from ..conftest import RECIPES

SETS = ["data.manifest=phantom", "data.dataset=null", "data.phantom.patients=24", "data.phantom.image_size=64"]
SETS += ["data.image_size=64", "training.epochs=4", "training.batch_size=8", "training.precision=fp32", "training.device=cpu"]
SETS += ["data.split.valid=0.3", "audit=data"]


def processes():
    """A fork server with the package in memory. Its threads are one, or a forked child could wait for another's lock."""
    os.environ["OMP_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["darkcovid.runner", __name__])
    first = context.Process(target=ready)  # starts the server, which takes longer than a run
    first.start()
    first.join()
    return context


def ready() -> None:
    """Nothing is left to be imported."""


def attempt(folder: Path, sets: list[str] = SETS) -> None:
    """One try at a run: a new one, or on with the unfinished one. The process's exit code is 0 when the run is done."""
    from darkcovid.errors import Interrupted
    from darkcovid.runner import Folders, run

    recipe = load_recipe(RECIPES / "base.yaml", sets)
    resume = (folder / "runs").is_dir() and any((folder / "runs").iterdir())
    try:
        run(recipe, Folders(folder / "runs", folder / "cache"), silent(), resume=resume)
    except Interrupted:
        sys.exit(130)

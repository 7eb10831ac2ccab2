"""The epochs of a run's fits, finished or running: what its `history.csv` files say so far."""

import csv
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from darkcovid.core.io import read_regular_text
from darkcovid.experiment.run_list import DAMAGE
from darkcovid.recipe import AUDIT
from darkcovid.report.colors import PALETTE, distinct_colors

COSTS = ("epoch", "lr", "seconds", "data_seconds", "step_seconds", "valid_seconds", "train_images")
MAX_FITS = 60
FIT_DEPTH = 3  # folders below the run's in which a fit may be


def read_curves(run: Path) -> list[dict[str, Any]]:
    """The curves of a run.

    Args:
        run: Its folder.

    Returns:
        Per fit, those of audits left out: `fit`, `arm`, its `color`, `epochs` (numbers from 1) and `curves`, a list of values by
        column, null where one is no number.
    """
    fits, colors = [], arm_colors([run])
    for folder in _folders(run, FIT_DEPTH):
        name = folder.relative_to(run).as_posix()
        if name.startswith(AUDIT):
            continue
        try:
            rows = list(csv.DictReader(read_regular_text(folder / "history.csv").splitlines()))
            epochs = [int(float(row["epoch"])) for row in rows]
        except DAMAGE:
            continue
        columns = [column for column in (rows[0] if rows else {}) if column and column not in COSTS]
        arm = name.partition("/")[0]
        paint = {"arm": arm, "color": colors.get(arm, PALETTE[-1])}
        fits.append(
            {"fit": name, **paint, "epochs": epochs, "curves": {name: [_number(row[name]) for row in rows] for name in columns}}
        )
    return fits[:MAX_FITS]


def arm_colors(runs: Sequence[Path]) -> dict[str, str]:
    """The color of each arm of runs: of one run that of its report; arms of one name have one color in all runs.

    Args:
        runs: Their folders.

    Returns:
        By name, arms first in the order of their recipe, then its ensembles.
    """
    names = dict.fromkeys(name for run in runs for name in _arms(run))
    return dict(zip(names, distinct_colors(len(names)), strict=True))


def _arms(run: Path) -> list[str]:
    try:
        recipe = yaml.safe_load(read_regular_text(run / "recipe.yaml", 1_000_000))
        return [*map(str, recipe.get("arms") or [recipe["name"]]), *map(str, recipe.get("ensemble") or [])]
    except DAMAGE:
        return []


def _folders(folder: Path, depth: int) -> Iterator[Path]:
    """Folders below a folder, no links, in order of their names."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:  # removed meanwhile
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False) and entry.name != "plots":
            yield Path(entry.path)
            if depth > 1:
                yield from _folders(Path(entry.path), depth - 1)


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "nan")
    except ValueError:
        return None
    return value if math.isfinite(value) else None

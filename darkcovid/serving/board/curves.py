"""The epochs of a run's fits, finished or running: what its `history.csv` files say so far."""

import csv
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from darkcovid.core.io import read_regular_text
from darkcovid.experiment.run_list import DAMAGE
from darkcovid.recipe import AUDIT

COSTS = ("epoch", "lr", "seconds", "data_seconds", "step_seconds", "valid_seconds", "train_images")
MAX_FITS = 60
FIT_DEPTH = 3  # folders below the run's in which a fit may be


def read_curves(run: Path) -> list[dict[str, Any]]:
    """The curves of a run.

    Args:
        run: Its folder.

    Returns:
        Per fit, those of audits left out: `fit`, `epochs` (numbers from 1) and `curves`, a list of values by column, null where
        one is no number.
    """
    fits = []
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
        fits.append({"fit": name, "epochs": epochs, "curves": {name: [_number(row[name]) for row in rows] for name in columns}})
    return fits[:MAX_FITS]


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

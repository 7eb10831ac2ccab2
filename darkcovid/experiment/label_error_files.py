"""Suspected label errors of a finished run or audit: a CSV, a JSON, and pictures of the least plausible labels."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import pandas as pd
from PIL import Image

from darkcovid.audits.label_errors import find_label_errors
from darkcovid.core.io import save_png, write_json, write_text
from darkcovid.data.decode import load_grayscale
from darkcovid.evaluation.results import ClassifierArm, Comparison
from darkcovid.metrics.classification import PROBABILITY
from darkcovid.recipe import AUDIT
from darkcovid.report.overlays import contact_sheet

SHOWN = 16


def write_label_errors(run: Path, comparison: Comparison, images: Mapping[str, Path]) -> None:
    """Write what the most accurate arm's predictions say of the labels, where they can (`find_label_errors`).

    Args:
        run: The run's folder.
        comparison: Of its arms.
        images: The file of each image; those that are not in it are not shown.
    """
    arms = {name: arm for name, arm in comparison.arms.items() if isinstance(arm, ClassifierArm) and not name.startswith(AUDIT)}
    best = max(arms, key=lambda name: arms[name].metrics.valid.accuracy)
    table = pd.read_csv(run / best / "predictions.csv", dtype={"image": str, "patient": str, "label": str}, keep_default_na=False)
    found = find_label_errors(table[table.side == "valid"], arms[best].summary.classes, best)
    if found is None:
        return
    errors, suspects = found
    write_text(run / "label_errors.csv", suspects.to_csv(index=False, float_format="%.4f"))
    shown = suspects[suspects.image.isin(images)].head(SHOWN)
    if len(shown):
        save_png(_sheet(shown, images), run / "label_errors.png")
    write_json(run / "label_errors.json", errors.as_dict())


def _sheet(suspects: pd.DataFrame, images: Mapping[str, Path]) -> Image.Image:
    rows = suspects.to_dict("records")
    captions = [
        f"{row['label']}, predicted {row['suggested']} ({row[PROBABILITY + row['suggested']]:.2f}): "
        f"{PurePosixPath(row['image']).name}"
        for row in rows
    ]
    return contact_sheet([load_grayscale(images[row["image"]]) for row in rows], captions)

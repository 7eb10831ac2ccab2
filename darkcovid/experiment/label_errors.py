"""A finished run's suspected label errors: a CSV, a JSON, and pictures of the least plausible labels."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import pandas as pd
from PIL import Image

from darkcovid.audits.label_errors import find_label_errors
from darkcovid.core.errors import UsageError
from darkcovid.core.io import save_png, write_json, write_text
from darkcovid.data.decode import load_grayscale
from darkcovid.evaluation.results import ClassifierArm, Comparison
from darkcovid.metrics.classification import PROBABILITY
from darkcovid.recipe import AUDIT, Recipe
from darkcovid.recipe.recipe import validate
from darkcovid.report.overlays import contact_sheet

SHOWN, WITHOUT = 16, "_without_suspects"


def write_label_errors(run: Path, comparison: Comparison, images: Mapping[str, Path]) -> None:
    """Write what the most accurate arm's predictions say of the labels, where every class has images that were predicted.

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


def add_arm_without_suspects(recipe: Recipe, run: Path) -> Recipe:
    """A recipe with one more arm: its first, trained without the images whose labels another run doubts.

    Args:
        recipe: Of the whole run.
        run: The other run's folder.

    Returns:
        The recipe with the arm `<first arm>_without_suspects`.

    Raises:
        UsageError: The other run has no `label_errors.csv`.
    """
    file = run / "label_errors.csv"
    if not file.is_file():
        raise UsageError(f"--without-suspects {run}: no label_errors.csv in it; name a finished run of classifiers")
    arms = recipe.arms or {recipe.name: {}}
    first = next(iter(arms))
    further = {f"{first}{WITHOUT}": {**arms[first], "data.leave_out": str(file.absolute())}}
    return validate(recipe.model_dump(mode="json") | {"arms": arms | further}, where="")

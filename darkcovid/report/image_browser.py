"""Scored images of a run in its report, with what each arm said of it; chosen by arm, class and right or wrong."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from darkcovid.audits.checks import RunEvidence
from darkcovid.metrics.classification import PROBABILITY
from darkcovid.report.arm_charts import DAMAGE
from darkcovid.report.thumbnails import read_thumbnails

MAX_BYTES = 2_600_000  # of all images in one report, so that it stays below 5 MB


@dataclass(frozen=True)
class BrowserImage:
    """One image as one arm answered it.

    Attributes:
        arm: Number of the arm, from 0.
        label: Number of the class.
        right: Whether the answer was right.
        name: Of the image.
        text: Label and answer.
        thumbnail: As `report.thumbnails.thumbnail` gives it.
    """

    arm: int
    label: int
    right: bool
    name: str
    text: str
    thumbnail: dict[str, Any]


@dataclass(frozen=True)
class ImageBrowser:
    """The images of a report.

    Attributes:
        arms: Names of those that have images.
        classes: Names.
        images: Of every arm, wrong answers first, the most confident of them first; then right ones, the least confident first.
        left_out: How many there was no room for.
        any_heat: Whether any has a heatmap.
        any_lungs: Whether any has an outline.
    """

    arms: list[str]
    classes: list[str]
    images: list[BrowserImage]
    left_out: int
    any_heat: bool
    any_lungs: bool


def image_browser(run: Path, evidence: RunEvidence) -> ImageBrowser | None:
    """The images of a run that its arms left thumbnails of.

    Args:
        run: The run's folder.
        evidence: What is known of it.

    Returns:
        None where there are none.
    """
    by_arm = {name: images for name in evidence.arms if (images := _images(run / name))}
    if not by_arm:
        return None
    classes = list(next(iter(evidence.scored.values())).per_class)
    share = MAX_BYTES // len(by_arm)
    kept: list[BrowserImage] = []
    left_out = 0
    for number, (table, thumbnails) in enumerate(by_arm.values()):
        several, used = table.image.duplicated().any(), 0
        for row in _by_interest(table):
            picture = thumbnails.get(row.fit, {}).get(row.image)
            if picture is None:
                left_out += 1
                continue
            used += sum(len(picture[part]) for part in ("image", "lungs", "heat")) + 400
            if used > share or row.label not in classes:
                left_out += 1
                continue
            right = row.label == row.predicted
            text = f"{row.label}, called {row.predicted} ({row.confidence:.2f}){f', {row.fit}' if several else ''}"
            kept.append(BrowserImage(number, classes.index(row.label), right, row.image, text, picture))
    heat = any(image.thumbnail["heat"] for image in kept)
    lungs = any(image.thumbnail["lungs"] for image in kept)
    return ImageBrowser(list(by_arm), classes, kept, left_out, heat, lungs)


def _images(arm: Path) -> tuple[pd.DataFrame, dict[str, dict[str, dict[str, Any]]]] | None:
    """An arm's predictions of validation and test images, and the thumbnails that its fits left of them."""
    thumbnails = read_thumbnails(arm)
    if not thumbnails:
        return None
    try:
        table = pd.read_csv(arm / "predictions.csv", dtype={"image": str}, keep_default_na=False)
        table = table[table.side.isin(("valid", "test"))]
        table = table if "fit" in table else table.assign(fit="")
        confidence = table[[name for name in table if name.startswith(PROBABILITY)]].astype(float).max(axis=1)
    except DAMAGE:
        return None
    return table.assign(confidence=confidence), thumbnails


def _by_interest(table: pd.DataFrame) -> list[Any]:
    """Wrong answers, the most confident first, then right ones, the least confident first."""
    right = table.label == table.predicted
    interest = table.confidence.where(right, -table.confidence)
    return list(table.assign(right=right, interest=interest).sort_values(["right", "interest"], kind="stable").itertuples())

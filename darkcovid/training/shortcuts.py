"""Does a fitted classifier need the lungs? Its score on the same images with the lungs erased, with nothing but the lungs,
and with nothing but a border (DeGrave et al. 2021; Maguolo and Nanni 2021).

What is hidden becomes the training side's mean gray. A score that survives without lungs was not earned by reading them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import binary_dilation

from darkcovid.data.cohort import Cohort
from darkcovid.data.pixels import border
from darkcovid.evaluation.confounding import chance
from darkcovid.evaluation.metrics import score

WIDENED = 0.03

Judge = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class LungAreas:
    """areas: where the lungs are in the inputs, 1 inside, in the inputs' shape; trusted: (n,) bool."""

    areas: np.ndarray
    trusted: np.ndarray


def judge_shortcuts(judge: Judge, pixels: np.ndarray, lungs: LungAreas, cohort: Cohort) -> dict[str, Any]:
    """Scores on the validation images whose lungs are trusted. judge: (m, ..., h, w) uint8 pixels to (m, classes)
    probabilities; pixels: (n, h, w) or (n, c, h, w) uint8.

    Returns images, chance, and for plain, lungs_erased, lungs_only and border_only: accuracy, balanced_accuracy, recall of
    each class; skill_without_lungs: the share of the accuracy above chance that is left without lungs.
    """
    rows = np.flatnonzero(cohort.valid & lungs.trusted)
    if not len(rows):
        return {"images": 0}
    gray = round(float(np.mean([pixels[row].mean() for row in np.flatnonzero(cohort.train)])))
    plain, inside = np.array(pixels[rows]), _widened(np.array(lungs.areas[rows]) > 0)
    views = {
        "plain": plain,
        "lungs_erased": np.where(inside, gray, plain).astype(np.uint8),
        "lungs_only": np.where(inside, plain, gray).astype(np.uint8),
        "border_only": np.where(border(plain.shape[-2:]), plain, gray).astype(np.uint8),
    }
    labels = cohort.labels[rows]
    found = {name: _short(score(labels, judge(view), cohort.classes)) for name, view in views.items()}
    luck = chance(labels)
    above = found["plain"]["accuracy"] - luck
    left = found["lungs_erased"]["accuracy"] - luck
    return {"images": len(rows), "chance": luck, **found, "skill_without_lungs": max(0.0, left / above) if above > 0 else None}


def _short(scores) -> dict[str, Any]:
    recalls = {name: found.recall for name, found in scores.per_class.items()}
    return {"accuracy": scores.accuracy, "balanced_accuracy": scores.balanced_accuracy, "recall": recalls}


def _widened(inside: np.ndarray) -> np.ndarray:
    """Masks (..., h, w) grown by a share of their height, so that the lungs' edge is hidden or shown with them."""
    around = np.zeros((1,) * (inside.ndim - 2) + (3, 3), bool)
    around[..., 1, :] = around[..., :, 1] = True
    return binary_dilation(inside, around, iterations=max(1, round(WIDENED * inside.shape[-2])))

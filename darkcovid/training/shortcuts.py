"""Does a fitted classifier need the lungs? Its score on the same images with the lungs erased, with nothing but the lungs,
and with nothing but a border (DeGrave et al. 2021; Maguolo and Nanni 2021).

What is hidden becomes the training side's mean gray. A score that survives without lungs was not earned by reading them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import binary_dilation

from darkcovid.data.cohort import Cohort
from darkcovid.data.pixels import border
from darkcovid.data.split import spread
from darkcovid.evaluation.confounding import chance
from darkcovid.evaluation.metrics import score

WIDENED = 0.03
MOST = 1000  # images that are audited
VIEWS = ("plain", "lungs_erased", "lungs_only", "border_only")

Judge = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class LungAreas:
    """areas: where the lungs are in the inputs, 1 inside, in the inputs' shape; trusted: (n,) bool."""

    areas: np.ndarray
    trusted: np.ndarray


def judge_shortcuts(judge: Judge, pixels: np.ndarray, lungs: LungAreas, cohort: Cohort) -> dict[str, Any]:
    """Scores on the validation images whose lungs are trusted, 1,000 of them where there are more.

    judge: (m, ..., h, w) uint8 pixels to (m, classes) probabilities; pixels: (n, h, w) or (n, c, h, w) uint8.

    Returns images, chance, and for plain, lungs_erased, lungs_only and border_only: accuracy, balanced_accuracy, recall of
    each class; skill_without_lungs: the share of the accuracy above chance that is left without lungs.
    """
    rows = spread(np.flatnonzero(cohort.valid & lungs.trusted), MOST)
    if not len(rows):
        return {"images": 0}
    gray = round(float(np.mean([pixels[row].mean() for row in spread(np.flatnonzero(cohort.train), MOST)])))
    plain, inside = np.array(pixels[rows]), _widened(np.array(lungs.areas[rows]) > 0)
    shown = (True, ~inside, inside, border(plain.shape[-2:]))
    views = {name: np.where(where, plain, gray).astype(np.uint8) for name, where in zip(VIEWS, shown, strict=True)}
    labels = cohort.labels[rows]
    found = {name: _short(score(labels, judge(view), cohort.classes)) for name, view in views.items()}
    return _with_skill({"images": len(rows), "chance": chance(labels), **found})


def pool_shortcuts(each: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What `judge_shortcuts` found of several fits as one: means, weighted by the fits' images."""
    seen = [one for one in each if one["images"]]
    if not seen:
        return {"images": 0}
    images = [one["images"] for one in seen]
    pooled = {key: _weighted([one[key] for one in seen], images) for key in ("chance", *VIEWS)}
    return _with_skill({"images": sum(images), **pooled})


def _with_skill(found: dict[str, Any]) -> dict[str, Any]:
    above, left = (found[view]["accuracy"] - found["chance"] for view in ("plain", "lungs_erased"))
    return found | {"skill_without_lungs": max(0.0, left / above) if above > 0 else None}


def _weighted(values: Sequence[Any], weights: Sequence[int]) -> Any:
    """The weighted mean of numbers, or of mappings of numbers key by key."""
    if isinstance(values[0], dict):
        return {key: _weighted([value[key] for value in values], weights) for key in values[0]}
    return float(np.average(values, weights=weights))


def _short(scores) -> dict[str, Any]:
    recalls = {name: found.recall for name, found in scores.per_class.items()}
    return {"accuracy": scores.accuracy, "balanced_accuracy": scores.balanced_accuracy, "recall": recalls}


def _widened(inside: np.ndarray) -> np.ndarray:
    """Masks (..., h, w) grown by a share of their height, so that the lungs' edge is hidden or shown with them."""
    around = np.zeros((1,) * (inside.ndim - 2) + (3, 3), bool)
    around[..., 1, :] = around[..., :, 1] = True
    return binary_dilation(inside, around, iterations=max(1, round(WIDENED * inside.shape[-2])))

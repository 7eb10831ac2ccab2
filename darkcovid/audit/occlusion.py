"""Does a fitted classifier need the lungs? Its score on the same images with the lungs erased, with nothing but the lungs,
with nothing but a border, and with 16 pixels per side (DeGrave et al. 2021; Maguolo and Nanni 2021).

What is hidden becomes the training set's mean gray. A score that survives without lungs was not earned by reading them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from darkcovid.audit.baselines import LOW_RESOLUTION, majority_baseline
from darkcovid.data.cohort import Cohort
from darkcovid.data.resize import border_mask, resize_whole
from darkcovid.data.splits import evenly_spaced
from darkcovid.lungs.crop import LungRegions
from darkcovid.lungs.morphology import dilate
from darkcovid.metrics.intervals import metrics_with_intervals
from darkcovid.metrics.skill import class_view

DILATION_FRACTION = 0.03  # of the height, so that the lungs' edge is hidden or shown with them
MAX_OCCLUSION_IMAGES = 1000  # images that are audited
VIEWS = ("plain", "lungs_erased", "lungs_only", "border_only", "thumbnail")

PredictFn = Callable[[np.ndarray], np.ndarray]


def occlusion_audit(judge: PredictFn, pixels: np.ndarray, lungs: LungRegions, cohort: Cohort) -> dict[str, Any]:
    """Scores on the validation images whose lungs are trusted, 1,000 of them where there are more.

    judge: (m, ..., h, w) uint8 pixels to (m, classes) probabilities; pixels: (n, h, w) or (n, c, h, w) uint8.

    Returns images, chance, and for each of `VIEWS`: accuracy, balanced_accuracy, and recall, specificity and roc_auc of each
    class with their `intervals`; skill_without_lungs: the share of the accuracy above chance that is left without lungs.
    """
    rows = evenly_spaced(np.flatnonzero(cohort.valid & lungs.trusted), MAX_OCCLUSION_IMAGES)
    if not len(rows):
        return {"images": 0}
    gray = round(
        float(np.mean([pixels[row].mean() for row in evenly_spaced(np.flatnonzero(cohort.train), MAX_OCCLUSION_IMAGES)]))
    )
    plain, inside = np.array(pixels[rows]), dilate(np.array(lungs.areas[rows]) > 0, DILATION_FRACTION)
    shown = {"plain": True, "lungs_erased": ~inside, "lungs_only": inside, "border_only": border_mask(plain.shape[-2:])}
    labels, patients = cohort.labels[rows], cohort.patients.to_numpy()[rows]
    scores = {}
    for name in VIEWS:
        view = np.where(shown[name], plain, gray).astype(np.uint8) if name in shown else _coarse(plain)
        scores[name] = _summary(metrics_with_intervals(labels, judge(view), cohort.classes, patients))
    return _add_skill_score({"images": len(rows), "chance": majority_baseline(labels), **scores})


def aggregate_occlusion(each: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What `occlusion_audit` found of several fits as one: means, weighted by the fits' images; so are the bounds of intervals,
    which are then those of one fit on average."""
    seen = [one for one in each if one["images"]]
    if not seen:
        return {"images": 0}
    images = [one["images"] for one in seen]
    pooled = {key: _weighted([one[key] for one in seen], images) for key in ("chance", *VIEWS) if key in seen[0]}
    return _add_skill_score({"images": sum(images), **pooled})


def _add_skill_score(found: dict[str, Any]) -> dict[str, Any]:
    above, left = (found[view]["accuracy"] - found["chance"] for view in ("plain", "lungs_erased"))
    return found | {"skill_without_lungs": max(0.0, left / above) if above > 0 else None}


def _weighted(values: Sequence[Any], weights: Sequence[int]) -> Any:
    """The weighted mean of numbers, or of mappings and lists of numbers place by place; None where one is."""
    if any(value is None for value in values):
        return None
    if isinstance(values[0], dict):
        return {key: _weighted([value[key] for value in values], weights) for key in values[0]}
    if isinstance(values[0], list | tuple):
        return [_weighted(place, weights) for place in zip(*values, strict=True)]
    return float(np.average(values, weights=weights))


def _summary(metrics: dict[str, Any]) -> dict[str, Any]:
    return {name: metrics[name] for name in ("accuracy", "balanced_accuracy")} | class_view(metrics)


def _coarse(pixels: np.ndarray) -> np.ndarray:
    """(m, ..., h, w) uint8 pixels reduced to 16 pixels per side and enlarged again."""
    size = pixels.shape[-2:]
    pictures = [resize_whole(Image.fromarray(picture), size, detail=LOW_RESOLUTION) for picture in pixels.reshape(-1, *size)]
    return np.stack(pictures).reshape(pixels.shape)

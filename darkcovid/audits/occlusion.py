"""Does a fitted classifier need the lungs? Its score on the same images with the lungs erased, with nothing but the lungs,
with nothing but a border, and with 16 pixels per side (DeGrave et al. 2021; Maguolo and Nanni 2021).

What is hidden becomes the training set's mean gray. A score that survives without lungs was not earned by reading them.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from darkcovid.audits.baselines import LOW_RESOLUTION, majority_baseline
from darkcovid.core.array_cache import StoredArray
from darkcovid.data.cohort import Cohort
from darkcovid.data.resize import border_mask, resize_whole
from darkcovid.data.splits import evenly_spaced
from darkcovid.evaluation.results import VIEWS, OcclusionAudit
from darkcovid.lungs.crop import LungRegions
from darkcovid.lungs.morphology import dilate
from darkcovid.metrics.classification import probability_columns
from darkcovid.metrics.metrics_with_intervals import metrics_with_intervals
from darkcovid.metrics.skill_without_lungs import ViewMetrics, view_metrics

DILATION_FRACTION = 0.03  # of the height, so that the lungs' edge is hidden or shown with them
MAX_OCCLUSION_IMAGES = 1000  # images that are audited
SHORTCUT_PREDICTIONS = "shortcut_predictions.csv"  # in a fit's folder, what `occlusion_predictions` returns

PredictFn = Callable[[StoredArray], np.ndarray]


def mean_gray(pixels: StoredArray, rows: np.ndarray) -> int:
    """The mean gray of some images, 1,000 of them where there are more, by which parts are hidden.

    Args:
        pixels: (n, ...) uint8.
        rows: (m,) int, at least one.

    Returns:
        0..255.
    """
    return round(float(np.mean([pixels[row].mean() for row in evenly_spaced(rows, MAX_OCCLUSION_IMAGES)])))


def occlusion_predictions(
    predict: PredictFn, pixels: StoredArray, lungs: LungRegions, cohort: Cohort, gray: int | None = None
) -> pd.DataFrame:
    """What a classifier predicts of each of `VIEWS` of the validation images whose lung masks are accepted, 1,000 of them where
    there are more.

    Args:
        predict: (m, ..., h, w) uint8 pixels to (m, classes) float probabilities.
        pixels: (n, h, w) or (n, c, h, w) uint8.
        lungs: Where the lungs are in the pixels.
        cohort: n images.
        gray: What hides a part, 0..255; None: the mean gray of the training set.

    Returns:
        A row per view and image: `shown`, the view; image, patient, label; the probability of each class. Empty where no mask is
        accepted.
    """
    columns = ["shown", "image", "patient", "label", *probability_columns(cohort.classes)]
    rows = evenly_spaced(np.flatnonzero(cohort.valid & lungs.trusted), MAX_OCCLUSION_IMAGES)
    if not len(rows):
        return pd.DataFrame(columns=columns)
    gray = mean_gray(pixels, np.flatnonzero(cohort.train)) if gray is None else gray
    plain, inside = np.array(pixels[rows]), dilate(np.array(lungs.areas[rows]) > 0, DILATION_FRACTION)
    shown = {"plain": True, "lungs_erased": ~inside, "lungs_only": inside, "border_only": border_mask(plain.shape[-2:])}
    about = {
        "image": cohort.rows.path.to_numpy()[rows],
        "patient": cohort.patients.to_numpy()[rows],
        "label": np.array(cohort.classes)[cohort.labels[rows]],
    }
    tables = []
    for name in VIEWS:
        view = np.where(shown[name], plain, gray).astype(np.uint8) if name in shown else _coarse(plain)
        probabilities = pd.DataFrame(predict(view), columns=probability_columns(cohort.classes))
        tables.append(pd.DataFrame({"shown": name, **about}).join(probabilities))
    return pd.concat(tables, ignore_index=True)


def occlusion_metrics(predictions: pd.DataFrame, classes: Sequence[str]) -> OcclusionAudit | None:
    """Metrics of each view.

    Args:
        predictions: As `occlusion_predictions` returns them.
        classes: In the order of the probabilities.

    Returns:
        None where there is no image.
    """
    if predictions.empty:
        return None
    codes = {name: code for code, name in enumerate(classes)}
    views = {}
    for name in VIEWS:
        view = predictions[predictions.shown == name]
        labels = view.label.map(codes).to_numpy(int)
        probabilities = view[probability_columns(classes)].to_numpy(float)
        views[name] = view_metrics(metrics_with_intervals(labels, probabilities, classes, view.patient.to_numpy()))
    return OcclusionAudit(images=len(labels), chance=majority_baseline(labels), views=views)


def aggregate_occlusion(each: Sequence[OcclusionAudit | None]) -> OcclusionAudit | None:
    """What `occlusion_metrics` found of several fits as one: means, weighted by the fits' images.

    The bounds of intervals are means too, which are then those of one fit on average.

    Args:
        each: One per fit; None where there was none.

    Returns:
        None where no fit has one.
    """
    audits = [audit for audit in each if audit is not None]
    if not audits:
        return None
    images = [audit.images for audit in audits]
    views = {name: _weighted([asdict(audit.views[name]) for audit in audits], images) for name in audits[0].views}
    return OcclusionAudit(
        images=sum(images),
        chance=_weighted([audit.chance for audit in audits], images),
        views={name: ViewMetrics(**view) for name, view in views.items()},
    )


def _weighted(values: Sequence[Any], weights: Sequence[int]) -> Any:
    """The weighted mean of numbers, or of mappings and lists of numbers place by place; None where one is."""
    if any(value is None for value in values):
        return None
    if isinstance(values[0], dict):
        return {key: _weighted([value[key] for value in values], weights) for key in values[0]}
    if isinstance(values[0], list | tuple):
        return [_weighted(place, weights) for place in zip(*values, strict=True)]
    return float(np.average(values, weights=weights))


def _coarse(pixels: np.ndarray) -> np.ndarray:
    """(m, ..., h, w) uint8 pixels reduced to 16 pixels per side and enlarged again."""
    size = pixels.shape[-2:]
    pictures = [resize_whole(Image.fromarray(picture), size, detail=LOW_RESOLUTION) for picture in pixels.reshape(-1, *size)]
    return np.stack(pictures).reshape(pixels.shape)

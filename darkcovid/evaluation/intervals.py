"""How sure are the figures? 95 % intervals by drawing patients, not images, anew (cluster bootstrap, Efron and Tibshirani).

Images of one patient are no independent witnesses, so a patient is drawn with all its images. Every draw is a row of
weights, and each figure is computed for all draws at once.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from darkcovid.evaluation.metrics import score

DRAWS = 2000
LEVEL = 0.95

Interval = tuple[float, float]


def patient_weights(patients: Sequence[str], draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """How often each image is in each draw of as many patients, with replacement: (draws, n) int32.

    patients: (n,) patient of each image.
    """
    names, codes = np.unique(np.asarray(patients), return_inverse=True)
    random = np.random.default_rng(seed)
    counts = random.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    return counts[:, codes].astype(np.int32)


def figures(labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str], weights: np.ndarray) -> dict[str, np.ndarray]:
    """accuracy, balanced_accuracy, macro f1, and each class's precision, recall, specificity, f1 and roc_auc in every draw,
    by names such as `covid.recall`: (draws,) float each, nan where a draw lacks the images for it.

    labels: (n,) int; probabilities: (n, classes); weights: (draws, n).
    """
    count = len(classes)
    cells = np.eye(count * count, dtype=np.float32)[labels * count + probabilities.argmax(1)]
    matrix = (weights.astype(np.float32) @ cells).reshape(-1, count, count)
    hits, true, predicted, total = matrix.diagonal(axis1=1, axis2=2), matrix.sum(2), matrix.sum(1), matrix.sum((1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = hits / true
        precision = np.where(predicted > 0, hits / predicted, 0.0)
        specificity = 1 - (predicted - hits) / (total[:, None] - true)
        f1 = 2 * hits / (true + predicted)
        found = {"accuracy": hits.sum(1) / total, "balanced_accuracy": np.nanmean(recall, 1), "macro.f1": np.nanmean(f1, 1)}
    for code, name in enumerate(classes):
        for label, values in (("precision", precision), ("recall", recall), ("specificity", specificity), ("f1", f1)):
            found[f"{name}.{label}"] = values[:, code]
        found[f"{name}.roc_auc"] = weighted_roc_auc(labels == code, probabilities[:, code], weights)
    return found


def weighted_roc_auc(truth: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the ROC curve in every draw: the chance that a true image scores above another, ties counted half.

    truth: (n,) bool; scores: (n,); weights: (draws, n). Returns (draws,), nan where a draw lacks one kind.
    """
    order = np.argsort(scores, kind="stable")
    firsts = np.flatnonzero(np.r_[True, np.diff(scores[order]) > 0])
    sums = [np.add.reduceat(weights[:, order] * kind[order], firsts, axis=1) for kind in (truth, ~truth)]
    positive, negative = (values.astype(np.float64) for values in sums)
    below = np.cumsum(negative, 1) - negative / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return (positive * below).sum(1) / (positive.sum(1) * negative.sum(1))


def interval(values: np.ndarray, level: float = LEVEL) -> Interval | None:
    """The middle `level` of the draws, or None where no draw has the figure."""
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def intervals(
    labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str], patients: Sequence[str]
) -> dict[str, Interval | None]:
    """The interval of every one of `figures`."""
    drawn = figures(labels, probabilities, classes, patient_weights(patients))
    return {name: interval(values) for name, values in drawn.items()}


def scored(labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str], patients: Sequence[str]) -> dict[str, Any]:
    """`score` as a mapping, with `intervals`: those of accuracy, balanced_accuracy, macro.f1 and `<class>.<figure>`."""
    found = intervals(labels, probabilities, classes, patients)
    return score(labels, probabilities, tuple(classes)).as_dict() | {"intervals": found}

"""How far do metrics fall from one set of images to another? The difference, with an interval over the patients of both."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from darkcovid.evaluation.results import MetricDrop, PerformanceDrop
from darkcovid.metrics.confidence_intervals import Estimate, difference
from darkcovid.metrics.metrics_with_intervals import Names, estimates


class ScoredSet(NamedTuple):
    """Predictions of one set of images.

    Attributes:
        labels: (n,) int.
        probabilities: (n, classes) float.
        patients: (n,) names.
        fits: (n,) which fit predicted; None: one.
    """

    labels: np.ndarray
    probabilities: np.ndarray
    patients: Names
    fits: Names | None = None

    def take(self, rows: np.ndarray) -> "ScoredSet":
        """The predictions at `rows`, (n,) bool."""
        fits = None if self.fits is None else np.asarray(self.fits)[rows]
        return ScoredSet(self.labels[rows], self.probabilities[rows], np.asarray(self.patients)[rows], fits)

    @property
    def right(self) -> np.ndarray:
        """(n,) bool, whether each prediction is right."""
        return self.probabilities.argmax(1) == self.labels


def performance_drop(inside: ScoredSet, outside: ScoredSet, classes: Sequence[str]) -> PerformanceDrop:
    """The drop from an internal to an external set, whose patients are others.

    Only images of classes that both sets have count; any class may be predicted. A metric that a set lacks is left out.

    Args:
        inside: The internal set.
        outside: The external set.
        classes: Their names.

    Returns:
        Of accuracy, balanced_accuracy, and each class's recall and roc_auc.
    """
    shared = [code for code in range(len(classes)) if (inside.labels == code).any() and (outside.labels == code).any()]
    first, second = (
        estimates(scored.labels, scored.probabilities, classes, *scored[2:])
        for scored in _restrict_to_classes(inside, outside, shared)
    )
    names = ["accuracy", "balanced_accuracy", *(f"{classes[code]}.{kind}" for code in shared for kind in ("recall", "roc_auc"))]
    drops = {name: _drop(first[name], second[name]) for name in names}
    return PerformanceDrop([classes[code] for code in shared], {name: drop for name, drop in drops.items() if drop is not None})


def _drop(inside: Estimate | None, outside: Estimate | None) -> MetricDrop | None:
    if inside is None or outside is None:
        return None
    return MetricDrop(inside.value, outside.value, inside.value - outside.value, difference(inside, outside, paired=False))


def _restrict_to_classes(inside: ScoredSet, outside: ScoredSet, shared: Sequence[int]) -> list[ScoredSet]:
    kept = []
    for scored in (inside, outside):
        rows = np.isin(scored.labels, shared)
        fits = None if scored.fits is None else np.asarray(scored.fits)[rows]
        kept.append(ScoredSet(scored.labels[rows], scored.probabilities[rows], np.asarray(scored.patients)[rows], fits))
    return kept

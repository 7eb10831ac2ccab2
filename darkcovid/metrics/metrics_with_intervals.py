"""How sure are the metrics? 95 % intervals over patients, by `confidence_intervals.py`."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from darkcovid.metrics.classification import ClassificationMetrics, classification_metrics
from darkcovid.metrics.confidence_intervals import Estimate, Interval, f1, mean, proportion, roc_auc
from darkcovid.metrics.cross_fitting import Names

Estimates = dict[str, Estimate | None]
Intervals = dict[str, Interval | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsWithIntervals(ClassificationMetrics):
    """Metrics of a classifier with their intervals.

    Attributes:
        intervals: 95 % over patients, of accuracy, balanced_accuracy, macro.f1 and `<class>.<metric>`; None where the images
            for it
            are missing.
    """

    intervals: Intervals

    def interval(self, name: str) -> Interval:
        """One that exists whenever there are images, such as that of the accuracy.

        Raises:
            ValueError: No image was scored.
        """
        span = self.intervals[name]
        if span is None:
            raise ValueError(f"no interval of {name}: no image was scored")
        return span


def codes_of(names: Names | None, count: int) -> np.ndarray:
    """Names as numbers.

    Args:
        names: (count,); None: all are one.
        count: How many.

    Returns:
        (count,) int from 0 without gaps.
    """
    return np.zeros(count, int) if names is None else np.unique(np.asarray(names), return_inverse=True)[1]


def estimates(
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    patients: Names,
    fits: Names | None = None,
) -> Estimates:
    """Every metric that has an interval.

    Args:
        labels: (n,) int, index into `classes`.
        probabilities: (n, classes) float.
        classes: Their names.
        patients: (n,) names.
        fits: (n,) which fit predicted; None: one.

    Returns:
        accuracy, balanced_accuracy, macro.f1, and each class's precision, recall, specificity, f1 and roc_auc by names such
        as
        `covid.recall`; None where the images for it are missing. Means over classes are of those that have images.
    """
    groups, of_fit = codes_of(patients, len(labels)), codes_of(fits, len(labels))
    predicted = probabilities.argmax(1)
    recalls: list[Estimate] = []
    f1s: list[Estimate] = []
    of_classes: Estimates = {}
    for code, name in enumerate(classes):
        true, called = labels == code, predicted == code
        recall, both = proportion(called, true, groups), f1(true, called, groups)
        of_classes |= {
            f"{name}.precision": proportion(true, called, groups),
            f"{name}.recall": recall,
            f"{name}.specificity": proportion(~called, ~true, groups),
            f"{name}.f1": both,
            f"{name}.roc_auc": roc_auc(true, probabilities[:, code], groups, of_fit),
        }
        if recall is not None and both is not None:
            recalls.append(recall)
            f1s.append(both)
    return {
        "accuracy": proportion(predicted == labels, np.ones(len(labels), bool), groups),
        "balanced_accuracy": mean(recalls) if recalls else None,
        "macro.f1": mean(f1s, together=True) if f1s else None,
        **of_classes,
    }


def intervals(
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    patients: Names,
    fits: Names | None = None,
) -> Intervals:
    """The interval of every one of `estimates`.

    Args:
        labels: (n,) int, index into `classes`.
        probabilities: (n, classes) float.
        classes: Their names.
        patients: (n,) names.
        fits: (n,) which fit predicted; None: one.

    Returns:
        (low, high) by the estimate's name.
    """
    each = estimates(labels, probabilities, classes, patients, fits)
    return {name: None if estimate is None else estimate.interval for name, estimate in each.items()}


def metrics_with_intervals(
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    patients: Names,
    fits: Names | None = None,
) -> MetricsWithIntervals:
    """`classification_metrics` with the `intervals` of what has one.

    Args:
        labels: (n,) int, index into `classes`.
        probabilities: (n, classes) float.
        classes: Their names.
        patients: (n,) names.
        fits: (n,) which fit predicted; None: one.

    Returns:
        The metrics.
    """
    metrics = classification_metrics(labels, probabilities, tuple(classes), fits)
    return MetricsWithIntervals(**field_values(metrics), intervals=intervals(labels, probabilities, classes, patients, fits))


def field_values(instance: Any) -> dict[str, Any]:
    """The fields of a dataclass as they are, for another one that has them too."""
    return {field.name: getattr(instance, field.name) for field in fields(instance)}

"""How sure are the metrics? 95 % intervals over patients, as `estimates.py` finds them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from darkcovid.metrics.classification import classification_metrics
from darkcovid.metrics.estimates import Estimate, Interval, f1, mean, proportion, roc_auc

Estimates = dict[str, Estimate | None]


def codes_of(names: Sequence[Any] | None, count: int) -> np.ndarray:
    """(count,) names to int from 0 without gaps; None: all are one."""
    return np.zeros(count, int) if names is None else np.unique(np.asarray(names), return_inverse=True)[1]


def estimates(
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    patients: Sequence[str],
    fits: Sequence[str] | None = None,
) -> Estimates:
    """accuracy, balanced_accuracy, macro.f1, and each class's precision, recall, specificity, f1 and roc_auc by names such as
    `covid.recall`; None where the images for it are missing. Means over classes are of those that have images.

    labels: (n,) int; probabilities: (n, classes); patients: (n,); fits: (n,) which fit said it, None for one.
    """
    patients, fits = codes_of(patients, len(labels)), codes_of(fits, len(labels))
    predicted = probabilities.argmax(1)
    recalls, f1s, of_classes = [], [], {}
    for code, name in enumerate(classes):
        true, called = labels == code, predicted == code
        recall, both = proportion(called, true, patients), f1(true, called, patients)
        of_classes |= {
            f"{name}.precision": proportion(true, called, patients),
            f"{name}.recall": recall,
            f"{name}.specificity": proportion(~called, ~true, patients),
            f"{name}.f1": both,
            f"{name}.roc_auc": roc_auc(true, probabilities[:, code], patients, fits),
        }
        if recall is not None:
            recalls.append(recall)
            f1s.append(both)
    return {
        "accuracy": proportion(predicted == labels, np.ones(len(labels), bool), patients),
        "balanced_accuracy": mean(recalls) if recalls else None,
        "macro.f1": mean(f1s, together=True) if f1s else None,
        **of_classes,
    }


def intervals(
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    patients: Sequence[str],
    fits: Sequence[str] | None = None,
) -> dict[str, Interval | None]:
    """The interval of every one of `estimates`."""
    each = estimates(labels, probabilities, classes, patients, fits)
    return {name: None if estimate is None else estimate.interval for name, estimate in each.items()}


def metrics_with_intervals(
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    patients: Sequence[str],
    fits: Sequence[str] | None = None,
) -> dict[str, Any]:
    """`classification_metrics` as a mapping, with `intervals` of accuracy, balanced_accuracy, macro.f1 and `<class>.<metric>`."""
    metrics = classification_metrics(labels, probabilities, tuple(classes), fits).as_dict()
    return metrics | {"intervals": intervals(labels, probabilities, classes, patients, fits)}

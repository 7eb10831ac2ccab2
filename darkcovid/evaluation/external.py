"""How far do metrics fall from one set of images to another? The difference, with an interval over the patients of both."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from darkcovid.metrics.estimates import difference
from darkcovid.metrics.intervals import estimates


class ScoredSet(NamedTuple):
    """labels: (n,) int; probabilities: (n, classes); patients: (n,); fits: (n,) which fit said it, None for one."""

    labels: np.ndarray
    probabilities: np.ndarray
    patients: Sequence[str]
    fits: Sequence[str] | None = None

    @property
    def right(self) -> np.ndarray:
        """(n,) bool."""
        return self.probabilities.argmax(1) == self.labels


def performance_drop(inside: ScoredSet, outside: ScoredSet, classes: Sequence[str]) -> dict[str, Any]:
    """accuracy, balanced_accuracy, and each class's recall and roc_auc: `inside`, `outside`, `fall` (inside less outside) and
    its 95 % `interval`, the patients of both sets being others. Only images of classes that both sets have count, named in
    `classes`; any class may be answered. A metric that a set lacks is left out."""
    shared = [code for code in range(len(classes)) if (inside.labels == code).any() and (outside.labels == code).any()]
    first, second = (
        estimates(one.labels, one.probabilities, classes, *one[2:]) for one in _restrict_to_classes(inside, outside, shared)
    )
    names = ["accuracy", "balanced_accuracy", *(f"{classes[code]}.{kind}" for code in shared for kind in ("recall", "roc_auc"))]
    return {"classes": [classes[code] for code in shared]} | {
        name: {
            "inside": first[name].value,
            "outside": second[name].value,
            "fall": first[name].value - second[name].value,
            "interval": difference(first[name], second[name], paired=False),
        }
        for name in names
        if first[name] is not None and second[name] is not None
    }


def _restrict_to_classes(inside: ScoredSet, outside: ScoredSet, shared: Sequence[int]) -> list[ScoredSet]:
    kept = []
    for one in (inside, outside):
        rows = np.isin(one.labels, shared)
        kept.append(ScoredSet(*(None if column is None else np.asarray(column)[rows] for column in one)))
    return kept

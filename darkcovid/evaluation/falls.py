"""How far do figures fall from one set of images to another? The difference, with an interval over the patients of both."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from darkcovid.evaluation.intervals import figures, interval, patient_weights


class Scored(NamedTuple):
    """labels: (n,) int; probabilities: (n, classes); patients: (n,)."""

    labels: np.ndarray
    probabilities: np.ndarray
    patients: Sequence[str]


def falls(inside: Scored, outside: Scored, classes: Sequence[str]) -> dict[str, Any]:
    """accuracy, balanced_accuracy, and each class's recall and roc_auc: `inside`, `outside`, `fall` (inside less outside) and
    its 95 % `interval`, patients of both sets drawn anew and independently. Only images of classes that both sets have count,
    named in `classes`; any class may be answered. A figure that a set lacks is left out."""
    shared = [code for code in range(len(classes)) if (inside.labels == code).any() and (outside.labels == code).any()]
    sets = [_of_classes(one, shared) for one in (inside, outside)]
    whole = [figures(one.labels, one.probabilities, classes, np.ones((1, len(one.labels)), np.int32)) for one in sets]
    drawn = [
        figures(one.labels, one.probabilities, classes, patient_weights(one.patients, seed=seed)) for seed, one in enumerate(sets)
    ]
    names = ["accuracy", "balanced_accuracy", *(f"{classes[code]}.{kind}" for code in shared for kind in ("recall", "roc_auc"))]
    found: dict[str, Any] = {"classes": [classes[code] for code in shared]}
    for name in names:
        first, second = (float(values[name][0]) for values in whole)
        if np.isfinite(first) and np.isfinite(second):
            span = interval(drawn[0][name] - drawn[1][name])
            found[name] = {"inside": first, "outside": second, "fall": first - second, "interval": span}
    return found


def _of_classes(one: Scored, shared: Sequence[int]) -> Scored:
    rows = np.isin(one.labels, shared)
    return Scored(one.labels[rows], one.probabilities[rows], np.asarray(one.patients)[rows])

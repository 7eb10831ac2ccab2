"""How much of what a classifier can do with a class is left when the lungs are hidden?

Class by class, because a marker of one class leaves that class perfect and the others at chance, which accuracy over all classes
dilutes: with classes of 125, 500 and 500 images a perfect marker of the first leaves 20 % of the accuracy above chance. A class's
skill is what chance has none of: Youden's index (1950, recall + specificity - 1), so that calling every hidden image by one name
is none, and Somers' D (2 AUROC - 1), which also sees a class that is ranked first and no longer called.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

MEASURES = ("recall", "specificity", "roc_auc")


def class_view(metrics: dict[str, Any]) -> dict[str, Any]:
    """recall, specificity, roc_auc by class, and their and the accuracy's `intervals`, of metrics as `evaluate` gives them."""
    by_class = {name: {label: scores[name] for label, scores in metrics["per_class"].items()} for name in MEASURES}
    intervals = {key: span for key, span in metrics["intervals"].items() if key.split(".")[-1] in (*MEASURES, "accuracy")}
    return by_class | {"intervals": intervals}


def skills_left(plain: dict[str, Any], hidden: dict[str, Any]) -> dict[str, float]:
    """Of each class with skill, the share of it that is left when something is hidden, 0..1: of Youden's index or of Somers' D,
    of which more is left. 0 where the interval of what is left reaches chance.

    plain, hidden: as `class_view` gives them; {} where one of them knows no classes.
    """
    shares = {}
    for name in plain.get("recall", {}) if "intervals" in plain and "intervals" in hidden else ():
        pairs = zip(_skills(plain, name), _skills(hidden, name), strict=True)
        of_class = [
            min(1.0, left / full) if left_low > 0 else 0.0 for (full, full_low), (left, left_low) in pairs if full_low > 0
        ]
        if of_class:
            shares[name] = max(of_class)
    return shares


def _skills(view: dict[str, Any], name: str) -> Sequence[tuple[float, float]]:
    """(value, lower bound) of Youden's index and of Somers' D; recall and specificity are of other patients."""
    recall, specificity, area = (view[measure][name] for measure in MEASURES)
    spans = [view["intervals"].get(f"{name}.{measure}") for measure in MEASURES]
    unknown = (0.0, 0.0)
    youden = unknown
    if spans[0] is not None and spans[1] is not None:
        value = recall + specificity - 1
        youden = value, value - float(np.hypot(recall - spans[0][0], specificity - spans[1][0]))
    return youden, unknown if area is None or spans[2] is None else (2 * area - 1, 2 * spans[2][0] - 1)

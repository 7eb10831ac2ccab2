"""How much of what a classifier can do with a class is left when the lungs are hidden?

Class by class, because a marker of one class leaves that class perfect and the others at chance, which accuracy over all classes
dilutes: with classes of 125, 500 and 500 images a perfect marker of the first leaves 20 % of the accuracy above chance. A class's
skill is what chance has none of: Youden's index (1950, recall + specificity - 1), so that calling every hidden image by one name
is none, and Somers' D (2 AUROC - 1), which also sees a class that is ranked first and no longer called.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from darkcovid.metrics.metrics_with_intervals import Intervals, MetricsWithIntervals

MEASURES = ("recall", "specificity", "roc_auc")


@dataclass(frozen=True, slots=True)
class ViewMetrics:
    """What a classifier did with one view of the images.

    Attributes:
        accuracy: 0..1.
        balanced_accuracy: 0..1.
        recall: By class; None where there are no images for it.
        specificity: By class, as `recall`.
        roc_auc: By class, as `recall`.
        intervals: Of these (`<class>.<metric>`) and of the accuracy, 95 % over patients; empty where an earlier version kept
            none.
    """

    accuracy: float
    balanced_accuracy: float | None = None
    recall: dict[str, float | None] = field(default_factory=dict)
    specificity: dict[str, float | None] = field(default_factory=dict)
    roc_auc: dict[str, float | None] = field(default_factory=dict)
    intervals: Intervals = field(default_factory=dict)


def view_metrics(metrics: MetricsWithIntervals) -> ViewMetrics:
    """Of all metrics of a set those that say how much skill is left."""
    of_class = metrics.per_class
    return ViewMetrics(
        metrics.accuracy,
        metrics.balanced_accuracy,
        recall={name: scores.recall for name, scores in of_class.items()},
        specificity={name: scores.specificity for name, scores in of_class.items()},
        roc_auc={name: scores.roc_auc for name, scores in of_class.items()},
        intervals={key: span for key, span in metrics.intervals.items() if key.split(".")[-1] in (*MEASURES, "accuracy")},
    )


def skills_left(plain: ViewMetrics, hidden: ViewMetrics) -> dict[str, float]:
    """Of each class with skill, the share of it that is left when something is hidden.

    Args:
        plain: Of the plain images.
        hidden: Of the images with something hidden.

    Returns:
        0..1 by class: of Youden's index or of Somers' D, of which more is left; 0 where the interval of what is left reaches
        chance.
        Empty where one of them has no intervals.
    """
    shares = {}
    for name in plain.recall if plain.intervals and hidden.intervals else ():
        pairs = zip(_skills(plain, name), _skills(hidden, name), strict=True)
        of_class = [
            min(1.0, left / full) if left_low > 0 else 0.0 for (full, full_low), (left, left_low) in pairs if full_low > 0
        ]
        if of_class:
            shares[name] = max(of_class)
    return shares


def _skills(view: ViewMetrics, name: str) -> Sequence[tuple[float, float]]:
    """(value, lower bound) of Youden's index and of Somers' D; recall and specificity are of other patients."""
    recall, specificity, area = view.recall[name], view.specificity[name], view.roc_auc[name]
    recall_span, specificity_span, area_span = (view.intervals.get(f"{name}.{measure}") for measure in MEASURES)
    youden = somers = 0.0, 0.0
    if recall is not None and specificity is not None and recall_span is not None and specificity_span is not None:
        value = recall + specificity - 1
        youden = value, value - float(np.hypot(recall - recall_span[0], specificity - specificity_span[0]))
    if area is not None and area_span is not None:
        somers = 2 * area - 1, 2 * area_span[0] - 1
    return youden, somers

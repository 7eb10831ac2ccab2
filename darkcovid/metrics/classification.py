"""How good are these predictions? The arithmetic is scikit-learn's."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from sklearn import metrics

from darkcovid.metrics.calibration import expected_calibration_error, negative_log_likelihood


@dataclass(frozen=True, slots=True)
class ClassMetrics:
    """One class against the rest, all in 0..1: precision, recall (sensitivity), specificity, F1, area under the ROC curve
    and average precision (area under the precision-recall curve), None where a side is empty; support: its images."""

    precision: float
    recall: float
    specificity: float
    f1: float
    roc_auc: float | None
    average_precision: float | None
    support: int


@dataclass(frozen=True, slots=True)
class ClassificationMetrics:
    """accuracy and balanced_accuracy (mean recall) in 0..1; macro: plain means over classes; kappa (Cohen) and mcc (Matthews)
    in -1..1; brier: mean squared distance of the probabilities from the truth, 0..2, and log_loss, lower is better; ece:
    calibration error, 0..1; confusion_matrix[true][predicted] counts images."""

    accuracy: float
    balanced_accuracy: float
    macro: dict[str, float | None]
    kappa: float
    mcc: float
    brier: float
    log_loss: float
    ece: float
    per_class: dict[str, ClassMetrics]
    confusion_matrix: list[list[int]]

    def as_dict(self) -> dict:
        return asdict(self)


def classification_metrics(
    labels: np.ndarray, probabilities: np.ndarray, classes: tuple[str, ...], fits: Sequence[str] | np.ndarray | None = None
) -> ClassificationMetrics:
    """labels: (n,) int index into `classes`; probabilities: (n, len(classes)), the largest is the prediction; fits: (n,) which
    fit said it, None for one. Areas under curves are the mean of the fits' own, whose probabilities need not be on one scale.

    A class that is never predicted has precision 0.
    """
    of_fit = np.zeros(len(labels), int) if fits is None else np.asarray(fits)
    predicted, codes = probabilities.argmax(1), list(range(len(classes)))
    matrix = metrics.confusion_matrix(labels, predicted, labels=codes)
    per_class = {name: _class_score(matrix, labels, probabilities, code, of_fit) for code, name in enumerate(classes)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class without images: said by its support
        return ClassificationMetrics(
            accuracy=float(metrics.accuracy_score(labels, predicted)),
            balanced_accuracy=float(metrics.balanced_accuracy_score(labels, predicted)),
            macro=_macro(per_class),
            kappa=_number(metrics.cohen_kappa_score(labels, predicted, labels=codes)),
            mcc=float(metrics.matthews_corrcoef(labels, predicted)),
            brier=float(((probabilities - np.eye(len(classes))[labels]) ** 2).sum(1).mean()),
            log_loss=negative_log_likelihood(labels, probabilities),
            ece=expected_calibration_error(labels, probabilities),
            per_class=per_class,
            confusion_matrix=matrix.tolist(),
        )


def get_metric(scores: ClassificationMetrics, name: str) -> float | None:
    """One of `ClassificationMetrics`' numbers by its name, or by that of a mean over classes: `f1`, `roc_auc`; None where there
    are no images for it."""
    return scores.macro[name] if name in scores.macro else getattr(scores, name)


def _class_score(matrix: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, code: int, fits: np.ndarray) -> ClassMetrics:
    truth, predicted = labels == code, probabilities.argmax(1) == code
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(truth, predicted, average="binary", zero_division=0)
    others = len(labels) - truth.sum()
    wrongly = matrix[:, code].sum() - matrix[code, code]
    return ClassMetrics(
        precision=float(precision),
        recall=float(recall),
        specificity=float(1 - wrongly / others) if others else 0.0,
        f1=float(f1),
        roc_auc=_area(metrics.roc_auc_score, truth, probabilities[:, code], fits),
        average_precision=_area(metrics.average_precision_score, truth, probabilities[:, code], fits),
        support=int(truth.sum()),
    )


def _area(of: Callable, truth: np.ndarray, scores: np.ndarray, fits: np.ndarray) -> float | None:
    """The mean over the fits that have images of both kinds, None where none has."""
    each = [fits == fit for fit in np.unique(fits)]
    areas = [of(truth[rows], scores[rows]) for rows in each if 0 < truth[rows].sum() < rows.sum()]
    return float(np.mean(areas)) if areas else None


def _macro(per_class: dict[str, ClassMetrics]) -> dict[str, float | None]:
    names = ("precision", "recall", "specificity", "f1", "roc_auc", "average_precision")
    columns = {name: [getattr(scores, name) for scores in per_class.values() if scores.support] for name in names}
    return {name: None if not column or None in column else float(np.mean(column)) for name, column in columns.items()}


def _number(value: float) -> float:
    return 0.0 if np.isnan(value) else float(value)

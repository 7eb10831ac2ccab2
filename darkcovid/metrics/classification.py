"""How good are these predictions? The arithmetic is scikit-learn's."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from sklearn import metrics

from darkcovid.metrics.calibration import expected_calibration_error, negative_log_likelihood

PROBABILITY = "probability_"  # before a class's name: its column in every table of predictions


def probability_columns(classes: Sequence[str]) -> list[str]:
    """The columns of a table of predictions that hold the classes' probabilities, in the classes' order."""
    return [PROBABILITY + name for name in classes]


@dataclass(frozen=True, slots=True)
class ClassMetrics:
    """One class against the rest, all in 0..1.

    Attributes:
        precision: 0 where the class is never predicted.
        recall: Sensitivity.
        specificity: Recall of the rest.
        f1: Of precision and recall.
        roc_auc: Area under the ROC curve; None where the class, or the rest, has no images.
        average_precision: Area under the precision-recall curve; None as `roc_auc`.
        support: Images of the class.
    """

    precision: float
    recall: float
    specificity: float
    f1: float
    roc_auc: float | None
    average_precision: float | None
    support: int


@dataclass(frozen=True, slots=True)
class ClassificationMetrics:
    """Metrics of a classifier.

    Attributes:
        accuracy: 0..1.
        balanced_accuracy: Mean recall, 0..1.
        macro: Plain means over classes.
        kappa: Cohen's, -1..1.
        mcc: Matthews', -1..1.
        brier: Mean squared distance of the probabilities from the truth, 0..2, lower is better.
        log_loss: Nats, lower is better.
        ece: Expected calibration error, 0..1, lower is better.
        per_class: Each class against the rest.
        confusion_matrix: Images, [true][predicted].
    """

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
        """The attributes by name, nested."""
        return asdict(self)


def classification_metrics(
    labels: np.ndarray, probabilities: np.ndarray, classes: tuple[str, ...], fits: Sequence[str] | np.ndarray | None = None
) -> ClassificationMetrics:
    """Metrics of predictions.

    Args:
        labels: (n,) int, index into `classes`.
        probabilities: (n, classes) float; the largest is the prediction.
        classes: Their names.
        fits: (n,) which fit predicted; None: one. Areas under curves are the mean of the fits' own, whose probabilities need
            not be
            on one scale.

    Returns:
        The metrics; a class that is never predicted has precision 0.
    """
    of_fit = np.zeros(len(labels), int) if fits is None else np.asarray(fits)
    predicted, codes = probabilities.argmax(1), list(range(len(classes)))
    matrix = metrics.confusion_matrix(labels, predicted, labels=codes)
    scores = np.stack(metrics.precision_recall_fscore_support(labels, predicted, labels=codes, zero_division=0), axis=1)
    per_class = {
        name: _class_score(scores[code], matrix, labels == code, probabilities[:, code], code, of_fit)
        for code, name in enumerate(classes)
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class without images: said by its support
        return ClassificationMetrics(
            accuracy=float((labels == predicted).mean()),
            balanced_accuracy=float(np.mean([score.recall for score in per_class.values() if score.support])),
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
    """One of `ClassificationMetrics`' numbers.

    Args:
        scores: The metrics.
        name: Of an attribute, or of a mean over classes such as `f1` or `roc_auc`.

    Returns:
        None where there are no images for it.
    """
    return scores.macro[name] if name in scores.macro else getattr(scores, name)


def _class_score(
    scores: np.ndarray, matrix: np.ndarray, truth: np.ndarray, probabilities: np.ndarray, code: int, fits: np.ndarray
) -> ClassMetrics:
    """scores: precision, recall, F1 and support of the class; truth: (n,) bool; probabilities: (n,) of the class."""
    precision, recall, f1, support = scores
    others = len(truth) - support
    wrongly = matrix[:, code].sum() - matrix[code, code]
    return ClassMetrics(
        precision=float(precision),
        recall=float(recall),
        specificity=float(1 - wrongly / others) if others else 0.0,
        f1=float(f1),
        roc_auc=_area(metrics.roc_auc_score, truth, probabilities, fits),
        average_precision=_area(metrics.average_precision_score, truth, probabilities, fits),
        support=int(support),
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

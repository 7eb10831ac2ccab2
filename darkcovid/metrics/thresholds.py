"""Where to draw the line for one class, and what a positive or negative answer is then worth.

The threshold is chosen on the validation set, and what it does is judged on other patients: those of the test set, or in turn on
each part of the validation set with the threshold that the other parts ask for (cross-fitting), since on the images that it was
chosen on it would look better than it is. How often the class really occurs is not what a balanced data set shows, so predictive
values are given for stated prevalences.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import roc_curve

from darkcovid.metrics.cross_fitting import Names, held_and_others

SENSITIVITIES = (0.9, 0.95)
PREVALENCES = (0.01, 0.05, 0.2)


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A threshold on one class's probability.

    Attributes:
        wanted_sensitivity: That it was chosen for.
        threshold: Probabilities at or above it are called positive.
        sensitivity: There, 0..1.
        specificity: There, 0..1.
        ppv: Positive predictive value by prevalence; None where nothing would be called so.
        npv: Negative predictive value, as `ppv`.
    """

    wanted_sensitivity: float
    threshold: float
    sensitivity: float
    specificity: float
    ppv: dict[str, float | None]
    npv: dict[str, float | None]


def operating_points(truth: np.ndarray, scores: np.ndarray) -> list[OperatingPoint]:
    """The highest threshold that reaches each of SENSITIVITIES.

    Args:
        truth: (n,) bool.
        scores: (n,) float.

    Returns:
        None of them where all images are of one kind.
    """
    if not 0 < truth.sum() < len(truth):
        return []
    _, sensitivities, thresholds = roc_curve(truth, scores, drop_intermediate=False)
    return [
        operating_point(truth, scores, float(thresholds[np.argmax(sensitivities >= target)]), target) for target in SENSITIVITIES
    ]


def cross_fitted_points(
    truth: np.ndarray, scores: np.ndarray, parts: np.ndarray, patients: Names | None = None
) -> list[OperatingPoint]:
    """The thresholds of `operating_points`, judged by what those chosen on the other parts do to each part.

    Args:
        truth: (n,) bool.
        scores: (n,) float.
        parts: (n,) int.
        patients: (n,) names, where a patient may be in several parts; None: none is.

    Returns:
        None of them where the others of some part have images of one kind only.
    """
    points = operating_points(truth, scores)
    chosen = [(held, operating_points(truth[others], scores[others])) for held, others in held_and_others(parts, patients)]
    if not all(of_others for _, of_others in chosen):
        return []
    calls = [np.zeros(len(truth), bool) for _ in points]
    for held, of_others in chosen:
        for call, point in zip(calls, of_others, strict=True):
            call[held] = scores[held] >= point.threshold
    return [_point(truth, call, point.threshold, point.wanted_sensitivity) for call, point in zip(calls, points, strict=True)]


def operating_point(truth: np.ndarray, scores: np.ndarray, threshold: float, target_sensitivity: float) -> OperatingPoint:
    """What a threshold does: scores at or above it are called positive.

    Args:
        truth: (n,) bool.
        scores: (n,) float.
        threshold: On the scores.
        target_sensitivity: That it was chosen for.

    Returns:
        The operating point.
    """
    return _point(truth, scores >= threshold, threshold, target_sensitivity)


def _point(truth: np.ndarray, called: np.ndarray, threshold: float, target_sensitivity: float) -> OperatingPoint:
    sensitivity, specificity = float(called[truth].mean()), float((~called)[~truth].mean())
    values = {str(share): predictive_values(sensitivity, specificity, share) for share in PREVALENCES}
    ppv, npv = ({share: pair[place] for share, pair in values.items()} for place in (0, 1))
    return OperatingPoint(target_sensitivity, threshold, sensitivity, specificity, ppv, npv)


def predictive_values(sensitivity: float, specificity: float, prevalence: float) -> tuple[float | None, float | None]:
    """Predictive values by Bayes's rule.

    Args:
        sensitivity: 0..1.
        specificity: 0..1.
        prevalence: 0..1.

    Returns:
        Positive and negative predictive value; None where nothing would be called so.
    """
    true_positive, false_positive = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    true_negative, false_negative = specificity * (1 - prevalence), (1 - sensitivity) * prevalence
    positive, negative = true_positive + false_positive, true_negative + false_negative
    return (true_positive / positive if positive else None), (true_negative / negative if negative else None)

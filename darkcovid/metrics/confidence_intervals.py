"""A metric, how much each patient moves it, and how far it can be trusted.

Images of one patient are not independent, so patients are the unit: the variance is that of the patients' influence (Taylor
linearization; Obuchowski 1997, Biometrics 53, for the ROC curve). It becomes an effective number of patients, and that the
exact binomial interval (Korn and Graubard 1998, Survey Methodology 24; Clopper and Pearson 1934): 20 of 20 patients right is
[.832, 1], where the percentile interval of a bootstrap over patients is [1, 1]. Means of classes and differences of arms put
such intervals together by the method of variance estimates recovery (Zou and Donner 2008, Statistics in Medicine 27).

Few mistakes say little of how mistakes cluster. Until there are some, all images of a patient are taken to be right or wrong
together, and for a ROC curve the variance is the greatest there is (Birnbaum and Klose 1957): a binomial one, of the patients
of the rarer kind. Each patient that is seen to be an exception weighs as much as this assumption, and what the assumption no
longer weighs moves the exact interval towards Jeffreys's, which is not conservative (Brown et al. 2001, Statistical Science 16).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv, stdtrit

LEVEL = 0.95
ASSUMED = 1.0  # exceptional patients that the assumption on clustering is worth

Interval = tuple[float, float]


@dataclass(frozen=True)
class Estimate:
    """A metric, and how much it depends on each patient.

    Attributes:
        value: 0..1.
        influence: (patients,) float, how far each one moves it, summing to 0.
        patients: The effective number that it is of, were all images of a patient alike.
        interval: Of 95 %.
    """

    value: float
    influence: np.ndarray
    patients: float
    interval: Interval


def proportion(hits: np.ndarray, counted: np.ndarray, patients: np.ndarray) -> Estimate | None:
    """The share of the counted images that are hits.

    Args:
        hits: (n,) bool.
        counted: (n,) bool.
        patients: (n,) int from 0 without gaps.

    Returns:
        None where no image is counted.
    """
    size = int(patients.max(initial=-1)) + 1
    of = np.bincount(patients, counted, size)
    if not of.any():
        return None
    good = np.bincount(patients, counted & hits, size)
    value = good.sum() / of.sum()
    influence = (good - value * of) / of.sum()
    exceptions = min((good < of).sum(), (good > 0).sum())
    span = _interval(value, influence, _kish(of), exceptions, (of > 0).sum(), of.sum())
    return Estimate(float(value), influence, _kish(of), span)


def accuracy(right: np.ndarray, patients: np.ndarray) -> Estimate:
    """The share of all images that are right.

    Args:
        right: (n,) bool.
        patients: (n,) int from 0 without gaps.

    Returns:
        The estimate.

    Raises:
        ValueError: There is no image.
    """
    estimate = proportion(right, np.ones(len(right), bool), patients)
    if estimate is None:
        raise ValueError("no image to be right or wrong about")
    return estimate


def roc_auc(truth: np.ndarray, scores: np.ndarray, patients: np.ndarray, fits: np.ndarray) -> Estimate | None:
    """The chance that a true image scores above another, ties counted half.

    Args:
        truth: (n,) bool.
        scores: (n,) float.
        patients: (n,) int from 0 without gaps.
        fits: (n,) int from 0 without gaps; of several the mean of each one's, whose scores need not be on one scale.

    Returns:
        None where no fit has images of both kinds.
    """
    size = int(patients.max(initial=-1)) + 1
    values, influence = [], np.zeros(size)
    below, above = np.zeros(size, bool), np.zeros(size, bool)
    for fit in range(int(fits.max(initial=-1)) + 1):
        rows = fits == fit
        placed = placements(truth[rows], scores[rows])
        if placed is None:
            continue
        value, kinds = placed[truth[rows]].mean(), np.bincount(truth[rows].astype(int), minlength=2)
        values.append(value)
        np.add.at(influence, patients[rows], (placed - value) / kinds[truth[rows].astype(int)])
        below[patients[rows][placed < 1]] = True
        above[patients[rows][placed > 0]] = True
    if not values:
        return None
    sides = [np.bincount(patients, kind, size) for kind in (truth, ~truth)]
    exceptions = min((side[where] > 0).sum() for side in sides for where in (below, above))
    few, least = min((side > 0).sum() for side in sides), min(_kish(side) for side in sides)
    value, influence = float(np.mean(values)), influence / len(values)
    return Estimate(value, influence, least, _interval(value, influence, least, exceptions, few, min(map(np.sum, sides))))


def placements(truth: np.ndarray, scores: np.ndarray) -> np.ndarray | None:
    """Of each image the share of the images of the other kind that it stands on the right side of, ties half (DeLong et al.
    1988).

    Args:
        truth: (n,) bool.
        scores: (n,) float.

    Returns:
        (n,) float in 0..1; None where a kind is missing.
    """
    if not 0 < truth.sum() < len(truth):
        return None
    placed = np.empty(len(truth))
    for kind in (True, False):
        others = np.sort(scores[truth != kind])
        lower = (np.searchsorted(others, scores[truth == kind]) + np.searchsorted(others, scores[truth == kind], "right")) / 2
        placed[truth == kind] = lower / len(others) if kind else 1 - lower / len(others)
    return placed


def f1(true: np.ndarray, called: np.ndarray, patients: np.ndarray) -> Estimate | None:
    """F1 of a class: 2j / (1 + j), where j is the share that is both among the images that are the class or are predicted as it.

    Args:
        true: (n,) bool.
        called: (n,) bool, whether the class is predicted.
        patients: (n,) int from 0 without gaps.

    Returns:
        None where there is no such image.
    """
    share = proportion(true & called, true | called, patients)
    if share is None:
        return None
    low, high = (2 * bound / (1 + bound) for bound in share.interval)
    slope = 2 / (1 + share.value) ** 2
    return Estimate(2 * share.value / (1 + share.value), slope * share.influence, share.patients, (low, high))


def mean(parts: Sequence[Estimate], together: bool = False) -> Estimate:
    """The plain mean of metrics of the same patients.

    Args:
        parts: The metrics.
        together: Whether a mistake that was not seen yet would be one in all parts, as it is for the F1 of the class that is
            missed
            and of the one that is predicted.

    Returns:
        The estimate.
    """
    correlation = np.eye(len(parts))
    for row, first in enumerate(parts):
        for column in range(row):
            correlation[row, column] = correlation[column, row] = _correlation(first, parts[column], together)
    value = float(np.mean([part.value for part in parts]))
    bounds = []
    for side, sign in ((0, -1), (1, 1)):
        apart = np.array([abs(part.interval[side] - part.value) for part in parts])
        bounds.append(value + sign * np.sqrt(apart @ correlation @ apart) / len(parts))
    influence = np.mean([part.influence for part in parts], axis=0)
    span = max(0.0, float(bounds[0])), min(1.0, float(bounds[1]))
    return Estimate(value, influence, min(part.patients for part in parts), span)


def difference(first: Estimate, second: Estimate, paired: bool) -> Interval:
    """The 95 % interval of a difference.

    Args:
        first: From which the other is subtracted.
        second: The other.
        paired: Whether both are of the same patients, in the same order.

    Returns:
        (low, high).
    """
    correlation = _correlation(first, second, together=False) if paired else 0.0
    (low, high), (other_low, other_high) = first.interval, second.interval
    apart = first.value - second.value
    down = _across(first.value - low, other_high - second.value, correlation)
    up = _across(high - first.value, second.value - other_low, correlation)
    return float(apart - down), float(apart + up)


def _across(estimate: float, other: float, correlation: float) -> float:
    return float(np.sqrt(max(0.0, estimate**2 + other**2 - 2 * correlation * estimate * other)))


def _correlation(first: Estimate, second: Estimate, together: bool) -> float:
    """Of two metrics of the same patients, with one more patient that moves both (`together`), or else one that moves the first
    and one that moves the second."""
    variances = [(estimate.influence**2).sum() + 1 / estimate.patients**2 for estimate in (first, second)]
    common = (first.influence * second.influence).sum() + together / (first.patients * second.patients)
    return float(np.clip(common / np.sqrt(variances[0] * variances[1]), -1, 1))


def _kish(counts: np.ndarray) -> float:
    """The effective number of patients of so many images each (Kish 1965)."""
    return float(counts.sum() ** 2 / (counts**2).sum())


def _interval(value: float, influence: np.ndarray, patients: float, exceptions: int, units: int, images: int) -> Interval:
    """Of a value whose variance would be binomial with so many effective `patients`, were the assumption on clustering true.
    exceptions: patients from whom its variance is known; units: patients, and images, that it is of."""
    if units < 2:
        return 0.0, 1.0
    few = (stdtrit(units - 1, (1 + LEVEL) / 2) / stdtrit(images - 1, (1 + LEVEL) / 2)) ** 2
    binomial = value * (1 - value)
    seen = few * (influence**2).sum() * patients / binomial if binomial > 0 else 1.0
    doubt = ASSUMED / (exceptions + ASSUMED)
    return _binomial(value, patients / (doubt + (1 - doubt) * seen), doubt)


def _binomial(value: float, count: float, doubt: float) -> Interval:
    """Of a proportion of `count` trials, which need not be a whole number: Clopper and Pearson's interval (doubt 1), Jeffreys's
    (0; Brown et al. 2001, Statistical Science 16), or one between them."""
    hits, tail, half = value * count, (1 - LEVEL) / 2, doubt / 2
    low = betaincinv(hits + 0.5 - half, count - hits + 0.5 + half, tail) if value > 0 else 0.0
    high = betaincinv(hits + 0.5 + half, count - hits + 0.5 - half, 1 - tail) if value < 1 else 1.0
    return float(low), float(high)

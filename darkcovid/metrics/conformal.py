"""Sets of classes that hold the true one with a stated frequency, and what is said where a set does not hold exactly one.

Class-conditional split conformal prediction (Vovk, Gammerman and Shafer 2005, section 4.5, Mondrian; score of Sadinle, Lei and
Wasserman 2019): a class is in an image's set when its probability is at least that which a share `LEVEL` of the class's images
has in the validation set. Each patient counts once, however many images there are. The promise is for patients like those of the
validation set: on images from elsewhere it can break, which is why it is measured there.
"""

from collections.abc import Sequence

import numpy as np

from darkcovid.metrics.cross_fitting import Names, held_and_others

LEVEL = 0.9
NOT_SURE, UNLIKE = "not sure", "not like the training images"


def conformal_thresholds(labels: np.ndarray, probabilities: np.ndarray, patients: Names, level: float = LEVEL) -> list[float]:
    """The lowest probability with which each class is in a set.

    Args:
        labels: (n,) int, of images that the network was not trained on.
        probabilities: (n, classes) float, rows sum to 1.
        patients: (n,) names.
        level: Share of a class's patients whose set is to hold it, 0..1.

    Returns:
        One per class; 0 of a class with too few patients to promise anything, which is then in every set.
    """
    return [
        _threshold(probabilities[labels == code, code], np.asarray(patients)[labels == code], level)
        for code in range(probabilities.shape[1])
    ]


def _threshold(own: np.ndarray, patients: np.ndarray, level: float) -> float:
    """The probability that all but a share 1 - `level` of the patients reach, one unseen patient among them that may not."""
    if not len(own):
        return 0.0
    _, codes, images = np.unique(patients, return_inverse=True, return_counts=True)
    weights, order = 1 / images[codes], np.argsort(-own, kind="stable")
    needed = level * (len(images) + 1)
    reached = np.cumsum(weights[order])
    if reached[-1] + 1e-9 < needed:
        return 0.0
    return float(own[order][np.searchsorted(reached, needed - 1e-9)])


def conformal_sets(probabilities: np.ndarray, thresholds: Sequence[float]) -> np.ndarray:
    """Which classes are in the set of each image.

    Args:
        probabilities: (n, classes) float.
        thresholds: As `conformal_thresholds` gives them.

    Returns:
        (n, classes) bool.
    """
    return probabilities >= np.asarray(thresholds)


def cross_fitted_sets(labels: np.ndarray, probabilities: np.ndarray, patients: Names, parts: np.ndarray) -> np.ndarray:
    """Sets by thresholds of the other parts' images, so that what sets promise is judged on patients that they were not made of.

    Args:
        labels: (n,) int.
        probabilities: (n, classes) float, rows sum to 1.
        patients: (n,) names.
        parts: (n,) int; a patient that is in several parts has no say in any of them.

    Returns:
        (n, classes) bool.
    """
    sets = np.empty(probabilities.shape, bool)
    for held, others in held_and_others(parts, patients):
        thresholds = conformal_thresholds(labels[others], probabilities[others], np.asarray(patients)[others])
        sets[held] = conformal_sets(probabilities[held], thresholds)
    return sets

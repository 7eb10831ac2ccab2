"""Can the probabilities be taken at their word? Reliability, calibration error, and one temperature that corrects them.

Guo et al. 2017, "On calibration of modern neural networks". A temperature fitted to few images, to images that are all right, or
to a network at chance knows no bounds, so a normal prior on its logarithm draws it towards 1, which is what MacKay (1992, "A
practical Bayesian framework for backpropagation networks") does to weights.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

from darkcovid.metrics.cross_fitting import Names, held_and_others

BINS = 10
TEMPERATURES = (0.05, 20.0)
PRIOR = 10.0  # what the prior knows of the logarithm (1 / variance): a temperature of .54 to 1.86 in 95 %
MIN_PROBABILITY = float(np.finfo(np.float32).eps)  # what a probability of 0 is taken for


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Images whose largest probability lies in one tenth: how many, its mean, and the share of them that was right."""

    images: int
    confidence: float
    accuracy: float


def reliability(labels: np.ndarray, probabilities: np.ndarray, bins: int = BINS) -> list[ReliabilityBin]:
    """The bins of a reliability diagram, empty ones left out.

    Args:
        labels: (n,) int.
        probabilities: (n, classes) float, rows sum to 1.
        bins: Of equal width.

    Returns:
        One entry per bin that has images.
    """
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    masks = [place == index for index in range(bins)]
    return [ReliabilityBin(int(m.sum()), float(confidence[m].mean()), float(right[m].mean())) for m in masks if m.any()]


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error of the largest probability, with bins of equal width.

    Args:
        labels: (n,) int.
        probabilities: (n, classes) float, rows sum to 1.
        bins: How many.

    Returns:
        0..1, lower is better.
    """
    return sum(part.images * abs(part.confidence - part.accuracy) for part in reliability(labels, probabilities, bins)) / len(
        labels
    )


def negative_log_likelihood(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean of -log of the true class's probability.

    Args:
        labels: (n,) int.
        probabilities: (n, classes) float; one below the smallest step of a float32 is taken for that, as scikit-learn does.

    Returns:
        Nats, lower is better.
    """
    return float(-np.log(np.clip(probabilities[np.arange(len(labels)), labels], MIN_PROBABILITY, 1)).mean())


def fit_temperature(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """The temperature by which logits are divided for the lowest cross entropy (Guo et al. 2017).

    The fewer images there are, or the less they say, the nearer it stays to 1, which is that of none.

    Args:
        labels: (n,) int.
        probabilities: (n, classes) float, rows sum to 1.

    Returns:
        Above 1 where the network is overconfident.
    """
    if not len(labels):
        return 1.0

    def penalized(log_temperature: float) -> float:
        cooled = apply_temperature(probabilities, float(np.exp(log_temperature)))
        return len(labels) * negative_log_likelihood(labels, cooled) + PRIOR * log_temperature**2 / 2

    return float(np.exp(minimize_scalar(penalized, bounds=np.log(TEMPERATURES), method="bounded").x))


def cross_fitted(labels: np.ndarray, probabilities: np.ndarray, parts: np.ndarray, patients: Names | None = None) -> np.ndarray:
    """Probabilities with a temperature that was fitted to the other parts.

    Args:
        labels: (n,) int.
        probabilities: (n, classes) float, rows sum to 1.
        parts: (n,) int; one part alone gets the temperature 1.
        patients: (n,) names, where a patient may be in several parts; None: none is.

    Returns:
        (n, classes) float, rows sum to 1.
    """
    cooled = np.empty(probabilities.shape)
    for held, others in held_and_others(parts, patients):
        cooled[held] = apply_temperature(probabilities[held], fit_temperature(labels[others], probabilities[others]))
    return cooled


def apply_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities as they would be with all logits divided by a temperature.

    Args:
        probabilities: (n, classes) float, rows sum to 1.
        temperature: Above 0.

    Returns:
        (n, classes) float, rows sum to 1.
    """
    logits = np.log(np.clip(probabilities, 1e-12, 1)) / temperature
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)

"""Can the probabilities be taken at their word? Reliability, calibration error, and one temperature that mends them.

Guo et al. 2017, "On calibration of modern neural networks".
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

BINS = 10
TEMPERATURES = (0.05, 20.0)


@dataclass(frozen=True, slots=True)
class Bin:
    """Images whose largest probability lies in one tenth: how many, its mean, and the share of them that was right."""

    images: int
    confidence: float
    accuracy: float


def reliability(labels: np.ndarray, probabilities: np.ndarray, bins: int = BINS) -> list[Bin]:
    """The bins of a reliability diagram, empty ones left out. labels: (n,) int; probabilities: (n, classes)."""
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    found = [place == index for index in range(bins)]
    return [Bin(int(m.sum()), float(confidence[m].mean()), float(right[m].mean())) for m in found if m.any()]


def calibration_error(labels: np.ndarray, probabilities: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error of the largest probability, equal-width bins, 0..1."""
    return sum(part.images * abs(part.confidence - part.accuracy) for part in reliability(labels, probabilities, bins)) / len(
        labels
    )


def fit_temperature(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """The temperature by which logits are divided for the lowest cross entropy: above 1 where the network is too sure."""

    def cross_entropy(log_temperature: float) -> float:
        cooled = with_temperature(probabilities, float(np.exp(log_temperature)))
        return float(-np.log(np.clip(cooled[np.arange(len(labels)), labels], 1e-12, 1)).mean())

    return float(np.exp(minimize_scalar(cross_entropy, bounds=np.log(TEMPERATURES), method="bounded").x))


def with_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """(n, classes) probabilities as they were with all logits divided by `temperature`."""
    logits = np.log(np.clip(probabilities, 1e-12, 1)) / temperature
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)

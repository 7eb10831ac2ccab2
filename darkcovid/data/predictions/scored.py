"""What was read of a table of predictions: labels and probabilities of one classifier, or of one per finding."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SHOWN = 6


@dataclass(frozen=True)
class Scored:
    """name: of a finding that stands alone, '' of all classes; classes: (k); labels: (n,) names; probabilities: (n, k) float."""

    name: str
    classes: tuple[str, ...]
    labels: np.ndarray
    probabilities: np.ndarray

    def take(self, rows: np.ndarray) -> "Scored":
        """The images at `rows`, (m,) int, in that order."""
        return Scored(self.name, self.classes, self.labels[rows], self.probabilities[rows])


@dataclass(frozen=True)
class FoundScores:
    """scored: of every classifier; columns: that it was read from, words; labels_only: whether there are no scores; notes."""

    scored: list[Scored]
    columns: str
    labels_only: bool
    notes: list[str]


def some_of(texts: Sequence[str]) -> str:
    """The first of several texts, and how many more there are."""
    return ", ".join(texts[:SHOWN]) + (f" and {len(texts) - SHOWN} more" if len(texts) > SHOWN else "")

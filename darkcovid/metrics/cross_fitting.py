"""Patients in parts, so that what is fitted to some of them is judged on the others (cross-fitting)."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

Names = Sequence[Any] | np.ndarray  # (n,)
PARTS = 5


def held_and_others(parts: np.ndarray, patients: Names | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each part, and what may be fitted for it: the other parts without its patients.

    Args:
        parts: (n,) int.
        patients: (n,) names, where a patient may be in several parts; None: none is.

    Yields:
        Two (n,) bool masks.
    """
    codes = np.arange(len(parts)) if patients is None else np.unique(np.asarray(patients), return_inverse=True)[1]
    for part in np.unique(parts):
        held = parts == part
        of_held = np.zeros(int(codes.max(initial=-1)) + 1, bool)
        of_held[codes[held]] = True
        yield held, ~of_held[codes]


def patient_parts(labels: np.ndarray, patients: Names, parts: int = PARTS) -> np.ndarray:
    """Parts of images for cross-fitting, each class's patients dealt out evenly.

    Args:
        labels: (n,) int; a patient of several classes counts for the first.
        patients: (n,) names.
        parts: At most so many; as many as the rarest class has patients where those are fewer, at least 2.

    Returns:
        (n,) int, all images of a patient in one part.
    """
    names, codes = np.unique(np.asarray(patients), return_inverse=True)
    of = np.full(len(names), -1)
    of[codes[::-1]] = labels[::-1]  # a patient of several classes counts for the first
    parts = max(2, min(parts, *np.bincount(of)[np.unique(of)], len(names)))
    place, order = np.empty(len(names), int), np.random.default_rng(0).permutation(len(names))
    place[order[np.argsort(of[order], kind="stable")]] = np.arange(len(names)) % parts
    return place[codes]

"""Patients in parts, so that what is fitted to some of them is judged on the others (cross-fitting)."""

import numpy as np

from darkcovid.metrics.intervals import Names

PARTS = 5


def patient_parts(labels: np.ndarray, patients: Names, parts: int = PARTS) -> np.ndarray:
    """(n,) int: which of at most so many parts a patient's images are in, each class's patients dealt out evenly; as many parts
    as the rarest class has patients where those are fewer, at least 2."""
    names, codes = np.unique(np.asarray(patients), return_inverse=True)
    of = np.full(len(names), -1)
    of[codes[::-1]] = labels[::-1]  # a patient of several classes counts for the first
    parts = max(2, min(parts, *np.bincount(of)[np.unique(of)], len(names)))
    place, order = np.empty(len(names), int), np.random.default_rng(0).permutation(len(names))
    place[order[np.argsort(of[order], kind="stable")]] = np.arange(len(names)) % parts
    return place[codes]

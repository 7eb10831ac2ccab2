"""Which pairs of images look alike enough to be laid over one another? The low frequencies of each, moved, against all others'.

Both images of a pair are moved, so it does not matter which of them is the copy. An inverted image has the low frequencies of the
other sign: absolute correlations find it at no cost.
"""

from dataclasses import dataclass

import numpy as np

from darkcovid.data.near_duplicates.bands import EDGES, SIDE, banded, forms
from darkcovid.data.near_duplicates.transforms import MOVES, STILL, THUMB, inverse, moved_frequencies

ALIKE = 0.9  # correlation of low frequencies
CHUNK = 256  # forms compared with all others at once
MATRICES = np.array([move.matrix for move in MOVES], np.float32)
INVERSES = inverse(MATRICES)


@dataclass(frozen=True)
class Views:
    """Some images as they are compared. shown: (m, 96, 96) uint8 forms; rows: (m,) int, which image each form shows; thumbs:
    (m, 48, 48) float32, their edges; moved: (moves, m, d) float32, their low frequencies after each move."""

    shown: np.ndarray
    rows: np.ndarray
    thumbs: np.ndarray
    moved: np.ndarray

    @classmethod
    def of(cls, pixels: np.ndarray) -> "Views":
        """pixels: (n, h, w) uint8."""
        shown, rows = forms(pixels)
        parts = [_thumbs(shown[start : start + CHUNK]) for start in range(0, len(shown), CHUNK)]
        thumbs = np.concatenate(parts)
        return cls(shown, rows, thumbs, moved_frequencies(thumbs))


@dataclass(frozen=True)
class Candidates:
    """k pairs of forms that look alike: their places in the first and the other Views, and (k, 2, 3) float32, the move from
    coordinates of `other` to those of `first`, in -1..1."""

    first: np.ndarray
    other: np.ndarray
    move: np.ndarray


def find_candidates(first: Views, other: Views) -> Candidates:
    """Of each image here and each there the two forms that are most alike, where their low frequencies correlate by 0.9.

    Where both are the same views, only pairs of an earlier with a later row.
    """
    a, b, score = _alike(first, other)
    most_alike_first = np.lexsort((-score, other.rows[b], first.rows[a]))
    pairs = np.stack([first.rows[a], other.rows[b]], 1)[most_alike_first]
    kept = most_alike_first[np.unique(pairs, axis=0, return_index=True)[1]]
    a, b = a[kept], b[kept]
    return Candidates(a, b, _best_moves(first.moved[:, a], other.moved[:, b]))


def _alike(first: Views, other: Views) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of forms that correlate by 0.9 after any move of one of them: (k,) places here, places there, correlations."""
    pairs = []
    for start in range(0, len(first.rows), CHUNK):
        chunk = slice(start, start + CHUNK)
        later = first.rows[chunk, None] < other.rows if first is other else True
        score = np.zeros((len(first.rows[chunk]), len(other.rows)), np.float32)
        product = np.empty_like(score)
        for one, two in [(number, STILL) for number in range(len(MOVES))] + [(STILL, number) for number in range(len(MOVES))]:
            np.matmul(first.moved[one, chunk], other.moved[two].T, out=product)
            np.maximum(score, np.abs(product, out=product), out=score)
        a, b = np.nonzero((score >= ALIKE) & later)
        pairs.append((a + start, b, score[a, b]))
    return tuple(np.concatenate(column) for column in zip(*pairs, strict=True))


def _best_moves(first: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(k, 2, 3), the moves after which k pairs are most alike. first, other: (moves, k, d) low frequencies."""
    moved_first = np.abs(np.einsum("mkd,kd->mk", first, other[STILL]))
    moved_other = np.abs(np.einsum("kd,mkd->mk", first[STILL], other))
    best = np.concatenate([moved_first, moved_other]).argmax(0)
    return np.concatenate([MATRICES, INVERSES])[best]


def _thumbs(shown: np.ndarray) -> np.ndarray:
    smaller = SIDE // THUMB
    return banded(shown, EDGES).reshape(-1, THUMB, smaller, THUMB, smaller).mean((2, 4))

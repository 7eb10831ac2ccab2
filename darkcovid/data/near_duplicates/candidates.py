"""Which pairs of images are alike enough to be registered? The low frequencies of each, transformed, against all others'.

Both images of a pair are transformed, so it does not matter which of them is the copy. An inverted image has the low frequencies
of the other sign: absolute correlations find it at no cost.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from darkcovid.data.near_duplicates.image_features import EDGES, SIDE, banded, comparable, crops, textured
from darkcovid.data.near_duplicates.registration import RegisteredCrops
from darkcovid.data.near_duplicates.transforms import STILL, THUMBNAIL, TRANSFORMS, inverse, transformed_frequencies

ALIKE = 0.9  # correlation of low frequencies
CHUNK = 256  # images compared with all others at once
AT_ONCE = 128  # pairs registered together
MATRICES = np.array([transform.matrix for transform in TRANSFORMS], np.float32)
INVERSES = inverse(MATRICES)


@dataclass(frozen=True)
class Descriptors:
    """The crops of those images that can be compared.

    Attributes:
        crops: (m, 96, 96) uint8.
        rows: (m,) int, ascending, the image of each crop.
        shows: (m, 96, 96) bool, where it is not flat.
        thumbnails: (m, 48, 48) float32, its edges.
        frequencies: (transforms, m, d) float32, its low frequencies after each transform.
    """

    crops: np.ndarray
    rows: np.ndarray
    shows: np.ndarray
    thumbnails: np.ndarray
    frequencies: np.ndarray

    @classmethod
    def of(cls, pixels: np.ndarray) -> "Descriptors":
        """pixels: (n, h, w) uint8."""
        cut, rows = crops(pixels)
        chunks = [slice(start, start + CHUNK) for start in range(0, len(cut), CHUNK)]
        shows = np.concatenate([textured(cut[chunk]) for chunk in chunks])
        kept = np.concatenate([comparable(cut[chunk], shows[chunk]) for chunk in chunks])
        thumbnails = np.concatenate([_thumbnails(cut[chunk]) for chunk in chunks])[kept]
        return cls(cut[kept], rows[kept], shows[kept], thumbnails, transformed_frequencies(thumbnails))

    def take(self, places: np.ndarray) -> RegisteredCrops:
        """What is registered of some crops."""
        return RegisteredCrops(self.crops[places], self.shows[places], self.thumbnails[places])


@dataclass(frozen=True)
class Candidates:
    """k <= 128 pairs of crops to be registered.

    Attributes:
        first: (k,) int, places in the first Descriptors.
        other: (k,) int, places in the other.
        transform: (k, 2, 3) float32, from coordinates of `other` to those of `first`, in -1..1.
    """

    first: np.ndarray
    other: np.ndarray
    transform: np.ndarray


def find_candidates(first: Descriptors, other: Descriptors) -> Iterator[Candidates]:
    """Of each image here and each there the two crops that are most alike, where their low frequencies correlate by 0.9.

    Args:
        first: Of the images here.
        other: Of the images there; the same descriptors give only pairs of an earlier with a later row.

    Yields:
        Pairs of crops.
    """
    bounds = np.searchsorted(first.rows, np.arange(0, first.rows.max(initial=0) + 1 + CHUNK, CHUNK))
    for start, stop in pairwise(bounds):
        a, b, score = _alike(first, other, slice(start, stop))
        best_first = np.lexsort((-score, other.rows[b], first.rows[a]))
        a, b = a[best_first], b[best_first]
        again = (np.diff(first.rows[a], prepend=-1) == 0) & (np.diff(other.rows[b], prepend=-1) == 0)
        a, b = a[~again], b[~again]
        for some in range(0, len(a), AT_ONCE):
            places = a[some : some + AT_ONCE], b[some : some + AT_ONCE]
            yield Candidates(*places, _best_transforms(first.frequencies[:, places[0]], other.frequencies[:, places[1]]))


def _alike(first: Descriptors, other: Descriptors, chunk: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of crops that correlate by 0.9 after any transform of one of them: (k,) places here, places there, correlations."""
    score = np.zeros((len(first.rows[chunk]), len(other.rows)), np.float32)
    product = np.empty_like(score)
    every = range(len(TRANSFORMS))
    for first_transform, other_transform in [(number, STILL) for number in every] + [(STILL, number) for number in every]:
        np.matmul(first.frequencies[first_transform, chunk], other.frequencies[other_transform].T, out=product)
        np.maximum(score, np.abs(product, out=product), out=score)
    if first is other:
        score[first.rows[chunk, None] >= other.rows] = 0
    a, b = np.nonzero(score >= ALIKE)
    return a + chunk.start, b, score[a, b]


def _best_transforms(first: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(k, 2, 3), the transforms after which k pairs are most alike. first, other: (transforms, k, d) low frequencies."""
    of_first = np.abs(np.einsum("mkd,kd->mk", first, other[STILL]))
    of_other = np.abs(np.einsum("kd,mkd->mk", first[STILL], other))
    best = np.concatenate([of_first, of_other]).argmax(0)
    return np.concatenate([MATRICES, INVERSES])[best]


def _thumbnails(cut: np.ndarray) -> np.ndarray:
    smaller = SIDE // THUMBNAIL
    return banded(cut, EDGES).reshape(-1, THUMBNAIL, smaller, THUMBNAIL, smaller).mean((2, 4))

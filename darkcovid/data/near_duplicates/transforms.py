"""How a copy may lie in its original, and the low frequencies of an image that was transformed so: one matrix each.

Low frequencies of a cosine transform, as in pHash (Zauner 2010, "Implementation and benchmarking of perceptual image hash
functions", section 3.2.1), but kept as numbers, not bits, in a window that fades toward the sides.
"""

from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array

THUMBNAIL = 48  # pixels
LOWEST, HIGHEST = 2.0, 15.0  # half waves per side


class Transform(NamedTuple):
    """How a copy may lie in its original.

    Attributes:
        mirrored: Whether it is mirrored.
        degrees: By which it is rotated.
        share: Of the original's sides that it shows.
        across: By which its center moved, in halves of a side.
        down: The same, downward.
    """

    mirrored: bool = False
    degrees: float = 0.0
    share: float = 1.0
    across: float = 0.0
    down: float = 0.0

    @property
    def matrix(self) -> np.ndarray:
        """(2, 3): from (x, y, 1) in what is seen to (x, y) in the image, both in -1..1."""
        angle = np.deg2rad(self.degrees)
        turn = self.share * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        return np.column_stack([turn, [self.across, self.down]]) * ([[-1], [1]] if self.mirrored else 1)


TURNS = tuple(product((-5.0, -2.5, 0.0, 2.5, 5.0), (1.0, 0.95, 0.9)))
SHIFTS = tuple(shift for shift in product((-0.05, 0.0, 0.05), repeat=2) if any(shift))
PLACES = (*TURNS, *((0.0, 0.95, *shift) for shift in SHIFTS))
TRANSFORMS = tuple(Transform(mirrored, *place) for mirrored in (False, True) for place in PLACES)
STILL = TRANSFORMS.index(Transform())


def transformed_frequencies(thumbnails: np.ndarray) -> np.ndarray:
    """Low frequencies of each image after each of TRANSFORMS.

    Args:
        thumbnails: (n, 48, 48) float32.

    Returns:
        (transforms, n, d) float32 of length 1.
    """
    flat = thumbnails.reshape(-1, THUMBNAIL**2)
    frequencies = np.stack([flat @ _transform_matrix(transform).T for transform in TRANSFORMS])
    frequencies /= np.maximum(np.linalg.norm(frequencies, axis=2, keepdims=True), 1e-6)
    return frequencies


def inverse(matrix: np.ndarray) -> np.ndarray:
    """The (..., 2, 3) transforms that undo others."""
    turn = np.linalg.inv(matrix[..., :2])
    return np.concatenate([turn, -turn @ matrix[..., 2:]], -1)


@cache
def _transform_matrix(transform: Transform) -> np.ndarray:
    """(d, 48 * 48): the transform, the fading window and the cosines together."""
    place = (np.arange(THUMBNAIL) + 0.5) / THUMBNAIL
    waves = np.cos(np.pi * np.outer(np.arange(THUMBNAIL), place)) * np.sin(np.pi * place)
    across, down = np.meshgrid(np.arange(THUMBNAIL), np.arange(THUMBNAIL))
    radius = np.hypot(across, down)
    low = (radius >= LOWEST) & (radius <= HIGHEST)
    cosines = waves[down[low]][:, :, None] * waves[across[low]][:, None, :]
    return (cosines.reshape(len(cosines), -1) @ _sampling(transform)).astype(np.float32)


def _sampling(transform: Transform) -> coo_array:
    """(48 * 48, 48 * 48): bilinear sampling of an image, with 0 around it, at a transform's places."""
    center = (np.arange(THUMBNAIL) + 0.5) / THUMBNAIL * 2 - 1
    x, y = np.meshgrid(center, center)
    column, row = ((transform.matrix @ np.stack([x.ravel(), y.ravel(), np.ones(x.size)]) + 1) * THUMBNAIL - 1) / 2
    top, left = np.floor(row).astype(int), np.floor(column).astype(int)
    corners = []
    for below, right in product((0, 1), repeat=2):
        weight = (1 - np.abs(row - top - below)) * (1 - np.abs(column - left - right))
        inside = (top + below >= 0) & (top + below < THUMBNAIL) & (left + right >= 0) & (left + right < THUMBNAIL)
        pixel = (top + below) * THUMBNAIL + left + right
        corners.append(coo_array((weight[inside], (np.flatnonzero(inside), pixel[inside])), shape=(THUMBNAIL**2, THUMBNAIL**2)))
    return sum(corners[1:], corners[0].tocsr())

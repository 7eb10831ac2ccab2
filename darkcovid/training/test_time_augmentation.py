"""Test-time augmentation: the plain image and some augmented views of it vote."""

from collections.abc import Callable

import numpy as np

from darkcovid.core.array_cache import StoredArray
from darkcovid.recipe import Augmentation


def average_views(
    plain: np.ndarray,
    predict: Callable[[StoredArray, Augmentation | None], np.ndarray],
    pixels: StoredArray,
    augmentation: Augmentation | None,
    views: int,
    below: float | None = None,
) -> np.ndarray:
    """The mean of probabilities of the plain images and of views drawn for each image.

    Args:
        plain: (n, classes) of the plain images.
        predict: Pixels and an augmentation to (n, classes) probabilities.
        pixels: (n, h, w) or (n, c, h, w) uint8.
        augmentation: As in training.
        views: How many, beside the plain image.
        below: Only of images whose highest probability is lower than this; None: of all.

    Returns:
        (n, classes) float32.
    """
    if below is None:
        return _mean(plain, predict, pixels, augmentation, views)
    unsure = np.flatnonzero(plain.max(1) < below)
    averaged = plain.astype(np.float32)
    if len(unsure):
        averaged[unsure] = _mean(plain[unsure], predict, np.array(pixels[unsure]), augmentation, views)
    return averaged


def _mean(plain: np.ndarray, predict: Callable, pixels: StoredArray, augmentation: Augmentation | None, views: int) -> np.ndarray:
    return np.stack([plain, *(predict(pixels, augmentation) for _ in range(views))]).mean(0, dtype=np.float32)

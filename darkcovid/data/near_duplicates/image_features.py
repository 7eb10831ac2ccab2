"""What of an image is compared when near copies are looked for: its edges and its texture, at a local spread of one.

Gray levels say how an image was saved, edges what it shows. A band of frequencies (a difference of Gaussians; Marr and
Hildreth 1980, "Theory of edge detection") is divided by its local spread (Jarrett et al. 2009, "What is the best multi-stage
architecture for object recognition?", section 2, local contrast normalization), so brightness, contrast and gamma hardly
change it, and inverting an image only changes its sign.
"""

from functools import cache

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter1d, maximum_filter, minimum_filter

SIDE = 96  # pixels of a crop
EDGES = (0.8, 4.0)  # sigmas of the two Gaussians, pixels
TEXTURE = (0.6, 2.0)  # finer: lungs of two people share edges, not vessels
AROUND = 8.0  # sigma of the local spread, pixels
FAINT = 1.0  # gray levels added to the local spread, so that flat areas stay flat
UNIFORM = 6.0  # gray levels: a row or column that spreads less belongs to a margin
LEAST_LEFT = 0.2  # share of a side that must stay when margins are cut
NARROW_MARGIN = 0.62  # share of the area that is left, below which the image with its margins is not compared

FLAT, FLAT_SIDE = 2, 5  # gray levels, in a square of so many pixels: where they differ by no more, nothing is shown
BESIDE_FLAT = 6  # pixels around flat areas that are not compared: there are the edges of frames, and one frame is like another
FINE = 0.3  # squared slope of texture by its variance, per pixel: 0.57 or more in radiographs, 0.3 when shrunk to 24 pixels
STRONG = 0.2  # variance of texture: 0.24 or more in radiographs, less than 0.19 where rounding is all that is left
TEXTURED = 0.2  # share of an image, its middle counting more, that must show something

Box = tuple[int, int, int, int]


def crops(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images as they are and without their uniform margins.

    Where the margins are wide, without them alone: the edges of two equal margins are alike whatever they surround.

    Args:
        pixels: (n, h, w) uint8.

    Returns:
        (m, 96, 96) uint8, m >= n, and (m,) int, ascending, the image of each crop.
    """
    whole = (0, 0, *pixels.shape[1:])
    cut, rows = [], []
    for row, image in enumerate(pixels):
        box = inner_box(image)
        left = (box[2] - box[0]) * (box[3] - box[1]) / image.size
        boxes = [whole] if box == whole else [box] if left < NARROW_MARGIN else [whole, box]
        cut += [_squashed(image, box) for box in boxes]
        rows += [row] * len(boxes)
    return np.stack(cut), np.array(rows)


def inner_box(image: np.ndarray) -> Box:
    """(top, left, bottom, right) of (h, w) uint8 without the rows and columns at its sides that are of one gray."""
    top, left, (bottom, right) = 0, 0, image.shape
    for _ in range(2):  # a column of a frame is uniform once the rows above and below are cut
        top, bottom = _span(image[:, left:right].std(1) > UNIFORM)
        left, right = _span(image[top:bottom].std(0) > UNIFORM)
    return top, left, bottom, right


def _span(busy: np.ndarray) -> tuple[int, int]:
    places = np.flatnonzero(busy)
    if not len(places) or places[-1] + 1 - places[0] < LEAST_LEFT * len(busy):
        return 0, len(busy)
    return int(places[0]), int(places[-1]) + 1


def _squashed(image: np.ndarray, box: Box) -> np.ndarray:
    top, left, bottom, right = box
    whole = Image.fromarray(np.ascontiguousarray(image))
    return np.asarray(whole.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=(left, top, right, bottom)))


def comparable(cut: np.ndarray, shows: np.ndarray) -> np.ndarray:
    """Which crops show fine texture in a large enough part of them.

    Of flat, blurred and enlarged images too little is left that tells one from another.

    Args:
        cut: (n, 96, 96) uint8 crops.
        shows: (n, 96, 96) bool, as `textured` gives it.

    Returns:
        (n,) bool.
    """
    weight = shows * fading(SIDE).reshape(SIDE, SIDE)
    texture = banded(cut, TEXTURE)
    across, down = np.diff(texture, axis=2)[:, 1:], np.diff(texture, axis=1)[:, :, 1:]
    slope = (weight[:, 1:, 1:] * (across**2 + down**2)).sum((1, 2))
    variance, area = (weight * texture**2).sum((1, 2)), weight.sum((1, 2))
    return (slope >= FINE * variance) & (variance >= STRONG * area) & (area >= TEXTURED * fading(SIDE).sum())


def textured(cut: np.ndarray) -> np.ndarray:
    """(n, 96, 96) uint8 to bool: all but flat areas and what is beside them."""
    square = (1, FLAT_SIDE, FLAT_SIDE)
    busy = maximum_filter(cut, square) - minimum_filter(cut, square) > FLAT
    beside = 2 * BESIDE_FLAT + 1
    return minimum_filter(busy, (1, beside, beside), mode="nearest")


@cache
def fading(side: int) -> np.ndarray:
    """(side * side) float32: 1 in the middle, 0 at the sides, where copies are cropped and padded and text is burned in."""
    half_wave = np.sin(np.pi * (np.arange(side, dtype=np.float32) + 0.5) / side)
    return np.outer(half_wave, half_wave).ravel()


def banded(shown: np.ndarray, sigmas: tuple[float, float]) -> np.ndarray:
    """What lies between two blurs, of local mean about 0 and local standard deviation about 1.

    Args:
        shown: (n, 96, 96) uint8.
        sigmas: Of the two Gaussians in pixels, such as EDGES or TEXTURE.

    Returns:
        (n, 96, 96) float32.
    """
    gray = shown.astype(np.float32)
    band = _blurred(gray, sigmas[0]) - _blurred(gray, sigmas[1])
    return band / (np.sqrt(np.maximum(_blurred(band**2, AROUND), 0)) + FAINT)


def _blurred(images: np.ndarray, sigma: float) -> np.ndarray:
    matrix = _gaussian(sigma)
    return matrix @ images @ matrix.T


@cache
def _gaussian(sigma: float) -> np.ndarray:
    """(96, 96): a blur of one side, beyond whose ends lies the last pixel."""
    return gaussian_filter1d(np.eye(SIDE, dtype=np.float32), sigma, axis=0, mode="nearest")

"""What of an image is compared when near copies are looked for: its edges and its texture, at a local spread of one.

Gray levels say how an image was saved, edges what it shows. A band of frequencies (a difference of Gaussians; Marr and
Hildreth 1980, "Theory of edge detection") is divided by its local spread (Jarrett et al. 2009, "What is the best multi-stage
architecture for object recognition?", section 2, local contrast normalization), so brightness, contrast and gamma hardly
change it, and inverting an image only changes its sign.
"""

from functools import cache

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter1d

SIDE = 96  # pixels of a form
EDGES = (0.8, 4.0)  # sigmas of the two Gaussians, pixels
TEXTURE = (0.6, 2.0)  # finer: lungs of two people share edges, not vessels
AROUND = 8.0  # sigma of the local spread, pixels
FAINT = 1.0  # gray levels added to the local spread, so that flat areas stay flat
UNIFORM = 6.0  # gray levels: a row or column that spreads less belongs to a margin
LEAST_LEFT = 0.5  # share of a side that must stay when margins are cut

Box = tuple[int, int, int, int]


def forms(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images as they are, and again without their uniform margins where they have any.

    pixels: (n, h, w) uint8. Returns (m, 96, 96) uint8, m >= n, and (m,) int, which image each form shows.
    """
    whole = (0, 0, *pixels.shape[1:])
    boxes = [inner_box(image) for image in pixels]
    framed = [row for row, box in enumerate(boxes) if box != whole]
    shown = [_squashed(image, whole) for image in pixels] + [_squashed(pixels[row], boxes[row]) for row in framed]
    return np.stack(shown), np.array([*range(len(pixels)), *framed])


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


def banded(shown: np.ndarray, sigmas: tuple[float, float]) -> np.ndarray:
    """(n, 96, 96) uint8 to float32: what lies between two blurs, of local mean about 0 and local spread about 1.

    sigmas: of the two Gaussians in pixels, such as EDGES or TEXTURE.
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

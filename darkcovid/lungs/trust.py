"""Does a mask look like lungs? What a segmenter drew is cleaned, and believed only when its shape is plausible."""

import numpy as np
from scipy.ndimage import binary_fill_holes, label

LARGEST = 2
SPECK = 0.1
AREA = (0.06, 0.70)
HEIGHT = 0.25
WIDTH = 0.30


def clean_mask(mask: np.ndarray) -> np.ndarray:
    """The two largest connected parts with their holes filled; a second part below a tenth of the first is a speck.

    mask: (h, w) bool; returns (h, w) bool.
    """
    parts, count = label(mask)
    if count == 0:
        return np.zeros_like(mask, bool)
    areas = np.bincount(parts.ravel())[1:]
    order = np.argsort(areas)[::-1][:LARGEST]
    kept = [part + 1 for part in order if areas[part] >= SPECK * areas[order[0]]]
    return binary_fill_holes(np.isin(parts, kept))


def why_untrusted(mask: np.ndarray) -> str | None:
    """None when a cleaned mask looks like the lungs of a frontal radiograph, else the reason in a few words.

    mask: (h, w) bool. Checked: area, height and width of the box, that both halves of the box hold lung, and that
    the box does not cling to one edge of the image.
    """
    height, width = mask.shape
    area = mask.mean()
    if area < AREA[0]:
        return f"lungs cover only {area:.0%} of the image"
    if area > AREA[1]:
        return f"lungs cover {area:.0%} of the image"
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    tall, wide = (rows[-1] + 1 - rows[0]) / height, (columns[-1] + 1 - columns[0]) / width
    if tall < HEIGHT:
        return f"the lung box is only {tall:.0%} of the image high"
    if wide < WIDTH:
        return f"the lung box is only {wide:.0%} of the image wide"
    middle = (columns[0] + columns[-1] + 1) // 2
    left = mask[:, :middle].sum() / mask.sum()
    if not 0.15 <= left <= 0.85:
        return "one lung is missing"
    centre = (columns[0] + columns[-1] + 1) / 2 / width
    if not 0.25 <= centre <= 0.75:
        return "the lungs are not in the middle of the image"
    return None


def looks_like_lungs(mask: np.ndarray) -> bool:
    """Whether `why_untrusted` finds nothing to object to."""
    return why_untrusted(mask) is None

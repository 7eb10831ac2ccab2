"""Does a mask look like lungs? What a segmenter drew is cleaned, and believed only when the picture, the mask's shape
and the segmenter's own second look speak for it.

The bounds were set on the 1,772 radiographs of docs/results/lungs.md: frontal ones pass, most lateral views do not.
"""

import numpy as np

from darkcovid.lungs.morphology import fill_holes, largest_components

MAX_COMPONENTS = 2
MIN_COMPONENT_RATIO = 0.1
AREA_RANGE = (0.06, 0.70)
HEIGHT_RANGE = 0.25
WIDTH_RANGE = 0.30
MIN_SEPARATED_ROWS = 0.55
MIN_FLIP_DICE = 0.88
MIN_CONTRAST = 4.0  # standard deviation, in gray levels of 0..255
NOT_APART = "the lungs are not apart: is it a lateral view?"
DARK_LEVEL = 20  # gray level of the air around a body


def postprocess_mask(mask: np.ndarray) -> np.ndarray:
    """The two largest connected parts with their holes filled; a second part below a tenth of the first is a speck.

    Args:
        mask: (h, w) bool.

    Returns:
        (h, w) bool.
    """
    return fill_holes(largest_components(mask, MAX_COMPONENTS, MIN_COMPONENT_RATIO))


def rejection_reason(pixels: np.ndarray, mask: np.ndarray, agreement: float) -> str | None:
    """Quality control of a cleaned mask.

    Args:
        pixels: (h, w) uint8.
        mask: (h, w) bool.
        agreement: Dice, 0..1, of what the segmenter saw in the image and in its mirror image.

    Returns:
        Why the mask is rejected, in a few words; None where it is accepted.
    """
    if pixels.std() < MIN_CONTRAST:
        return "the picture has no contrast"
    if _is_surrounded_by_black(pixels):
        return "a body that stands free in black: is it a CT slice?"
    if agreement < MIN_FLIP_DICE:
        return f"the mirror image gave another mask (Dice {agreement:.2f})"
    return shape_rejection_reason(mask)


def shape_rejection_reason(mask: np.ndarray) -> str | None:
    """Whether a cleaned mask has the shape of the lungs of a frontal radiograph.

    Checked: area, height and width of the box, that both halves of the box hold lung, that the box does not cling to one edge
    of the
    image, and that the lungs lie apart, which those of a lateral view do not.

    Args:
        mask: (h, w) bool.

    Returns:
        Why the mask is rejected, in a few words; None where it is accepted.
    """
    height, width = mask.shape
    area = mask.mean()
    if area < AREA_RANGE[0]:
        return f"lungs cover only {area:.0%} of the image"
    if area > AREA_RANGE[1]:
        return f"lungs cover {area:.0%} of the image"
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    tall, wide = (rows[-1] + 1 - rows[0]) / height, (columns[-1] + 1 - columns[0]) / width
    if tall < HEIGHT_RANGE:
        return f"the lung box is only {tall:.0%} of the image high"
    if wide < WIDTH_RANGE:
        return f"the lung box is only {wide:.0%} of the image wide"
    middle = (columns[0] + columns[-1] + 1) // 2
    left = mask[:, :middle].sum() / mask.sum()
    if not 0.15 <= left <= 0.85:
        return "one lung is missing"
    center = (columns[0] + columns[-1] + 1) / 2 / width
    if not 0.25 <= center <= 0.75:
        return "the lungs are not in the middle of the image"
    if _separated_row_fraction(mask) < MIN_SEPARATED_ROWS:
        return NOT_APART
    return None


def _separated_row_fraction(mask: np.ndarray) -> float:
    """Share of the mask's rows in which something that is not lung lies between lung and lung."""
    rows = mask[mask.any(1)].astype(np.int8)
    begins = (np.diff(rows, axis=1, prepend=0) == 1).sum(1)
    return float((begins > 1).mean())


def _is_surrounded_by_black(pixels: np.ndarray) -> bool:
    """Whether, black borders cut off, all four corners are black and most of the lowest rows as well: the outline of an
    axial slice. A chest radiograph is cut through the belly."""
    bright = pixels > DARK_LEVEL
    rows, columns = np.flatnonzero(bright.mean(1) > 0.02), np.flatnonzero(bright.mean(0) > 0.02)
    if not len(rows) or not len(columns):
        return True
    body = bright[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    low = max(1, round(0.04 * len(body)))
    corners = [body[:low, :low], body[:low, -low:], body[-low:, :low], body[-low:, -low:]]
    return max(corner.mean() for corner in corners) < 0.05 and body[-low:].mean() < 0.5

"""How far do two lung masks agree, and how much lung does a crop keep?"""

import numpy as np

from darkcovid.lungs.box import Box


def mask_dice(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Dice coefficient of each pair of masks.

    Args:
        predicted: (n, h, w) bool.
        truth: (n, h, w) bool.

    Returns:
        (n,) float in 0..1; two empty masks agree (1).
    """
    overlap = (predicted & truth).sum((1, 2))
    total = predicted.sum((1, 2)) + truth.sum((1, 2))
    return np.where(total == 0, 1.0, 2 * overlap / np.maximum(total, 1))


def dice_to_iou(dice: np.ndarray) -> np.ndarray:
    """Intersection over union, which is a function of Dice.

    Args:
        dice: (n,) float in 0..1.

    Returns:
        (n,) float in 0..1.
    """
    return dice / (2 - dice)


def box_iou(first: Box, second: Box) -> float:
    """Intersection over union of two boxes.

    Args:
        first: One.
        second: The other.

    Returns:
        0..1.
    """
    height = min(first.bottom, second.bottom) - max(first.top, second.top)
    width = min(first.right, second.right) - max(first.left, second.left)
    shared = max(height, 0) * max(width, 0)
    return shared / (first.area + second.area - shared)


def fraction_inside(mask: np.ndarray, box: Box) -> float:
    """Share of a mask's pixels that lie inside a box.

    Args:
        mask: (h, w) bool, not empty.
        box: In pixels.

    Returns:
        0..1.
    """
    return float(mask[box.top : box.bottom, box.left : box.right].sum() / mask.sum())

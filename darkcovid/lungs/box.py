"""Pixel boxes, and the one around both lungs."""

from dataclasses import dataclass

import numpy as np

from darkcovid.data.resize import FractionBox, Size


@dataclass(frozen=True, slots=True)
class Box:
    """Half-open pixel box: rows [top, bottom), columns [left, right)."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def area(self) -> int:
        """Pixels inside."""
        return (self.bottom - self.top) * (self.right - self.left)

    def widened(self, margin: float) -> "Box":
        """Each side moved out by `margin` of the box's height or width."""
        dy, dx = round(margin * (self.bottom - self.top)), round(margin * (self.right - self.left))
        return Box(self.top - dy, self.left - dx, self.bottom + dy, self.right + dx)

    def clipped(self, shape: Size) -> "Box":
        """The part of it that lies inside an image of this (height, width)."""
        height, width = shape
        return Box(max(self.top, 0), max(self.left, 0), min(self.bottom, height), min(self.right, width))

    def fractions(self, shape: Size) -> FractionBox:
        """(top, left, bottom, right) as shares of an image of `shape`."""
        height, width = shape
        return self.top / height, self.left / width, self.bottom / height, self.right / width


def lung_box(mask: np.ndarray, margin: float = 0.05) -> Box:
    """Smallest box around both lungs, widened and clipped to the image.

    Args:
        mask: (h, w) bool, not empty.
        margin: Fraction of the box's height and width added on each side.

    Returns:
        The box.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    tight = Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
    return tight.widened(margin).clipped(mask.shape)


def full_image_box(shape: Size) -> Box:
    """The box of a whole image of `shape`."""
    return Box(0, 0, *shape)

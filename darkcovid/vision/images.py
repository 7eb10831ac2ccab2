"""What a notebook hands over as an image: a file, a PIL image or an array, each as a gray image."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from darkcovid.core.errors import UsageError
from darkcovid.data.decode import load_grayscale


def open_gray(item: Any) -> Image.Image:
    """A gray image.

    Args:
        item: A path of a PNG, JPEG or DICOM, a PIL image, or an array or tensor: (h, w), (1, h, w)
            or (h, w, 3), uint8 in 0..255 or float in 0..1.

    Returns:
        Mode L, of its own size.

    Raises:
        DataError: The file is not a readable image.
        UsageError: An array of another shape or range.
    """
    if isinstance(item, (str, Path)):
        return load_grayscale(Path(item).expanduser())
    if isinstance(item, Image.Image):
        return item if item.mode == "L" else item.convert("L")
    pixels = np.asarray(item)
    if pixels.ndim == 3 and pixels.shape[0] == 1:
        pixels = pixels[0]
    if pixels.dtype.kind == "f" and pixels.size and pixels.min() >= 0 and pixels.max() <= 1:
        pixels = (pixels * 255).round().astype(np.uint8)
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (3, 4)):
        raise UsageError(
            f"an image of shape {pixels.shape} and type {pixels.dtype}: give a path, a PIL image, or an array of shape (h, w) "
            "or (h, w, 3), uint8 in 0..255 or float in 0..1"
        )
    return Image.fromarray(pixels).convert("L")

"""Decoded, resized 8-bit pixels of a cohort, as one (n, height, width) array."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from darkcovid.data.decode import open_grayscale
from darkcovid.data.intake import in_threads
from darkcovid.data.store import Stored, content_key, stored_array

Size = tuple[int, int]
FractionBox = tuple[float, float, float, float]
WHOLE: FractionBox = (0.0, 0.0, 1.0, 1.0)


def resized(image: Image.Image, size: Size, box: FractionBox = WHOLE) -> np.ndarray:
    """`box` of a grayscale image squashed to `size`: (height, width) uint8, antialiased bilinear.

    size: (height, width) in pixels; box: (top, left, bottom, right) as fractions of the image's sides.
    """
    top, left, bottom, right = box
    window = (left * image.width, top * image.height, right * image.width, bottom * image.height)
    height, width = size
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR, box=window))


def whole_pixels(files: Sequence[Path], sha256: Sequence[str], size: Size, cache_dir: Path) -> Stored:
    """Every image squashed whole to `size`: (n, height, width) uint8, from the cache or made now."""

    def fill(array: np.ndarray) -> None:
        def one(index: int) -> None:
            array[index] = resized(open_grayscale(files[index]), size)

        in_threads(one, range(len(files)))

    key = content_key(kind="whole", images=list(sha256), size=list(size))
    return stored_array(cache_dir / "pixels", key, (len(files), *size), fill)

"""Decoded, resized 8-bit pixels of a cohort, as one (n, height, width) array."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from darkcovid.core.array_cache import CachedArray, cached_sharded_array
from darkcovid.core.threads import map_in_threads
from darkcovid.data.contrast import enhance_contrast
from darkcovid.data.decode import load_grayscale
from darkcovid.recipe import Contrast

Size = tuple[int, int]
FractionBox = tuple[float, float, float, float]
FULL_IMAGE: FractionBox = (0.0, 0.0, 1.0, 1.0)


def resize(image: Image.Image, size: Size, box: FractionBox = FULL_IMAGE, keep_aspect: bool = False) -> np.ndarray:
    """`box` of a grayscale image at `size`: (height, width) uint8, antialiased bilinear. The box is squashed to `size`,
    or with `keep_aspect` made as large as fits, in the middle of black (letterboxed).

    size: (height, width) in pixels; box: (top, left, bottom, right) as fractions of the image's sides.
    """
    top, left, bottom, right = box
    window = (left * image.width, top * image.height, right * image.width, bottom * image.height)
    height, width = size
    if not keep_aspect:
        return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR, box=window))
    down, across, tall, wide = letterbox_box(window[3] - window[1], window[2] - window[0], size)
    canvas = np.zeros(size, np.uint8)
    small = image.resize((wide, tall), Image.Resampling.BILINEAR, box=window)
    canvas[down : down + tall, across : across + wide] = np.asarray(small)
    return canvas


def letterbox_box(height: float, width: float, size: Size) -> tuple[int, int, int, int]:
    """Where an image of this shape goes when it is made as large as fits into `size`: (top, left, height, width) in pixels."""
    scale = min(size[0] / height, size[1] / width)
    tall, wide = max(1, round(height * scale)), max(1, round(width * scale))
    return (size[0] - tall) // 2, (size[1] - wide) // 2, tall, wide


def border_mask(size: Size, share: float = 0.1) -> np.ndarray:
    """(h, w) bool: a strip along all four sides, `share` of them wide."""
    strip = np.ones(size, bool)
    tall, wide = (max(1, round(share * side)) for side in size)
    strip[tall:-tall, wide:-wide] = False
    return strip


def mask_to_image(mask: np.ndarray) -> Image.Image:
    """(h, w) mask of false and true, or 0 and 1, as a Pillow image of 0 and 255."""
    return Image.fromarray(np.where(mask, 255, 0).astype(np.uint8))


def resize_whole(
    image: Image.Image,
    size: Size,
    keep_aspect: bool = False,
    detail: int | None = None,
    border_only: bool = False,
    contrast: Contrast = "none",
) -> np.ndarray:
    """A whole grayscale image at `size`, squashed or letterboxed: (height, width) uint8.

    contrast: how it is first enhanced; detail: it is then reduced to so many pixels per side; border_only: all but a strip along
    its sides becomes black.
    """
    image = enhance_contrast(image, contrast)
    if detail is not None:
        image = image.resize((detail, detail), Image.Resampling.BOX)
    pixels = np.array(resize(image, size, keep_aspect=keep_aspect))
    if border_only:
        pixels[~border_mask(size)] = 0
    return pixels


def cached_whole_images(
    files: Sequence[Path],
    sha256: Sequence[str],
    size: Size,
    cache_dir: Path,
    keep_aspect: bool = False,
    detail: int | None = None,
    border_only: bool = False,
    contrast: Contrast = "none",
) -> CachedArray:
    """The `resize_whole` of every image: (n, height, width) uint8, from the cache or made now."""

    def fill(array: np.ndarray, rows: range) -> None:
        def one(index: int) -> None:
            image = load_grayscale(files[index])
            array[index - rows.start] = resize_whole(image, size, keep_aspect, detail, border_only, contrast)

        map_in_threads(one, rows)

    altered = {"detail": detail, "border_only": border_only} if detail is not None or border_only else {}
    enhanced = {"contrast": contrast} if contrast != "none" else {}
    about = {"kind": "whole", "size": list(size), "keep_aspect": keep_aspect, **altered, **enhanced}
    return cached_sharded_array(cache_dir / "pixels", sha256, size, fill, **about)

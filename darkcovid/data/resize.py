"""Decoded, resized 8-bit pixels of a cohort, as one (n, height, width) array."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from darkcovid.core.array_cache import CachedArray
from darkcovid.data.bars import mirrored
from darkcovid.data.enhance import AS_IT_IS, Enhancement
from darkcovid.data.image_arrays import ImageArray, cached_image_arrays
from darkcovid.recipe import Interpolation

Size = tuple[int, int]
FractionBox = tuple[float, float, float, float]
FULL_IMAGE: FractionBox = (0.0, 0.0, 1.0, 1.0)
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def resize(
    image: Image.Image,
    size: Size,
    box: FractionBox = FULL_IMAGE,
    keep_aspect: bool = False,
    interpolation: Interpolation = "bilinear",
    fill_bars: bool = False,
) -> np.ndarray:
    """A part of a grayscale image at another size, antialiased.

    Args:
        image: Mode L.
        size: (height, width) in pixels.
        box: (top, left, bottom, right) as fractions of the image's sides.
        keep_aspect: Whether the box is made as large as fits, in the middle of black (letterboxed), instead of squashed.
        interpolation: Of the pixels.
        fill_bars: Whether a letterbox shows the mirrored image in place of black.

    Returns:
        (height, width) uint8.
    """
    top, left, bottom, right = box
    window = (left * image.width, top * image.height, right * image.width, bottom * image.height)
    height, width = size
    if not keep_aspect:
        return np.asarray(image.resize((width, height), FILTERS[interpolation], box=window))
    down, across, tall, wide = letterbox_box(window[3] - window[1], window[2] - window[0], size)
    small = np.asarray(image.resize((wide, tall), FILTERS[interpolation], box=window))
    sides = down, across, height - down - tall, width - across - wide
    if fill_bars:
        return mirrored(small, *sides)
    return np.pad(small, (sides[::2], sides[1::2]))


def letterbox_box(height: float, width: float, size: Size) -> tuple[int, int, int, int]:
    """Where an image of some shape goes when it is made as large as fits.

    Args:
        height: Of the image.
        width: Of the image.
        size: (height, width) in pixels into which it must fit.

    Returns:
        (top, left, height, width) in pixels.
    """
    scale = min(size[0] / height, size[1] / width)
    tall, wide = max(1, round(height * scale)), max(1, round(width * scale))
    return (size[0] - tall) // 2, (size[1] - wide) // 2, tall, wide


def border_mask(size: Size, share: float = 0.1) -> np.ndarray:
    """A strip along all four sides.

    Args:
        size: (height, width) in pixels.
        share: Of a side that the strip is wide.

    Returns:
        (h, w) bool.
    """
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
    enhancement: Enhancement = AS_IT_IS,
    interpolation: Interpolation = "bilinear",
) -> np.ndarray:
    """A whole grayscale image at another size.

    Args:
        image: Mode L.
        size: (height, width) in pixels.
        keep_aspect: Whether it is letterboxed instead of squashed.
        detail: Pixels per side to which it is reduced before; None: not reduced.
        border_only: Whether all but a strip along its sides becomes black.
        enhancement: What is done to it first.
        interpolation: Of the pixels.

    Returns:
        (height, width) uint8.
    """
    enhancement = replace(enhancement, fill_bars=enhancement.fill_bars and not border_only)  # a border shows no mirrored lungs
    image = enhancement(image)
    if detail is not None:
        image = image.resize((detail, detail), Image.Resampling.BOX)
    pixels = np.array(resize(image, size, keep_aspect=keep_aspect, interpolation=interpolation, fill_bars=enhancement.fill_bars))
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
    enhancement: Enhancement = AS_IT_IS,
    interpolation: Interpolation = "bilinear",
) -> CachedArray:
    """The `resize_whole` of every image, from the cache or made now.

    Args:
        files: (n) paths.
        sha256: (n) their checksums.
        size: (height, width) in pixels.
        cache_dir: The cache.
        keep_aspect: As `resize_whole` takes it.
        detail: As `resize_whole` takes it.
        border_only: As `resize_whole` takes it.
        enhancement: As `resize_whole` takes it.
        interpolation: As `resize_whole` takes it.

    Returns:
        (n, height, width) uint8.

    Raises:
        DataError: A file cannot be decoded.
    """
    wanted = whole_image_array(sha256, size, cache_dir, keep_aspect, detail, border_only, enhancement, interpolation)
    return cached_image_arrays(files, [wanted])[0]


def whole_image_array(
    sha256: Sequence[str],
    size: Size,
    cache_dir: Path,
    keep_aspect: bool = False,
    detail: int | None = None,
    border_only: bool = False,
    enhancement: Enhancement = AS_IT_IS,
    interpolation: Interpolation = "bilinear",
) -> ImageArray:
    """What `cached_whole_images` makes, to be made together with other arrays of the same images.

    Args:
        sha256: (n) checksums.
        size: (height, width) in pixels.
        cache_dir: The cache.
        keep_aspect: As `resize_whole` takes it.
        detail: As `resize_whole` takes it.
        border_only: As `resize_whole` takes it.
        enhancement: As `resize_whole` takes it.
        interpolation: As `resize_whole` takes it.

    Returns:
        The array that is wanted.
    """

    def draw(image: Image.Image, _: int) -> np.ndarray:
        return resize_whole(image, size, keep_aspect, detail, border_only, enhancement, interpolation)

    altered = {"detail": detail, "border_only": border_only} if detail is not None or border_only else {}
    enhanced = enhancement.policy | ({"interpolation": interpolation} if interpolation != "bilinear" else {})
    about = {"kind": "whole", "size": list(size), "keep_aspect": keep_aspect, **altered, **enhanced}
    return ImageArray(cache_dir / "pixels", sha256, size, about, draw)

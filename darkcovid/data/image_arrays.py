"""Arrays with a row per image, all made of one decoding: how every array of pixels gets into the cache."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from darkcovid.core.array_cache import CachedArray, cached_array, content_key, join_shards, shard_ranges
from darkcovid.core.threads import map_in_threads
from darkcovid.data.decode import load_grayscale


@dataclass(frozen=True)
class ImageArray:
    """An array that is wanted of n images.

    Attributes:
        folder: Of the cache.
        images: (n) names of what each row is made from, such as checksums.
        row_shape: Of one row, uint8.
        about: What else the rows depend on, JSON-able.
        draw: Makes a row of the decoded image, of mode L, and its number.
        doing: Said beside a bar, such as "resizing images".
    """

    folder: Path
    images: Sequence[str]
    row_shape: tuple[int, ...]
    about: dict[str, Any]
    draw: Callable[[Image.Image, int], np.ndarray]
    doing: str = "resizing images"

    def key(self, rows: range) -> str:
        """The name in the cache of some rows."""
        return content_key(images=list(self.images[rows.start : rows.stop]), **self.about)


def cached_image_arrays(files: Sequence[Path], wanted: Sequence[ImageArray]) -> list[CachedArray]:
    """Arrays of the same images, from the cache; each image is decoded once for all that are not there.

    Args:
        files: (n) paths.
        wanted: The arrays.

    Returns:
        Them, in order. The seconds of arrays that were made together are those of all of them.

    Raises:
        DataError: A file cannot be decoded.
    """
    shards: list[list[CachedArray]] = [[] for _ in wanted]
    for rows in shard_ranges(len(files)):
        by_key = {array.key(rows): array for array in wanted}
        # Always in this order, so that two processes that make some of the same arrays never wait for each other.
        made = _made_together(files, rows, [(key, by_key[key]) for key in sorted(by_key)], [])
        for array, found in zip(wanted, shards, strict=True):
            found.append(made[array.key(rows)])
    return [join_shards(found) for found in shards]


def _made_together(
    files: Sequence[Path], rows: range, wanted: list[tuple[str, ImageArray]], open_arrays: list[tuple[ImageArray, np.ndarray]]
) -> dict[str, CachedArray]:
    """The arrays `wanted`; those that are absent are filled together with `open_arrays`."""
    if not wanted:
        _fill(files, rows, open_arrays)
        return {}
    (key, array), *others = wanted
    made: dict[str, CachedArray] = {}

    def fill(pixels: np.ndarray) -> None:
        made.update(_made_together(files, rows, others, [*open_arrays, (array, pixels)]))

    made[key] = cached_array(array.folder, key, (len(rows), *array.row_shape), fill)
    if not made[key].fresh:
        made.update(_made_together(files, rows, others, open_arrays))
    return made


def _fill(files: Sequence[Path], rows: range, open_arrays: list[tuple[ImageArray, np.ndarray]]) -> None:
    def one(index: int) -> None:
        image = load_grayscale(files[index])
        for array, pixels in open_arrays:
            pixels[index - rows.start] = array.draw(image, index)

    if open_arrays:
        map_in_threads(one, rows, open_arrays[0][0].doing)

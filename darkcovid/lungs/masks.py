"""Lung masks that people drew (or the phantom knows exactly), as one array to learn from and to score against."""

from pathlib import Path

import numpy as np
from PIL import Image

from darkcovid.core.array_cache import CachedArray, cached_array, content_key
from darkcovid.core.errors import DataError, one_line
from darkcovid.core.io import sha256_file
from darkcovid.core.threads import map_in_threads
from darkcovid.data.cohort import Cohort
from darkcovid.data.decode import load_grayscale_array
from darkcovid.data.resize import mask_to_image

READER_VERSION = 2  # goes up when the same file becomes another mask
MAX_LEVELS = (
    3  # of a label map: background, left and right lung; a picture of more is smooth or compressed, or its values are low
)
MAX_LABEL = 63  # the highest value of a label map of many labels
EDGE_FRACTION = 0.2  # of the pixels of a smooth mask, those that may lie between its two levels
LEVEL_WIDTH = 0.15  # of the range, how far from a level a pixel still belongs to it


def load_ground_truth_masks(cohort: Cohort, size: tuple[int, int], cache_dir: Path) -> CachedArray:
    """Each row's `lung_mask`, squashed to one size.

    Args:
        cohort: n images with a lung mask each.
        size: (height, width) in pixels.
        cache_dir: The cache.

    Returns:
        (n, h, w) uint8 of 0 and 1.

    Raises:
        DataError: A mask is missing, or is no mask of lungs.
    """
    files = []
    for path in cohort.rows.lung_mask:
        file = cohort.manifest.locate(path)
        if file is None:
            raise DataError(f"{path}: this lung mask of the manifest is missing; put it beside the manifest or drop the row")
        files.append(file)

    def fill(array: np.ndarray) -> None:
        def one(index: int) -> None:
            array[index] = squashed_mask(files[index], size)

        map_in_threads(one, range(len(files)), "reading lung masks")

    digests = [sha256_file(file) for file in files]
    key = content_key(kind="true masks", masks=digests, size=list(size), reader=READER_VERSION)
    return cached_array(cache_dir / "masks", key, (len(files), *size), fill)


def squashed_mask(file: Path, size: tuple[int, int]) -> np.ndarray:
    """A mask file at another size.

    Args:
        file: As `read_lung_mask` takes it.
        size: (height, width) in pixels.

    Returns:
        (h, w) bool.

    Raises:
        DataError: As `read_lung_mask` does, or nothing is left of the mask.
    """
    mask = mask_to_image(read_lung_mask(file))
    squashed = np.asarray(mask.resize((size[1], size[0]), Image.Resampling.BILINEAR)) > 127
    if not squashed.any():
        raise DataError(f"{file}: this lung mask is too small to be seen at {size[0]}x{size[1]} px")
    return squashed


def unusable_masks(cohort: Cohort, size: tuple[int, int]) -> dict[int, str]:
    """The rows whose `lung_mask` cannot be used.

    Args:
        cohort: Images with a lung mask each.
        size: (height, width) in pixels at which something must be left.

    Returns:
        The reason by row: missing, unreadable, no mask of lungs, or empty.
    """

    def fault(row: int) -> str | None:
        path = cohort.rows.lung_mask[row]
        file = cohort.manifest.locate(path)
        if file is None:
            return f"its lung mask {path} is missing"
        try:
            squashed_mask(file, size)
        except DataError as error:
            return str(error).replace(str(file), path)
        return None

    faults = map_in_threads(fault, range(len(cohort)), "reading lung masks")
    return {row: reason for row, reason in enumerate(faults) if reason is not None}


def read_lung_mask(file: Path) -> np.ndarray:
    """The lungs in a mask file.

    Every value but 0 is lung, in any channel, so label maps of 0 and 1, of left and right lung, in palettes, colors and 16
    bit are read
    alike. An image of many values is taken as a mask with smooth or compressed edges where nearly all of its pixels lie at
    two levels;
    between them the middle decides.

    Args:
        file: An image file.

    Returns:
        (H, W) bool.

    Raises:
        DataError: Unreadable, empty, nothing but lung, or an image that is no mask.
    """
    values = _values(file)
    levels = np.unique(values)
    labeled = len(levels) <= MAX_LEVELS or levels[-1] <= MAX_LABEL
    lungs = values > 0 if labeled else _smooth_mask(values, file)
    if not lungs.any():
        raise DataError(f"{file}: this lung mask is empty; draw it, or drop the row")
    if lungs.all():
        raise DataError(f"{file}: this lung mask marks every pixel as lung; its background must be 0")
    return lungs


def _values(file: Path) -> np.ndarray:
    """(H, W) largest value of any color channel; 0 where it is transparent."""
    try:
        with Image.open(file) as image:
            indices = np.asarray(image) if image.mode == "P" else None
            if image.mode in ("1", "L", "F") or image.mode.startswith("I"):
                return np.asarray(image).astype(np.float64)
            channels = np.asarray(image.convert("RGBA")).astype(np.float64)
    except Exception as error:  # noqa: BLE001 (a DICOM, or a damaged file: the reader of images says which)
        try:
            return load_grayscale_array(file).astype(np.float64)
        except DataError:
            raise DataError(f"{file}: this lung mask cannot be read ({one_line(error)})") from None
    values = channels[..., :3].max(-1) * (channels[..., 3] > 127)
    return indices.astype(np.float64) if indices is not None and not values.any() else values


def _smooth_mask(values: np.ndarray, file: Path) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    places = (values - low) / (high - low)
    between = float(((places > LEVEL_WIDTH) & (places < 1 - LEVEL_WIDTH)).mean())
    if between > EDGE_FRACTION or low > LEVEL_WIDTH * high:
        raise DataError(
            f"{file}: not a lung mask: it holds {len(np.unique(values))} values from {low:g} to {high:g}; "
            "a mask is 0 outside the lungs and one other value inside"
        )
    return places > 0.5

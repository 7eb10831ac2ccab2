"""Is this a frontal chest radiograph, upright, sharp and large enough? By simple measures of the picture, and by whether the lung
U-Net sees lungs in it, upright or in some other way.

The bounds were set on 600 frontal and 54 lateral radiographs of docs/results/image_quality.md and checked on others.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.filters import threshold_sauvola
from skimage.measure import blur_effect, label, regionprops_table

from darkcovid.core.device import Device
from darkcovid.core.errors import DataError
from darkcovid.core.slow_progress import slow_progress
from darkcovid.core.threads import map_in_threads
from darkcovid.data.decode import load_grayscale
from darkcovid.data.resize import resize
from darkcovid.lungs.mask_quality import NOT_APART
from darkcovid.lungs.segment import find_lungs
from darkcovid.lungs.unet import INPUT_SIZE, LungUNet

FLAGS = ("unreadable", "too_small", "blurred", "inverted", "rotated", "lateral", "no_lungs_found", "text")
RULES = 1  # counts changes of the measures, so that no older one is recalled

MIN_SIDE = 100  # pixels
MAX_BLUR = 0.72  # of skimage.measure.blur_effect (Crete et al. 2007), at 256 x 256
LATERAL_VIEWS = ("L", "LL", "RL", "LATERAL", "LLAT", "RLAT", "LAT")
MIN_AGREEMENT = 0.95  # Dice of the lungs in an image and in its mirror image, for lungs in an image turned or inverted
UPSIDE_DOWN_GAIN = 0.03  # by which that Dice is higher upside down

TEXT_SIDE = 512  # pixels of the long side at which letters are looked for
MIN_BACKGROUND = 0.5  # share of the pixels within 2 gray levels of one another
MIN_LETTERS = 100
LETTER_HEIGHT, LETTER_WIDTH = (4, 30), (2, 40)  # pixels

BATCH = 32

Transform = Callable[[np.ndarray], np.ndarray]

TURNED: dict[str, tuple[Transform, ...]] = {
    "inverted": (lambda pixels: 255 - pixels,),
    "rotated": tuple(partial(np.rot90, k=turns, axes=(1, 2)) for turns in (1, 2, 3)),
}


class LungQuality:
    """`measure_quality` with one segmenter, as `data.import_folder` takes it: faults joined by `|`."""

    def __init__(self, segmenter: LungUNet, compute: Device):
        self._segmenter, self._compute = segmenter, compute
        self.version = f"image quality {RULES}, {segmenter.version}"

    def __call__(self, files: Sequence[Path], views: Sequence[str]) -> list[str]:
        """(n) faults of each image joined by `|`, given its file and its view."""
        return ["|".join(flags) for flags in measure_quality(files, views, self._segmenter, self._compute)]


def measure_quality(files: Sequence[Path], views: Sequence[str], segmenter: LungUNet, compute: Device) -> list[tuple[str, ...]]:
    """What is wrong with each image.

    Args:
        files: (n) PNG, JPEG or DICOM files.
        views: (n) views as a manifest has them, '' where unknown.
        segmenter: The lung U-Net.
        compute: Device and precision.

    Returns:
        (n) FLAGS, in their order: `too_small` (a side below 100 pixels), `blurred`, `inverted` (lungs white),
        `rotated` (by 90, 180 or 270 degrees), `lateral` (by its view or its lungs), `no_lungs_found` (of a frontal radiograph, in
        any of these ways), `text` (mostly text), `unreadable`.
    """
    flags: list[tuple[str, ...]] = []
    starts = range(0, len(files), BATCH)
    for start in slow_progress("looking at images", starts, len(starts)):
        block = slice(start, start + BATCH)
        flags += _measure_batch(files[block], views[block], segmenter, compute)
    return flags


def _measure_batch(
    files: Sequence[Path], views: Sequence[str], segmenter: LungUNet, compute: Device
) -> Iterator[tuple[str, ...]]:
    pictures = map_in_threads(_picture_flags, files)
    pixels = [pixels for pixels, _ in pictures if pixels is not None]
    lungs = iter(lung_flags(np.stack(pixels), segmenter, compute) if pixels else ())
    for view, (thumbnail, flags) in zip(views, pictures, strict=True):
        if thumbnail is not None:
            seen = next(lungs)
            flags = flags | ({"lateral"} if view.upper() in LATERAL_VIEWS else seen)
        yield tuple(name for name in FLAGS if name in flags)


def _picture_flags(file: Path) -> tuple[np.ndarray | None, set[str]]:
    """(256, 256) uint8, None where the file cannot be read, and the flags that need no lungs."""
    try:
        image = load_grayscale(file)
    except DataError:
        return None, {"unreadable"}
    pixels = resize(image, INPUT_SIZE)
    flags = {
        "too_small": min(image.size) < MIN_SIDE,
        "blurred": is_blurred(pixels),
        "text": is_mostly_text(image),
    }
    return pixels, {name for name, applies in flags.items() if applies}


def is_blurred(pixels: np.ndarray) -> bool:
    """Whether an image is very blurred even at this size. pixels: (256, 256) uint8."""
    return bool(pixels.std() > 0 and np.max(blur_effect(pixels)) > MAX_BLUR)


def is_mostly_text(image: Image.Image) -> bool:
    """Whether an image of mode L is a page or a slide of text: one gray level over half of it, and many parts of a letter's
    size."""
    scale = min(1.0, TEXT_SIDE / max(image.size))
    small = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.BILINEAR)
    pixels = np.asarray(small)
    histogram = np.convolve(np.bincount(pixels.ravel(), minlength=256), np.ones(5), "same")
    if histogram.max() < MIN_BACKGROUND * pixels.size:
        return False
    dark_on_light = histogram.argmax() >= 128
    return _letters(pixels if dark_on_light else 255 - pixels) >= MIN_LETTERS


def _letters(pixels: np.ndarray) -> int:
    """How many dark connected parts have the size of a letter."""
    if min(pixels.shape) < LETTER_HEIGHT[1]:
        return 0
    parts = regionprops_table(label(pixels < threshold_sauvola(pixels, 25)), properties=("bbox",))
    heights, widths = parts["bbox-2"] - parts["bbox-0"], parts["bbox-3"] - parts["bbox-1"]
    tall = (heights >= LETTER_HEIGHT[0]) & (heights <= LETTER_HEIGHT[1])
    return int((tall & (widths >= LETTER_WIDTH[0]) & (widths <= LETTER_WIDTH[1])).sum())


def lung_flags(pixels: np.ndarray, segmenter: LungUNet, compute: Device) -> list[set[str]]:
    """What the lung U-Net says against an image.

    Args:
        pixels: (n, 256, 256) uint8.
        segmenter: The lung U-Net.
        compute: Device and precision.

    Returns:
        (n) sets, empty or of one of `inverted`, `rotated`, `lateral`, `no_lungs_found`.
    """
    upright = list(find_lungs(pixels, segmenter, compute))
    upside_down = list(find_lungs(np.ascontiguousarray(pixels[:, ::-1, ::-1]), segmenter, compute))
    flags: list[set[str]] = []
    for seen, turned in zip(upright, upside_down, strict=True):
        gain = turned.agreement - seen.agreement
        rotated = turned.reason is None and gain > UPSIDE_DOWN_GAIN
        flags.append({"rotated"} if rotated and seen.reason is None else set())
    rejected = np.flatnonzero([seen.reason is not None for seen in upright])
    if len(rejected):
        for row, flag in zip(rejected, _flags_of_rejected(pixels[rejected], segmenter, compute), strict=True):
            flags[row] = {flag or ("lateral" if upright[row].reason == NOT_APART else "no_lungs_found")}
    return flags


def _flags_of_rejected(pixels: np.ndarray, segmenter: LungUNet, compute: Device) -> list[str | None]:
    """(n) `inverted` or `rotated` where lungs are seen in an image that is made so, those that its mirror image confirms most."""
    best: list[tuple[float, str | None]] = [(MIN_AGREEMENT, None)] * len(pixels)
    for flag, transforms in TURNED.items():
        for transform in transforms:
            seen = find_lungs(np.ascontiguousarray(transform(pixels)), segmenter, compute)
            best = [
                (lungs.agreement, flag) if lungs.reason is None and lungs.agreement > before[0] else before
                for before, lungs in zip(best, seen, strict=True)
            ]
    return [flag for _, flag in best]

"""Lungs of any images, for a person to look at and to use: masks, crops, overlays and a table."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from darkcovid.core.device import Device
from darkcovid.core.io import save_png, write_text
from darkcovid.core.threads import map_in_threads
from darkcovid.data.resize import mask_to_image, resize
from darkcovid.inference.image_files import ImageRef, open_image, png_names
from darkcovid.lungs.crop import crop_box
from darkcovid.lungs.segment import CleanedMask, segment_lungs
from darkcovid.lungs.unet import INPUT_SIZE, LungUNet
from darkcovid.report.overlays import PREDICTED, UNTRUSTED, lung_overlay

BATCH = 16


@dataclass(frozen=True, slots=True)
class SegmentedImage:
    """One row of `lungs.csv`.

    Attributes:
        image: Its name.
        width: In pixels.
        height: In pixels.
        top: Of the half-open crop box in pixels, the whole image where the mask is rejected.
        left: Likewise.
        bottom: Likewise.
        right: Likewise.
        lung_area: Mask over image, 0..1.
        trusted: Whether the mask is accepted.
        reason: Why it is rejected, or the image unreadable; '' otherwise.
    """

    image: str
    width: int
    height: int
    top: int
    left: int
    bottom: int
    right: int
    lung_area: float
    trusted: bool
    reason: str


def segment_images(
    images: Sequence[ImageRef],
    segmenter: LungUNet,
    compute: Device,
    margin: float,
    folder: Path,
    on_batch: Callable[[int], None] = lambda done: None,
) -> list[SegmentedImage]:
    """Write `masks/`, `crops/` and `overlays/` of every image and `lungs.csv`, a batch at a time.

    Args:
        images: Names and files.
        segmenter: The lung U-Net.
        compute: Device and precision.
        margin: Of the crop, a fraction of the box's sides.
        folder: Where the files go.
        on_batch: Called with the number of images done.

    Returns:
        A row per image; one that cannot be read has the reason, and no files.
    """
    rows, results = [], png_names([image.name for image in images])
    for start in range(0, len(images), BATCH):
        block = slice(start, start + BATCH)
        rows += _segment_batch(images[block], results[block], segmenter, compute, margin, folder)
        on_batch(len(rows))
    write_text(folder / "lungs.csv", pd.DataFrame([asdict(row) for row in rows]).to_csv(index=False))
    return rows


def _segment_batch(
    images: Sequence[ImageRef], results: Sequence[str], segmenter: LungUNet, compute: Device, margin: float, folder: Path
) -> list[SegmentedImage]:
    opened = map_in_threads(open_image, images)
    sound = [image for image, fault in opened if fault is None]
    lungs = _lungs(sound, segmenter, compute)
    work = [
        (named, result, image, fault, None if fault else next(lungs))
        for named, result, (image, fault) in zip(images, results, opened, strict=True)
    ]

    def finish(item) -> SegmentedImage:
        named, result, image, fault, mask = item
        if fault:
            return SegmentedImage(named.name, 0, 0, 0, 0, 0, 0, 0.0, False, fault)
        return _write(named.name, result, image, mask, margin, folder)

    return map_in_threads(finish, work)


def _lungs(images: Sequence[Image.Image], segmenter: LungUNet, compute: Device) -> Iterator[CleanedMask]:
    if not images:
        return
    pixels = np.stack(map_in_threads(lambda image: resize(image, INPUT_SIZE), images))
    yield from segment_lungs(pixels, segmenter, compute)


def _write(name: str, result: str, image: Image.Image, lung_mask: CleanedMask, margin: float, folder: Path) -> SegmentedImage:
    mask, reason = lung_mask
    crop = crop_box(mask, reason, margin)
    height, width = image.height, image.width
    top, left, bottom, right = (round(share * side) for share, side in zip(crop, (height, width) * 2, strict=True))
    full_mask = mask_to_image(mask).resize(image.size, Image.Resampling.BILINEAR)
    overlay = lung_overlay(image, [(mask, UNTRUSTED if reason else PREDICTED)], crop)
    save_png(full_mask.point([0] * 128 + [255] * 128), folder / "masks" / result)
    save_png(image.crop((left, top, right, bottom)), folder / "crops" / result)
    save_png(overlay, folder / "overlays" / result)
    area = float(mask.mean())
    return SegmentedImage(name, width, height, top, left, bottom, right, area, reason is None, reason or "")

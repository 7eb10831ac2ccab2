"""Lung mask to classifier input: how much of a radiograph the classifier gets to see, and at which size."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import binary_dilation

from darkcovid.data.cohort import Cohort
from darkcovid.data.decode import open_grayscale
from darkcovid.data.intake import in_threads
from darkcovid.data.pixels import WHOLE, FractionBox, Size, mask_picture, resized
from darkcovid.data.store import Stored, content_key, stored_array
from darkcovid.lungs.box import lung_box
from darkcovid.lungs.segment import LungMasks
from darkcovid.recipe import Lungs

MULTIPLE = 32


def crop_box(mask: np.ndarray, reason: str | None, margin: float) -> FractionBox:
    """The box around both lungs as fractions of the image's sides; the whole image where the (h, w) mask is not trusted,
    that is, where there is a `reason`."""
    return WHOLE if reason else lung_box(mask.astype(bool), margin).fractions(mask.shape)


def crop_boxes(found: LungMasks, margin: float) -> list[FractionBox]:
    """The `crop_box` of each image."""
    return [crop_box(mask, reason, margin) for mask, reason in zip(found.masks, found.reasons, strict=True)]


def expanded(box: FractionBox, aspect: float) -> FractionBox:
    """`box` grown in one direction about its middle, and moved back inside the image, until its width is `aspect` times
    its height or it spans the image. aspect: in units of the image's own sides."""
    top, left, bottom, right = box
    height, width = bottom - top, right - left
    if width < aspect * height:
        left, right = _grown(left, right, min(aspect * height, 1.0))
    else:
        top, bottom = _grown(top, bottom, min(width / aspect, 1.0))
    return top, left, bottom, right


def _grown(low: float, high: float, length: float) -> tuple[float, float]:
    start = min(max((low + high - length) / 2, 0.0), 1.0 - length)
    return start, start + length


def input_size(lungs: Lungs, boxes: Sequence[FractionBox], image_size: Size) -> Size:
    """The one (height, width) in pixels to which every crop of an arm is brought.

    `crop_size` decides when given. Else, with `keep_lung_scale`, the median box as large as it was in the whole
    image at `image_size`, rounded down to a multiple of 32; without it, `image_size`.
    boxes: those of the training side's trusted images.
    """
    if lungs.mode not in ("crop", "crop_mask"):
        return image_size
    if lungs.crop_size is not None:
        return lungs.crop_size if isinstance(lungs.crop_size, tuple) else (lungs.crop_size, lungs.crop_size)
    if not lungs.keep_lung_scale or not boxes:
        return image_size
    top, left, bottom, right = np.array(boxes).T
    median = float(np.median(bottom - top)) * image_size[0], float(np.median(right - left)) * image_size[1]
    height, width = (max(MULTIPLE, MULTIPLE * int(side // MULTIPLE)) for side in median)
    return height, width


def lung_pixels(cohort: Cohort, found: LungMasks, lungs: Lungs, size: Size, cache_dir: Path) -> Stored:
    """The cohort's inputs by the recipe's lung mode: (n, *size) uint8, or (n, 2, *size) with a thumbnail, from the cache or
    made now.

    An image whose mask is not trusted keeps all its pixels in every mode.
    """
    boxes = crop_boxes(found, lungs.margin) if lungs.mode in ("crop", "crop_mask") else [WHOLE] * len(cohort)

    shape = (len(cohort), 2, *size) if lungs.thumbnail else (len(cohort), *size)

    def fill(array: np.ndarray) -> None:
        def one(index: int) -> None:
            image, box = open_grayscale(cohort.files[index]), boxes[index]
            picture = array[index, 0] if lungs.thumbnail else array[index]
            if lungs.thumbnail:
                array[index, 1] = resized(image, size)
            if lungs.aspect == "expand" and box != WHOLE:
                box = expanded(box, size[1] / size[0] * image.height / image.width)
            keep_aspect = lungs.aspect != "squash"
            picture[:] = resized(image, size, box, keep_aspect)
            if lungs.mode != "crop" and found.reasons[index] is None:
                mask = _widened(found.masks[index], lungs)
                if keep_aspect:
                    mask = mask.resize(image.size, Image.Resampling.BILINEAR)
                inside = resized(mask, size, box, keep_aspect) > 127
                picture[inside if lungs.mode == "outside" else ~inside] = lungs.fill

        in_threads(one, range(len(cohort)))

    policy = lungs.model_dump(mode="json", include={"mode", "margin", "aspect", "fill", "thumbnail"})
    key = content_key(kind="lungs", images=list(cohort.sha256), size=list(size), policy=policy, segmenter=found.version)
    return stored_array(cache_dir / "pixels", key, shape, fill)


def _widened(mask: np.ndarray, lungs: Lungs) -> Image.Image:
    """A (h, w) mask of 0 and 1 as a picture of 0 and 255. To erase lungs (`outside`) it is widened by `margin` of the
    image's side, so that their edge does not betray what was inside."""
    if lungs.mode == "outside":
        mask = binary_dilation(mask, iterations=max(1, round(lungs.margin * mask.shape[0])))
    return mask_picture(mask)

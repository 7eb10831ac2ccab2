"""Lung mask to classifier input: how much of a radiograph the classifier gets to see, and at which size."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from darkcovid.core.array_cache import CachedArray, StoredArray, cached_sharded_array
from darkcovid.core.threads import map_in_threads
from darkcovid.data.bars import mirror_mask
from darkcovid.data.cohort import Cohort
from darkcovid.data.decode import load_grayscale
from darkcovid.data.enhance import AS_IT_IS, Enhancement
from darkcovid.data.image_arrays import ImageArray, cached_image_arrays
from darkcovid.data.resize import FULL_IMAGE, FractionBox, Size, letterbox_box, mask_to_image, resize
from darkcovid.lungs.box import lung_box
from darkcovid.lungs.morphology import dilate
from darkcovid.lungs.segment import LungMasks
from darkcovid.recipe import Interpolation, Lungs

MULTIPLE = 32


def crop_box(mask: np.ndarray, reason: str | None, margin: float) -> FractionBox:
    """The box around both lungs; the whole image where the mask is rejected.

    Args:
        mask: (h, w) of 0 and 1.
        reason: Why the mask is rejected; None where it is accepted.
        margin: Fraction of the box's height and width added on each side.

    Returns:
        Fractions of the image's sides.
    """
    return FULL_IMAGE if reason else lung_box(mask.astype(bool), margin).fractions(mask.shape)


def crop_boxes(lung_masks: LungMasks, margin: float) -> list[FractionBox]:
    """The `crop_box` of each image.

    Args:
        lung_masks: Masks of n images.
        margin: Fraction of a box's height and width added on each side.

    Returns:
        (n) boxes.
    """
    return [crop_box(mask, reason, margin) for mask, reason in zip(lung_masks.masks, lung_masks.reasons, strict=True)]


def expand_to_aspect(box: FractionBox, aspect: float) -> FractionBox:
    """A box grown in one direction about its middle, and moved back inside the image.

    Args:
        box: Fractions of the image's sides.
        aspect: Width over height, in units of the image's own sides.

    Returns:
        A box of this aspect, or one that spans the image.
    """
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


def crop_input_size(lungs: Lungs, boxes: Sequence[FractionBox], image_size: Size) -> Size:
    """The one size to which every crop of an arm is brought.

    `crop_size` decides when given. Else, with `keep_lung_scale`, the median box as large as it was in the whole image at
    `image_size`,
    rounded down to a multiple of 32; without it, `image_size`.

    Args:
        lungs: The recipe's section.
        boxes: Of the training images whose masks are accepted.
        image_size: (height, width) in pixels of whole images.

    Returns:
        (height, width) in pixels.
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


def cached_lung_inputs(
    cohort: Cohort,
    masks: LungMasks,
    lungs: Lungs,
    size: Size,
    cache_dir: Path,
    letterbox: bool = False,
    enhancement: Enhancement = AS_IT_IS,
    interpolation: Interpolation = "bilinear",
) -> CachedArray:
    """The cohort's inputs by the recipe's lung mode, from the cache or made now.

    An image whose mask is rejected keeps all its pixels in every mode.

    Args:
        cohort: n images.
        masks: Their masks.
        lungs: The recipe's section.
        size: (height, width) in pixels.
        cache_dir: The cache.
        letterbox: Whether whole images, those of the context channel too, keep their aspect.
        enhancement: What is done to images first.
        interpolation: Of the pixels.

    Returns:
        (n, *size) uint8, or (n, 2, *size) with a context channel.
    """
    wanted = lung_input_array(cohort, masks, lungs, size, cache_dir, letterbox, enhancement, interpolation)
    return cached_image_arrays(cohort.files, [wanted])[0]


def lung_input_array(
    cohort: Cohort,
    masks: LungMasks,
    lungs: Lungs,
    size: Size,
    cache_dir: Path,
    letterbox: bool = False,
    enhancement: Enhancement = AS_IT_IS,
    interpolation: Interpolation = "bilinear",
) -> ImageArray:
    """What `cached_lung_inputs` makes, to be made together with other arrays of the same images.

    Args:
        cohort: n images.
        masks: Their masks.
        lungs: The recipe's section.
        size: (height, width) in pixels.
        cache_dir: The cache.
        letterbox: As `cached_lung_inputs` takes it.
        enhancement: As `cached_lung_inputs` takes it.
        interpolation: As `cached_lung_inputs` takes it.

    Returns:
        The array that is wanted.
    """
    view = LungCropTransform(masks, lungs, size, letterbox, enhancement, interpolation)
    policy = lungs.model_dump(mode="json", include={"mode", "margin", "fill"}) | {
        "thumbnail": lungs.context_channel,
        "aspect": [view.frame.policy, view.whole.policy],
    }
    policy |= enhancement.policy
    if interpolation != "bilinear":
        policy["interpolation"] = interpolation
    about = {"kind": "lungs", "size": list(size), "policy": policy}
    shape = _input_shape(size, lungs)
    return ImageArray(
        cache_dir / "pixels",
        _made_from(cohort, masks),
        shape,
        about,
        lambda image, row: view.picture(row, image),
        "cropping images",
    )


@dataclass(frozen=True)
class LungCropTransform:
    """How an arm sees images whose lungs are known.

    Attributes:
        found: Masks of the images.
        lungs: The recipe's section.
        size: (height, width) in pixels.
        letterbox: Whether whole images keep their aspect.
        enhancement: What is done to images first.
        interpolation: Of the pixels.
    """

    found: LungMasks
    lungs: Lungs
    size: Size
    letterbox: bool
    enhancement: Enhancement = AS_IT_IS
    interpolation: Interpolation = "bilinear"

    @cached_property
    def frame(self) -> "CropTransform":
        """Of the crops."""
        frame = lung_crop_transform(self.found, self.lungs, self.size, self.letterbox)
        return replace(frame, fill_bars=self.enhancement.fill_bars)

    @cached_property
    def whole(self) -> "CropTransform":
        """Of the whole images in the context channel."""
        whole = whole_image_transform(len(self.found.masks), self.size, self.letterbox)
        return replace(whole, fill_bars=self.enhancement.fill_bars)

    def picture(self, index: int, image: Image.Image) -> np.ndarray:
        """What the network gets of an image.

        Args:
            index: Of the image among `found`.
            image: Mode L.

        Returns:
            (h, w) uint8, or (2, h, w) with a context channel.
        """
        original, image = image, self.enhancement(image)
        lungs, shown = self.lungs, self.frame.picture(index, image, self.interpolation)
        if lungs.mode != "crop" and self.found.reasons[index] is None:
            inside = self.frame.mask(index, self._erased(index, original), image.size)
            shown[inside if lungs.mode == "outside" else ~inside] = lungs.fill
        return np.stack([shown, self.whole.picture(index, image, self.interpolation)]) if lungs.context_channel else shown

    def _erased(self, index: int, image: Image.Image) -> np.ndarray:
        """The mask by which pixels are erased, (256, 256): for `outside` it is widened by `margin` of the image's height, so that
        the lungs' edge does not betray what was inside; where bars are filled, with the lungs that are mirrored into them."""
        mask = self.found.masks[index]
        mask = dilate(mask, self.lungs.margin) if self.lungs.mode == "outside" else mask
        return mirror_mask(mask, image) if self.enhancement.fill_bars else mask


def cached_lung_regions(
    cohort: Cohort, masks: LungMasks, lungs: Lungs | None, size: Size, letterbox: bool, cache_dir: Path, fill_bars: bool = False
) -> CachedArray:
    """Where the lungs are in an arm's inputs, from the cache or made now. A rejected mask is drawn as it is.

    Args:
        cohort: n images.
        masks: Their masks.
        lungs: The recipe's section; None: whole images.
        size: (height, width) in pixels.
        letterbox: Whether whole images keep their aspect.
        cache_dir: The cache.
        fill_bars: Whether bars are filled, into which lungs may be mirrored.

    Returns:
        uint8 of the inputs' shape, 1 inside the lungs and 0 outside.
    """
    whole = replace(whole_image_transform(len(cohort), size, letterbox), fill_bars=fill_bars)
    frame = whole if lungs is None else replace(lung_crop_transform(masks, lungs, size, letterbox), fill_bars=fill_bars)

    def draw(picture: np.ndarray, index: int) -> None:
        mask, image_size = masks.masks[index], tuple(cohort.sizes[index])
        if fill_bars:
            mask = mirror_mask(mask, load_grayscale(cohort.files[index]))
        if lungs is not None and lungs.context_channel:
            picture[1] = whole.mask(index, mask, image_size)
            picture = picture[0]
        picture[:] = frame.mask(index, mask, image_size)

    policy = {"letterbox": letterbox, "lungs": lungs and lungs.model_dump(mode="json", exclude={"weights"})}
    policy |= {"fill_bars": True} if fill_bars else {}

    def fill(array: np.ndarray, rows: range) -> None:
        map_in_threads(lambda index: draw(array[index - rows.start], index), rows, "cropping lung masks")

    about = {"kind": "lung areas", "size": list(size), "policy": policy}
    return cached_sharded_array(cache_dir / "pixels", _made_from(cohort, masks), _input_shape(size, lungs), fill, **about)


@dataclass(frozen=True)
class CropTransform:
    """Which box of each image an arm sees, and by which of `lungs.resize` it is brought to `size` (height, width); `fill_bars` as
    `resize` takes it."""

    boxes: Sequence[FractionBox]
    size: Size
    policy: str
    fill_bars: bool = False

    def picture(self, index: int, image: Image.Image, interpolation: Interpolation = "bilinear") -> np.ndarray:
        """What is seen of an image.

        Args:
            index: Of the image.
            image: Mode L.
            interpolation: Of the pixels.

        Returns:
            (h, w) uint8.
        """
        box, keep_aspect = self._box(index, image.size), self.policy != "squash"
        return np.array(resize(image, self.size, box, keep_aspect, interpolation, self.fill_bars))

    def mask(self, index: int, mask: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
        """Where a mask of the whole image lies in what is seen.

        Args:
            index: Of the image.
            mask: (H, W) of 0 and 1.
            image_size: (width, height) in pixels.

        Returns:
            (h, w) bool.
        """
        drawn, keep_aspect = mask_to_image(mask), self.policy != "squash"
        if keep_aspect:
            drawn = drawn.resize(image_size, Image.Resampling.BILINEAR)
        return resize(drawn, self.size, self._box(index, image_size), keep_aspect, fill_bars=self.fill_bars) > 127

    def over_image(self, index: int, seen: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
        """The way back: a map of what is seen, laid over the image it was taken from.

        Args:
            index: Of the image.
            seen: (h, w) float.
            image_size: (width, height) in pixels.

        Returns:
            (height, width) float32, 0 where nothing of the image was seen.
        """
        width, height = image_size
        top, left, bottom, right = self._box(index, image_size)
        rows, columns = (round(top * height), round(bottom * height)), (round(left * width), round(right * width))
        if self.policy != "squash":
            down, across, tall, wide = letterbox_box((bottom - top) * height, (right - left) * width, self.size)
            seen = seen[down : down + tall, across : across + wide]
        large = Image.fromarray(seen.astype(np.float32)).resize(
            (max(1, columns[1] - columns[0]), max(1, rows[1] - rows[0])), Image.Resampling.BILINEAR
        )
        over = np.zeros((height, width), np.float32)
        part = over[rows[0] : rows[0] + large.height, columns[0] : columns[0] + large.width]
        part[:] = np.asarray(large)[: part.shape[0], : part.shape[1]]
        return over

    def _box(self, index: int, image_size: tuple[int, int]) -> FractionBox:
        box, (width, height) = self.boxes[index], image_size
        if self.policy == "expand" and box != FULL_IMAGE:
            return expand_to_aspect(box, self.size[1] / self.size[0] * height / width)
        return box


def lung_crop_transform(masks: LungMasks, lungs: Lungs, size: Size, letterbox: bool) -> CropTransform:
    """What an arm sees of each image.

    Args:
        masks: Masks of the images.
        lungs: The recipe's section.
        size: (height, width) in pixels.
        letterbox: Whether whole images keep their aspect.

    Returns:
        Crops, or whole images where the mode does not crop.
    """
    if lungs.mode in ("crop", "crop_mask"):
        return CropTransform(crop_boxes(masks, lungs.margin), size, lungs.resize)
    return whole_image_transform(len(masks.masks), size, letterbox)


def whole_image_transform(count: int, size: Size, letterbox: bool) -> CropTransform:
    """Whole images, squashed or letterboxed.

    Args:
        count: How many.
        size: (height, width) in pixels.
        letterbox: Whether they keep their aspect.

    Returns:
        The transform.
    """
    return CropTransform([FULL_IMAGE] * count, size, "letterbox" if letterbox else "squash")


def _made_from(cohort: Cohort, masks: LungMasks) -> list[str]:
    return [f"{sha256} {digest}" for sha256, digest in zip(cohort.sha256, masks.digests, strict=True)]


def _input_shape(size: Size, lungs: Lungs | None) -> tuple[int, ...]:
    return (2, *size) if lungs is not None and lungs.context_channel else size


@dataclass(frozen=True)
class LungRegions:
    """Where the lungs are in an arm's inputs.

    Attributes:
        areas: uint8 of the inputs' shape, 1 inside the lungs.
        trusted: (n,) bool, whether the mask is accepted.
    """

    areas: StoredArray
    trusted: np.ndarray

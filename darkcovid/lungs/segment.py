"""A cohort's lung masks, made once and remembered: each cleaned, each accepted or rejected, with the reason."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from darkcovid.core.array_cache import StoredArray, cached_sharded_array
from darkcovid.core.device import Device, predict_batches
from darkcovid.core.slow_progress import slow_progress
from darkcovid.data.cohort import Cohort
from darkcovid.data.resize import cached_whole_images
from darkcovid.lungs.fused_unet import BATCH
from darkcovid.lungs.mask_quality import postprocess_mask, rejection_reason
from darkcovid.lungs.overlap import mask_dice
from darkcovid.lungs.unet import INPUT_SIZE, LungUNet

RULES = 4  # counts changes of cleaning and trust, so that no older mask is recalled


class CleanedMask(NamedTuple):
    """The cleaned mask of one image, (256, 256) bool, and why it is rejected, None where it is accepted."""

    mask: np.ndarray
    reason: str | None


class FoundLungs(NamedTuple):
    """A `CleanedMask`, and how far the mirror image's mask agrees with it before cleaning (Dice, 0..1)."""

    mask: np.ndarray
    reason: str | None
    agreement: float


@dataclass(frozen=True)
class LungMasks:
    """The lungs of n images.

    Attributes:
        masks: (n, 256, 256) uint8 of 0 and 1, each image squashed whole.
        reasons: (n) why a mask is rejected; None where it is accepted.
        version: SHA-256 of the segmenter's weights.
        seconds: Of decoding, segmenting and cleaning, whenever that was done.
        fresh: Whether it was done just now.
    """

    masks: StoredArray
    reasons: tuple[str | None, ...]
    version: str
    seconds: float
    fresh: bool

    @property
    def trusted(self) -> np.ndarray:
        """(n,) bool, whether each mask is accepted."""
        return np.array([reason is None for reason in self.reasons])

    @cached_property
    def digests(self) -> list[str]:
        """(n) hexadecimal digests of each mask and whether it is accepted: what every crop is made from."""
        pairs = zip(self.masks, self.trusted.tolist(), strict=True)
        return [hashlib.blake2b(bytes([trusted]) + mask.tobytes(), digest_size=16).hexdigest() for mask, trusted in pairs]


def segment_lungs(pixels: np.ndarray, segmenter: LungUNet, compute: Device) -> Iterator[CleanedMask]:
    """The lungs in each image, from the mean of the segmenter's outputs for the image and for its mirror image.

    How far the two agree is part of the quality control.

    Args:
        pixels: (n, 256, 256) uint8.
        segmenter: The lung U-Net.
        compute: Device and precision.

    Returns:
        A mask per image, in order.
    """
    return (CleanedMask(found.mask, found.reason) for found in find_lungs(pixels, segmenter, compute))


def find_lungs(pixels: np.ndarray, segmenter: LungUNet, compute: Device) -> Iterator[FoundLungs]:
    """As `segment_lungs`, with the agreement.

    Args:
        pixels: (n, 256, 256) uint8.
        segmenter: The lung U-Net.
        compute: Device and precision.

    Yields:
        Lungs per image, in order.
    """
    network, normalizer = segmenter.fastest(compute), segmenter.normalizer
    views = zip(
        *(predict_batches(network, seen, normalizer, compute, BATCH) for seen in (pixels, pixels[:, :, ::-1])), strict=True
    )
    images = iter(pixels)
    for logits, mirrored in views:
        straight, mirrored = logits[:, 0], mirrored[:, 0].flip(-1)
        agreement = mask_dice((straight > 0).numpy(), (mirrored > 0).numpy())
        for raw, agreed in zip((straight + mirrored > 0).numpy(), agreement, strict=True):
            mask = postprocess_mask(raw)
            yield FoundLungs(mask, rejection_reason(next(images), mask, float(agreed)), float(agreed))


def segment_cohort(cohort: Cohort, segmenter: LungUNet, compute: Device, cache_dir: Path) -> LungMasks:
    """The lungs of every image of the cohort, from the cache or segmented now.

    Args:
        cohort: n images.
        segmenter: The lung U-Net.
        compute: Device and precision.
        cache_dir: The cache.

    Returns:
        Their masks.
    """

    def fill(masks: np.ndarray, rows: range) -> list[str | None]:
        part, reasons = slice(rows.start, rows.stop), []
        pixels = cached_whole_images(cohort.files[part], cohort.sha256[part], INPUT_SIZE, cache_dir).array
        found = segment_lungs(np.asarray(pixels), segmenter, compute)
        for index, lung_mask in enumerate(slow_progress("finding lungs", found, len(pixels))):
            masks[index] = lung_mask.mask
            reasons.append(lung_mask.reason)
        return reasons

    about = {"kind": "lungs", "segmenter": segmenter.version, "precision": compute.precision, "rules": RULES}
    stored = cached_sharded_array(cache_dir / "masks", cohort.sha256, INPUT_SIZE, fill, **about)
    return LungMasks(stored.array, tuple(stored.notes), segmenter.version, stored.seconds, stored.fresh)

"""A cohort's lung masks, made once and remembered: each cleaned, each trusted or not, with the reason."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from darkcovid.compute import Compute, forward
from darkcovid.data.cohort import Cohort
from darkcovid.data.pixels import whole_pixels
from darkcovid.data.store import content_key, stored_array
from darkcovid.lungs.trust import clean_mask, why_untrusted
from darkcovid.lungs.unet import INPUT_SIZE, Segmenter

LEAST_CONTRAST = 4.0  # standard deviation, in gray levels of 0..255
RULES = 3  # counts changes of cleaning and trust, so that no older mask is recalled


@dataclass(frozen=True)
class LungMasks:
    """masks: (n, 256, 256) uint8 of 0 and 1, each image squashed whole; reasons: (n) None where trusted, else why not.
    seconds: decoding, segmenting and cleaning, whenever that was done; `fresh`: it was done just now."""

    masks: np.ndarray
    reasons: tuple[str | None, ...]
    version: str
    seconds: float
    fresh: bool

    @property
    def trusted(self) -> np.ndarray:
        """(n,) bool."""
        return np.array([reason is None for reason in self.reasons])


def lung_masks(pixels: np.ndarray, segmenter: Segmenter, compute: Compute) -> Iterator[np.ndarray]:
    """The cleaned mask of each of (n, 256, 256) uint8 pixels: (256, 256) bool, in order, from the mean of what the
    network sees in the picture and in its mirror image. A picture without contrast has an empty one."""
    network, scale = segmenter.network, (segmenter.mean, segmenter.std)
    views = zip(forward(network, pixels, *scale, compute), forward(network, pixels[:, :, ::-1], *scale, compute), strict=True)
    images = iter(pixels)
    for logits, mirrored in views:
        for raw in (logits[:, 0] + mirrored[:, 0].flip(-1) > 0).numpy():
            yield clean_mask(raw if next(images).std() >= LEAST_CONTRAST else np.zeros_like(raw))


def segment_cohort(cohort: Cohort, segmenter: Segmenter, compute: Compute, cache_dir: Path) -> LungMasks:
    """Find the lungs of every image of the cohort, or recall them from the cache."""
    pixels = whole_pixels(cohort.files, cohort.sha256, INPUT_SIZE, cache_dir)

    def fill(masks: np.ndarray) -> list[str | None]:
        for index, mask in enumerate(lung_masks(pixels.array, segmenter, compute)):
            masks[index] = mask
        return [why_untrusted(mask.astype(bool)) for mask in masks]

    version = {"segmenter": segmenter.version, "precision": compute.precision, "rules": RULES}
    key = content_key(kind="lungs", images=list(cohort.sha256), **version)
    stored = stored_array(cache_dir / "masks", key, (len(cohort), *INPUT_SIZE), fill)
    return LungMasks(stored.array, tuple(stored.notes), segmenter.version, pixels.seconds + stored.seconds, stored.fresh)

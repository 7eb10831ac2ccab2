"""A cohort's lung masks, made once and remembered: each cleaned, each trusted or not, with the reason."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from darkcovid.compute import Compute, forward
from darkcovid.data.cohort import Cohort
from darkcovid.data.pixels import whole_pixels
from darkcovid.data.store import content_key, stored_array
from darkcovid.lungs.trust import clean_mask, why_untrusted
from darkcovid.lungs.unet import INPUT_SIZE, Segmenter


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


def segment_cohort(cohort: Cohort, segmenter: Segmenter, compute: Compute, cache_dir: Path) -> LungMasks:
    """Find the lungs of every image of the cohort, or recall them from the cache."""
    pixels = whole_pixels(cohort.files, cohort.sha256, INPUT_SIZE, cache_dir)

    def fill(masks: np.ndarray) -> list[str | None]:
        start = 0
        for logits in forward(segmenter.network, pixels.array, segmenter.mean, segmenter.std, compute):
            for offset, raw in enumerate((logits[:, 0] > 0).numpy()):
                masks[start + offset] = clean_mask(raw)
            start += len(logits)
        return [why_untrusted(mask.astype(bool)) for mask in masks]

    key = content_key(kind="lungs", images=list(cohort.sha256), segmenter=segmenter.version, precision=compute.precision)
    stored = stored_array(cache_dir / "masks", key, (len(cohort), *INPUT_SIZE), fill)
    return LungMasks(stored.array, tuple(stored.notes), segmenter.version, pixels.seconds + stored.seconds, stored.fresh)

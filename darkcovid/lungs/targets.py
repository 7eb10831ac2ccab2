"""Lung masks that people drew (or the phantom knows exactly), as one array to learn from and to score against."""

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

from darkcovid.data.cohort import Cohort
from darkcovid.data.decode import decode_grayscale
from darkcovid.data.intake import in_threads
from darkcovid.data.pixels import mask_picture
from darkcovid.data.store import Stored, content_key, stored_array
from darkcovid.errors import DataError


def true_masks(cohort: Cohort, size: tuple[int, int], cache_dir: Path) -> Stored:
    """Each row's `lung_mask`, squashed to `size`: (n, h, w) uint8 of 0 and 1. Raises DataError when one is missing."""
    files = [cohort.manifest.locate(path) for path in cohort.rows.lung_mask]
    for path, file in zip(cohort.rows.lung_mask, files, strict=True):
        if file is None:
            raise DataError(f"{path}: this lung mask of the manifest is missing; put it beside the manifest or drop the row")

    def fill(array: np.ndarray) -> None:
        def one(index: int) -> None:
            mask = mask_picture(decode_grayscale(files[index]) > 127)
            array[index] = np.asarray(mask.resize(size[::-1], Image.Resampling.BILINEAR)) > 127

        in_threads(one, range(len(files)))

    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    key = content_key(kind="true masks", masks=digests, size=list(size))
    return stored_array(cache_dir / "masks", key, (len(files), *size), fill)

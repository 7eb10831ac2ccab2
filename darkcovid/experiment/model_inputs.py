"""Images as a model that was made elsewhere gets them, where the lungs are in them, and the gray that hides parts of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from darkcovid.audits.occlusion import MAX_OCCLUSION_IMAGES, mean_gray
from darkcovid.core.array_cache import CachedArray, StoredArray
from darkcovid.core.device import Device
from darkcovid.core.errors import DataError
from darkcovid.core.words import counted
from darkcovid.data.check_files import FileCheck, validate_files
from darkcovid.data.cohort import Cohort
from darkcovid.data.manifest import Manifest
from darkcovid.data.resize import cached_whole_images
from darkcovid.data.splits import evenly_spaced
from darkcovid.inference.foreign.inputs import InputPolicy
from darkcovid.lungs.crop import LungRegions, cached_lung_inputs, cached_lung_regions
from darkcovid.lungs.segment import segment_cohort
from darkcovid.lungs.unet import load_segmenter


@dataclass(frozen=True)
class ModelInputs:
    """Images as a model gets them.

    Attributes:
        cohort: n images.
        pixels: (n, ...) uint8.
        regions: Where the lungs are in them.
    """

    cohort: Cohort
    pixels: StoredArray
    regions: LungRegions

    @classmethod
    def of(
        cls, rows: pd.DataFrame, checks: Sequence[FileCheck], policy: InputPolicy, compute: Device, cache_dir: Path
    ) -> "ModelInputs":
        """Of the images whose files are usable.

        Args:
            rows: (n) rows of a manifest.
            checks: (n) of their files.
            policy: The model's input.
            compute: Device of the lung U-Net.
            cache_dir: Where images and masks are kept.

        Returns:
            The inputs.

        Raises:
            DataError: None is usable.
        """
        good = np.array([check.fault is None for check in checks], bool)
        if not good.any():
            first = checks[0]
            raise DataError(
                f"none of {counted(len(checks), 'image file')} can be used, the first is {rows.path.iloc[0]} ({first.fault}); "
                "a model is asked about images: name their folder with --data-root"
            )
        used = [check for check in checks if check.fault is None]
        rows = rows[good].reset_index(drop=True)
        everywhere = np.ones(len(rows), bool)
        cohort = Cohort(
            rows=rows,
            classes=(),
            labels=np.zeros(len(rows), np.int64),
            valid=everywhere,
            test=~everywhere,
            files=tuple(check.file for check in used if check.file is not None),
            sha256=tuple(check.sha256 for check in used),
            sizes=np.array([(check.width, check.height) for check in used], int).reshape(-1, 2),
            bad=(),
            manifest=Manifest(rows, ()),
        )
        masks = segment_cohort(cohort, load_segmenter(), compute, cache_dir)
        if policy.lungs is None:
            pixels = _whole(policy, cohort.files, cohort.sha256, cache_dir)
        else:
            seen = policy.letterbox, policy.enhancement, policy.interpolation
            pixels = cached_lung_inputs(cohort, masks, policy.lungs, policy.size, cache_dir, *seen)
        filled = policy.enhancement.fill_bars
        areas = cached_lung_regions(cohort, masks, policy.lungs, policy.size, policy.letterbox, cache_dir, filled)
        return cls(cohort, pixels.array, LungRegions(areas.array, masks.trusted))

    def labeled(self, table: pd.DataFrame, classes: Sequence[str]) -> "ModelInputs":
        """The images that an arm scored, in its order, with its labels.

        Args:
            table: Its predictions.
            classes: In the order of its probabilities.

        Returns:
            The inputs.
        """
        places = {path: place for place, path in enumerate(self.cohort.rows.path)}
        order = np.array([places[image] for image in table.image])
        codes = {name: code for code, name in enumerate(classes)}
        cohort = replace(self.cohort.take(order), classes=tuple(classes), labels=table.label.map(codes).to_numpy(np.int64))
        whole = len(order) == len(self.cohort) and (order == np.arange(len(order))).all()
        pixels = self.pixels if whole else np.array(self.pixels[order])
        areas = self.regions.areas if whole else np.array(self.regions.areas[order])
        return ModelInputs(cohort, pixels, LungRegions(areas, self.regions.trusted[order]))


def hiding_gray(
    trained: pd.DataFrame, manifest: Manifest, policy: InputPolicy, inputs: ModelInputs, compute: Device, cache_dir: Path
) -> int:
    """The mean gray by which parts are hidden: of training images, where their files are there; else of those that are scored.

    Args:
        trained: Rows of training images.
        manifest: In which they are.
        policy: The model's input.
        inputs: The images that are scored.
        compute: Device of the lung U-Net.
        cache_dir: Where images and masks are kept.

    Returns:
        0..255.
    """
    some = trained.iloc[evenly_spaced(np.arange(len(trained)), MAX_OCCLUSION_IMAGES)].reset_index(drop=True)
    checks = validate_files(Manifest(some, manifest.roots), cache_dir) if len(some) else []
    if not checks or any(check.fault for check in checks):
        return mean_gray(inputs.pixels, np.arange(len(inputs.cohort)))
    if policy.lungs is None:
        files = [check.file for check in checks if check.file is not None]
        pixels = _whole(policy, files, [check.sha256 for check in checks], cache_dir).array
    else:
        pixels = ModelInputs.of(some, checks, policy, compute, cache_dir).pixels
    return mean_gray(pixels, np.arange(len(some)))


def _whole(policy: InputPolicy, files: Sequence[Path], sha256: Sequence[str], cache_dir: Path) -> CachedArray:
    return cached_whole_images(
        files,
        sha256,
        policy.size,
        cache_dir,
        policy.letterbox,
        enhancement=policy.enhancement,
        interpolation=policy.interpolation,
    )

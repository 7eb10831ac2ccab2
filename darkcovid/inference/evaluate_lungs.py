"""How good is a lung segmenter on a manifest whose lungs people have outlined? Figures, a table, and the worst to look at."""

from pathlib import Path
from typing import Any

import numpy as np

from darkcovid.core.device import Device
from darkcovid.core.errors import DataError
from darkcovid.core.io import save_png, write_json, write_text
from darkcovid.data.cohort import load_mask_evaluation_cohort
from darkcovid.data.decode import load_grayscale
from darkcovid.evaluation.lung_masks import score_lungs, score_table, summarize_masks
from darkcovid.inference.image_files import png_names
from darkcovid.lungs.crop import crop_box
from darkcovid.lungs.masks import load_ground_truth_masks, unusable_masks
from darkcovid.lungs.segment import segment_cohort
from darkcovid.lungs.unet import INPUT_SIZE, LungUNet
from darkcovid.recipe import Data
from darkcovid.report.overlays import PREDICTED, TRUE, UNTRUSTED, lung_overlay

WORST = 5


def evaluate_lungs(
    data: Data, segmenter: LungUNet, compute: Device, margin: float, cache_dir: Path, folder: Path
) -> dict[str, Any]:
    """Score every image of a manifest that has a lung mask.

    Writes `lungs.csv`, `summary.json` and `worst/` (overlays: true outline, predicted outline, crop).

    Args:
        data: A recipe's section.
        segmenter: The lung U-Net.
        compute: Device and precision.
        margin: Of the crop, a fraction of the box's sides.
        cache_dir: The cache.
        folder: Where the files go.

    Returns:
        The summary, and the worst images' names.

    Raises:
        UsageError: No row has a mask.
        DataError: Too many images, or every mask, cannot be used.
    """
    cohort = load_mask_evaluation_cohort(data, cache_dir)
    faults = unusable_masks(cohort, INPUT_SIZE)
    if len(faults) == len(cohort):
        raise DataError(f"{cohort.rows.path[0]}: {faults[0]}; no lung mask can be used")
    bad = [{"image": bad.path, "reason": bad.reason} for bad in cohort.bad]
    bad += [{"image": cohort.rows.path[row], "reason": reason} for row, reason in faults.items()]
    cohort = cohort.take(np.array([row for row in range(len(cohort)) if row not in faults]))
    lungs = segment_cohort(cohort, segmenter, compute, cache_dir)
    truth = np.asarray(load_ground_truth_masks(cohort, INPUT_SIZE, cache_dir).array, bool)
    predicted = np.asarray(lungs.masks, bool)
    scores = score_lungs(predicted, lungs.reasons, truth, margin)
    worst = np.argsort([score.dice for score in scores], kind="stable")[:WORST].tolist()
    worst_images = [cohort.rows.path[row] for row in worst]
    summary = {"images": len(scores)} | summarize_masks(scores).as_dict()
    summary |= {"bad_images": len(bad), "bad": bad, "worst": worst_images}
    write_text(folder / "lungs.csv", score_table(cohort, scores).to_csv(index=False, float_format="%.6f"))
    write_json(folder / "summary.json", summary)
    for row, name in zip(worst, png_names(worst_images), strict=True):
        drawn = PREDICTED if scores[row].untrusted is None else UNTRUSTED
        box = crop_box(predicted[row], scores[row].untrusted, margin)
        picture = lung_overlay(load_grayscale(cohort.files[row]), [(truth[row], TRUE), (predicted[row], drawn)], box)
        save_png(picture, folder / "worst" / name)
    return summary

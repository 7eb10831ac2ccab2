"""How good are lung masks, and the crops made from them, against masks that people drew?"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd

from darkcovid.data.cohort import Cohort
from darkcovid.evaluation.results import LungKept, MaskMetrics, Spread
from darkcovid.lungs.box import full_image_box, lung_box
from darkcovid.lungs.overlap import box_iou, dice_to_iou, fraction_inside, mask_dice

KEPT = 0.95


@dataclass(frozen=True, slots=True)
class LungScore:
    """The mask of one image against the true one, every share in 0..1.

    A rejected mask crops nothing, so its box is the whole image.

    Attributes:
        dice: Of the predicted and the true mask.
        iou: The same.
        lung_kept: True lung inside the crop.
        crop_area: Crop over image.
        box_iou: Of the boxes around predicted and true lungs, without a margin.
        untrusted: Why the mask is rejected; None where it is accepted.
    """

    dice: float
    iou: float
    lung_kept: float
    crop_area: float
    box_iou: float
    untrusted: str | None


def score_lungs(predicted: np.ndarray, reasons: Sequence[str | None], truth: np.ndarray, margin: float) -> list[LungScore]:
    """Scores of predicted masks.

    Args:
        predicted: (n, h, w) bool, cleaned.
        reasons: (n) why a predicted mask is rejected; None where it is accepted.
        truth: (n, h, w) bool, by hand.
        margin: Of the crop, a fraction of the box's sides.

    Returns:
        (n) scores.
    """
    dice = mask_dice(predicted, truth)
    scores = []
    for mask, reason, true, agreement in zip(predicted, reasons, truth, dice, strict=True):
        whole = full_image_box(mask.shape)
        crop, tight = (whole, whole) if reason else (lung_box(mask, margin), lung_box(mask, 0.0))
        scores.append(
            LungScore(
                dice=float(agreement),
                iou=float(dice_to_iou(agreement)),
                lung_kept=fraction_inside(true, crop),
                crop_area=crop.area / whole.area,
                box_iou=box_iou(tight, lung_box(true, 0.0)),
                untrusted=reason,
            )
        )
    return scores


def score_table(cohort: Cohort, scores: Sequence[LungScore]) -> pd.DataFrame:
    """One row per image of the cohort.

    Args:
        cohort: n images.
        scores: (n) scores.

    Returns:
        image, patient, and every number of its `LungScore` ('' for an accepted mask).
    """
    images = pd.DataFrame({"image": cohort.rows.path, "patient": cohort.patients})
    return images.assign(**pd.DataFrame([asdict(score) for score in scores]).fillna({"untrusted": ""}))


def read_scores(path: Path) -> list[LungScore]:
    """What `score_table` became as a CSV file."""
    table = pd.read_csv(path, dtype={"untrusted": str}, keep_default_na=False)
    names = [field.name for field in fields(LungScore)]
    return [LungScore(**row | {"untrusted": row["untrusted"] or None}) for row in table[names].to_dict("records")]


def summarize_masks(scores: Sequence[LungScore]) -> MaskMetrics:
    """Of the scores of at least one image."""
    kept = np.array([score.lung_kept for score in scores])
    return MaskMetrics(
        dice=_spread([score.dice for score in scores]),
        iou=_spread([score.iou for score in scores]),
        lung_kept=LungKept(mean=float(kept.mean()), share_at_95=float((kept >= KEPT).mean())),
        box_iou_mean=float(np.mean([score.box_iou for score in scores])),
        crop_area_mean=float(np.mean([score.crop_area for score in scores])),
        untrusted=sum(score.untrusted is not None for score in scores),
    )


def _spread(values: Sequence[float]) -> Spread:
    return Spread(float(np.mean(values)), float(np.median(values)), float(np.percentile(values, 5)), float(np.min(values)))

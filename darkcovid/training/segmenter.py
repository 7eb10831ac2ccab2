"""Training the lung segmenter, with the same loaders, fit and history as any classifier."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from fastai.callback.core import Callback

from darkcovid.core.device import Device
from darkcovid.data.cohort import Cohort
from darkcovid.data.loaders import array_loaders
from darkcovid.data.normalize import Normalize, training_scale
from darkcovid.data.resize import cached_whole_images
from darkcovid.lungs.masks import load_ground_truth_masks
from darkcovid.lungs.segment import segment_lungs
from darkcovid.lungs.unet import INPUT_SIZE, Segmenter, build_unet, dice_bce_loss
from darkcovid.recipe import Recipe
from darkcovid.training.fit import FitResult, create_learner, fit, seed_everything
from darkcovid.training.history import History


@dataclass(frozen=True)
class FittedSegmenter:
    """The fit, the normalizer it used, and the validation set's masks, (n_valid, 256, 256) bool: predicted and
    cleaned, and true; reasons: why a predicted one is not trusted, None where it is."""

    fitted: FitResult
    normalizer: Normalize
    predicted: np.ndarray
    reasons: tuple[str | None, ...]
    truth: np.ndarray


def fit_segmenter(
    recipe: Recipe,
    cohort: Cohort,
    compute: Device,
    cache_dir: Path,
    *,
    checkpoint: Path | None = None,
    resume: bool = False,
    on_epoch: Callable[[History], None] = lambda history: None,
    watchers: Sequence[Callback] = (),
) -> FittedSegmenter:
    """Fit the U-Net to the training set's lung masks and score it on the validation set's patients."""
    pixels = cached_whole_images(cohort.files, cohort.sha256, INPUT_SIZE, cache_dir).array
    masks = load_ground_truth_masks(cohort, INPUT_SIZE, cache_dir).array
    normalizer = training_scale(pixels, np.flatnonzero(cohort.train))
    seed_everything(recipe.training.seed)
    dls = array_loaders(
        cohort,
        pixels,
        targets=masks,
        normalizer=normalizer,
        augmentation=recipe.data.augmentation,
        batch_size=recipe.training.batch_size,
        device=compute.device,
    )
    learner = create_learner(dls, build_unet(), dice_bce_loss, compute, recipe.training)
    fitted = fit(
        learner,
        recipe.training,
        compute,
        metric="dice",
        score=dice_by_image,
        checkpoint=checkpoint,
        resume=resume,
        on_epoch=on_epoch,
        watchers=watchers,
        names=cohort.rows.path.tolist(),
    )
    rows = np.flatnonzero(cohort.valid)
    segmenter = Segmenter(learner.model, normalizer, version="just trained")
    predicted, reasons = zip(*segment_lungs(pixels[rows], segmenter, compute), strict=True)
    return FittedSegmenter(fitted, normalizer, np.stack(predicted), reasons, masks[rows].astype(bool))


def dice_by_image(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Dice of each image's thresholded logits, (b,) in 0..1, computed on the device."""
    predicted, masks = logits[:, 0] > 0, masks.bool()
    overlap = (predicted & masks).sum((1, 2))
    return (2 * overlap + 1) / (predicted.sum((1, 2)) + masks.sum((1, 2)) + 1)

"""Training the lung segmenter, with the same loaders, fit and history as any classifier."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from darkcovid.compute import Compute, forward
from darkcovid.data.cohort import Cohort
from darkcovid.data.loaders import Scale, array_loaders, training_scale
from darkcovid.data.pixels import whole_pixels
from darkcovid.lungs.targets import true_masks
from darkcovid.lungs.trust import clean_mask
from darkcovid.lungs.unet import INPUT_SIZE, build_unet, dice_and_bce
from darkcovid.recipe import Recipe
from darkcovid.training.callbacks import History
from darkcovid.training.fit import Fitted, fit, make_learner, seed_everything


@dataclass(frozen=True)
class FittedSegmenter:
    """The fit, the standardisation it used, and Dice of each validation image after cleaning, (n_valid,) in 0..1."""

    fitted: Fitted
    scale: Scale
    valid_dice: np.ndarray


def fit_segmenter(
    recipe: Recipe,
    cohort: Cohort,
    compute: Compute,
    cache_dir: Path,
    *,
    checkpoint: Path | None = None,
    resume: bool = False,
    on_epoch: Callable[[History], None] = lambda history: None,
) -> FittedSegmenter:
    """Fit the U-Net to the training side's lung masks and score it on the validation side's patients."""
    pixels = whole_pixels(cohort.files, cohort.sha256, INPUT_SIZE, cache_dir).array
    masks = true_masks(cohort, INPUT_SIZE, cache_dir).array
    scale = training_scale(pixels, np.flatnonzero(~cohort.valid))
    seed_everything(recipe.training.seed)
    dls = array_loaders(
        cohort,
        pixels,
        targets=masks,
        scale=scale,
        augment=recipe.data.augment,
        batch_size=recipe.training.batch_size,
        device=compute.device,
    )
    learner = make_learner(dls, build_unet(), dice_and_bce, compute, recipe.training.weight_decay)
    fitted = fit(
        learner,
        recipe.training,
        compute,
        metric="dice",
        score=dice_by_image,
        checkpoint=checkpoint,
        resume=resume,
        on_epoch=on_epoch,
    )
    rows = np.flatnonzero(cohort.valid)
    predicted = predicted_masks(learner.model, pixels[rows], scale, compute)
    return FittedSegmenter(fitted, scale, mask_dice(predicted, masks[rows].astype(bool)))


def predicted_masks(network: torch.nn.Module, pixels: np.ndarray, scale: Scale, compute: Compute) -> np.ndarray:
    """Cleaned masks of (n, 256, 256) uint8 pixels: (n, 256, 256) bool."""
    logits = torch.cat(list(forward(network, pixels, scale.mean, scale.std, compute)))
    return np.stack([clean_mask(mask) for mask in (logits[:, 0] > 0).numpy()])


def dice_by_image(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Dice of each image's thresholded logits, (b,) in 0..1, computed on the device."""
    predicted, masks = logits[:, 0] > 0, masks.bool()
    overlap = (predicted & masks).sum((1, 2))
    return (2 * overlap + 1) / (predicted.sum((1, 2)) + masks.sum((1, 2)) + 1)


def mask_dice(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Dice coefficient of each pair of masks: (n, h, w) bool twice, returns (n,) in 0..1; two empty masks agree (1)."""
    overlap = (predicted & truth).sum((1, 2))
    total = predicted.sum((1, 2)) + truth.sum((1, 2))
    return np.where(total == 0, 1.0, 2 * overlap / np.maximum(total, 1))

"""Training the lung segmenter, with the same loaders, fit and history as any classifier."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from darkcovid.core.device import Device
from darkcovid.data.cohort import Cohort
from darkcovid.data.loaders import array_loaders
from darkcovid.data.normalize import Normalize, training_scale
from darkcovid.data.resize import cached_whole_images
from darkcovid.lungs.masks import load_ground_truth_masks
from darkcovid.lungs.segment import segment_lungs
from darkcovid.lungs.unet import INPUT_SIZE, LungUNet, build_unet, dice_bce_loss
from darkcovid.recipe import Recipe
from darkcovid.training.fit import FitOptions, FitResult, create_learner, fit, seed_everything


@dataclass(frozen=True)
class FittedSegmenter:
    """A fitted lung segmenter, and its masks of the validation set.

    Attributes:
        fitted: The learner, its history and its cost.
        normalizer: Of the network's inputs.
        predicted: (n_valid, 256, 256) bool, cleaned.
        reasons: Why each predicted mask is rejected; None where it is accepted.
        truth: (n_valid, 256, 256) bool.
    """

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
    options: FitOptions = FitOptions(),
) -> FittedSegmenter:
    """Fit the U-Net to the training set's lung masks, and segment the validation set.

    Args:
        recipe: Of task `lung_segmentation`.
        cohort: Images with a lung mask each.
        compute: Device and precision.
        cache_dir: Where decoded images and masks are kept.
        options: Checkpoint, resuming and callbacks.

    Returns:
        The fit, and the validation set's masks.

    Raises:
        DataError: A lung mask is missing or unusable; and as `fit` does.
    """
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
        compute=compute,
    )
    learner = create_learner(dls, build_unet(), dice_bce_loss, compute, recipe.training)
    fitted = fit(
        learner,
        recipe.training,
        compute,
        metric="dice",
        score=dice_by_image,
        image_paths=cohort.rows.path.tolist(),
        options=options,
    )
    rows = np.flatnonzero(cohort.valid)
    segmenter = LungUNet(lambda: learner.model, normalizer, version="just trained")
    predicted, reasons = zip(*segment_lungs(pixels[rows], segmenter, compute), strict=True)
    return FittedSegmenter(fitted, normalizer, np.stack(predicted), reasons, masks[rows].astype(bool))


def dice_by_image(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Dice of each image, on the device.

    Args:
        logits: (b, 1, h, w) float; above 0 is lung.
        masks: (b, h, w) of 0 and 1.

    Returns:
        (b,) float in 0..1; 1 where both are empty.
    """
    predicted, masks = logits[:, 0] > 0, masks.bool()
    overlap = (predicted & masks).sum((1, 2))
    return (2 * overlap + 1) / (predicted.sum((1, 2)) + masks.sum((1, 2)) + 1)

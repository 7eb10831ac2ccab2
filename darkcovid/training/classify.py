"""One arm's inputs become a fitted classifier and its probabilities for every image."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from fastai.losses import CrossEntropyLossFlat
from torch import nn

from darkcovid import models
from darkcovid.compute import Compute, forward
from darkcovid.data.cohort import Cohort
from darkcovid.data.loaders import Scale, array_loaders, training_scale
from darkcovid.recipe import Recipe
from darkcovid.training.callbacks import History
from darkcovid.training.fit import Fitted, fit, make_learner, seed_everything


@dataclass(frozen=True)
class FittedClassifier:
    """The fit, the standardisation it used, and softmax probabilities of every image: (n, classes) float32."""

    fitted: Fitted
    scale: Scale
    probabilities: np.ndarray


def classifier_learner(recipe: Recipe, cohort: Cohort, pixels: np.ndarray, compute: Compute):
    """A fastai Learner for one arm, freshly seeded, and the standardisation of its inputs.

    pixels: (n, h, w) uint8 in the cohort's order. Returns (Learner, Scale).
    """
    scale = training_scale(pixels, np.flatnonzero(~cohort.valid))
    seed_everything(recipe.training.seed)
    dls = array_loaders(
        cohort,
        pixels,
        scale=scale,
        augment=recipe.data.augment,
        batch_size=recipe.training.batch_size,
        device=compute.device,
    )
    network = models.build(recipe.model.arch, len(cohort.classes), pixels.shape[1:], recipe.model.head)
    return make_learner(dls, network, CrossEntropyLossFlat(), compute, recipe.training.weight_decay), scale


def fit_classifier(
    recipe: Recipe,
    cohort: Cohort,
    pixels: np.ndarray,
    compute: Compute,
    *,
    checkpoint: Path | None = None,
    resume: bool = False,
    on_epoch: Callable[[History], None] = lambda history: None,
) -> FittedClassifier:
    """Fit the recipe's network to the training side; the last epoch's weights are the result, none is selected."""
    learner, scale = classifier_learner(recipe, cohort, pixels, compute)
    fitted = fit(
        learner,
        recipe.training,
        compute,
        metric="accuracy",
        score=correct,
        checkpoint=checkpoint,
        resume=resume,
        on_epoch=on_epoch,
    )
    return FittedClassifier(fitted, scale, probabilities(learner.model, pixels, scale, compute))


def correct(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """(b,) bool on the device: the largest logit is the label's."""
    return logits.argmax(1) == labels


def probabilities(network: nn.Module, pixels: np.ndarray, scale: Scale, compute: Compute) -> np.ndarray:
    """Softmax of the network's logits for (n, h, w) uint8 pixels: (n, classes) float32."""
    logits = torch.cat(list(forward(network, pixels, scale.mean, scale.std, compute)))
    return logits.softmax(1).numpy()

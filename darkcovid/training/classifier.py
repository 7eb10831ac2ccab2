"""One arm's inputs become a fitted classifier and its probabilities for every image."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from fastai.callback.core import Callback
from fastai.learner import Learner
from torch import nn

from darkcovid import models
from darkcovid.core.array_cache import StoredArray
from darkcovid.core.device import Device, predict_batches
from darkcovid.core.distributed import get_distributed
from darkcovid.core.errors import DataError
from darkcovid.data.augment import Augment
from darkcovid.data.cohort import Cohort
from darkcovid.data.loaders import array_loaders, feature_loaders
from darkcovid.data.normalize import fit_normalizer
from darkcovid.metrics.classification import classification_metrics, get_metric
from darkcovid.models.transfer import TransferClassifier
from darkcovid.recipe import Augmentation, Recipe
from darkcovid.training.feature_cache import can_cache_features, extract_features
from darkcovid.training.fit import FitResult, create_learner, fit, seed_everything
from darkcovid.training.history import History
from darkcovid.training.loss import ClassificationTask, make_task, num_outputs
from darkcovid.training.monitor import ValidationMetric
from darkcovid.training.progressive import check_supports_any_size
from darkcovid.training.schedule import check_has_backbone


@dataclass(frozen=True)
class ClassifierSetup:
    """A learner that has learned nothing yet, the whole network (of which it may fit only the head), the normalizer of its
    inputs, and what it is asked for."""

    learner: Learner
    network: nn.Module
    normalizer: nn.Module
    objective: ClassificationTask


@dataclass(frozen=True)
class FittedClassifier:
    """The fit, the normalizer it used, and the probabilities of every image: (n, classes) float32, of several processes only in
    the main one; `judge` gives those of any pixels of the same shape, (m, ..., h, w) uint8. Both are of the plain image, as
    `predict` and `serve` show it; `averaged`: of the views of `training.tta_views` together, None without."""

    fitted: FitResult
    normalizer: nn.Module
    probabilities: np.ndarray
    judge: Callable[[StoredArray], np.ndarray]
    averaged: np.ndarray | None = None


def setup_classifier(recipe: Recipe, cohort: Cohort, pixels: StoredArray, compute: Device) -> ClassifierSetup:
    """A fastai Learner for one arm, freshly seeded.

    pixels: (n, h, w) or (n, c, h, w) uint8 in the cohort's order. Raises UsageError and DataError as `models.build` does.
    """
    data, training, train = recipe.data, recipe.training, np.flatnonzero(cohort.train)
    seed_everything(training.seed)
    normalizer = fit_normalizer(data.normalize, pixels, train, data.augmentation, training.batch_size, recipe.model.grayscale)
    objective = make_task(recipe.model.activation, training.loss, cohort.labels[train], len(cohort.classes), compute.device)
    height, width = pixels.shape[-2:]
    network = build_model(recipe, len(cohort.classes), (height, width))
    fitted = network
    if isinstance(network, TransferClassifier) and can_cache_features(recipe, network, len(cohort), (height, width), compute):
        features, fitted = extract_features(network.body, pixels, normalizer, compute), network.head
        dls = feature_loaders(cohort, features, training.batch_size, compute.device, data.oversample)
    else:
        dls = array_loaders(
            cohort,
            pixels,
            normalizer=normalizer,
            augmentation=data.augmentation,
            batch_size=training.batch_size,
            device=compute.device,
            oversample=data.oversample,
        )
    if not get_distributed().main:
        torch.manual_seed(training.seed + get_distributed().rank)  # or every process would draw the same augmentations
    return ClassifierSetup(create_learner(dls, fitted, objective.loss, compute, training), network, normalizer, objective)


def build_model(recipe: Recipe, classes: int, size: tuple[int, int]) -> nn.Module:
    """The network that an arm's recipe asks for. Raises as `models.build` does, and UsageError when a backbone is to be
    frozen and there is none, or when images are to grow and the network takes one size."""
    network = models.create_model(recipe.model, num_outputs(recipe.model.activation, classes), size, recipe.channels)
    check_has_backbone(network, recipe.training)
    check_supports_any_size(network, recipe.channels, size, recipe.training)
    return network


def fit_classifier(
    recipe: Recipe,
    cohort: Cohort,
    pixels: StoredArray,
    compute: Device,
    *,
    checkpoint: Path | None = None,
    resume: bool = False,
    on_epoch: Callable[[History], None] = lambda history: None,
    watchers: Sequence[Callback] = (),
) -> FittedClassifier:
    """Fit the recipe's network to the training set; `training.checkpoint` and `ema_decay` decide whose weights are the result."""
    prepared = setup_classifier(recipe, cohort, pixels, compute)
    fitted = fit(
        prepared.learner,
        recipe.training,
        compute,
        metric="accuracy",
        score=prepared.objective.correct,
        figure=validation_metric(prepared.objective, cohort.classes, recipe.training.monitor),
        checkpoint=checkpoint,
        resume=resume,
        on_epoch=on_epoch,
        watchers=watchers,
        names=cohort.rows.path.tolist(),
    )
    fitted.learner.model = prepared.network

    def judge(seen: StoredArray, view: Augmentation | None = None) -> np.ndarray:
        return predict_proba(prepared.network, seen, prepared.normalizer, prepared.objective, compute, view)

    if not get_distributed().main:
        return FittedClassifier(fitted, prepared.normalizer, np.empty((0, len(cohort.classes)), np.float32), judge)
    plain, averaged = judge(pixels), None
    if recipe.training.tta_views:
        views = [judge(pixels, recipe.data.augmentation) for _ in range(recipe.training.tta_views)]
        averaged = np.stack([plain, *views]).mean(0, dtype=np.float32)
    return FittedClassifier(fitted, prepared.normalizer, plain, judge, averaged)


def validation_metric(objective: ClassificationTask, classes: tuple[str, ...], monitor: str | None) -> ValidationMetric | None:
    """What `training.monitor` names, of all the logits and labels of a side; None where it names nothing. It raises DataError
    where the side has no images for it."""
    if monitor is None:
        return None

    def value(logits: torch.Tensor, labels: torch.Tensor) -> float:
        scores = classification_metrics(labels.numpy(), objective.probabilities(logits).numpy(), classes)
        found = get_metric(scores, monitor)
        if found is None:
            raise DataError(f"training.monitor: the validation set has no images for {monitor}; monitor accuracy or loss")
        return found

    return value


def predict_proba(
    network: nn.Module,
    pixels: StoredArray,
    normalizer: nn.Module,
    objective: ClassificationTask,
    compute: Device,
    augmentation: Augmentation | None = None,
) -> np.ndarray:
    """What the network's logits mean for (n, h, w) uint8 pixels, augmented first if wanted: (n, classes) float32."""
    batches = (
        predict_batches(network, pixels, normalizer, compute)
        if augmentation is None
        else predict_batches(network, pixels, normalizer, compute, augment=Augment(augmentation).altered)
    )
    logits = torch.cat(list(batches))
    return objective.probabilities(logits).numpy()

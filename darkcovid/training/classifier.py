"""One arm's inputs become a fitted classifier and its probabilities for every image."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from torch import nn

from darkcovid import models
from darkcovid.core.array_cache import StoredArray
from darkcovid.core.device import Device, predict_batches
from darkcovid.core.errors import DataError
from darkcovid.data.augment import Augment
from darkcovid.data.cohort import Cohort
from darkcovid.data.loaders import array_loaders, feature_loaders, restart_loaders
from darkcovid.data.normalize import fit_normalizer
from darkcovid.metrics.classification import classification_metrics, get_metric
from darkcovid.models.transfer import TransferClassifier
from darkcovid.recipe import Augmentation, Recipe
from darkcovid.training.feature_cache import can_cache_features, extract_features
from darkcovid.training.fit import FitOptions, FitResult, create_learner, fit, seed_everything
from darkcovid.training.loss import ClassificationTask, make_task, num_outputs
from darkcovid.training.monitor import ValidationMetric
from darkcovid.training.progressive import check_supports_any_size
from darkcovid.training.schedule import check_has_backbone


@dataclass(frozen=True)
class ClassifierSetup:
    """A learner that is ready to be fitted.

    Attributes:
        learner: Of the network, or of its head alone where the backbone is frozen and its features are cached.
        network: The whole network.
        normalizer: Of the network's inputs.
        objective: Loss, and how outputs become probabilities.
    """

    learner: Learner
    network: nn.Module
    normalizer: nn.Module
    objective: ClassificationTask


@dataclass(frozen=True)
class FittedClassifier:
    """A fitted classifier and what it predicts. Predictions are of the plain image, as `darkcovid predict` and `serve` give them.

    Attributes:
        fitted: The learner, its history and its cost.
        normalizer: Of the network's inputs.
        probabilities: (n, classes) float32 of every image of the cohort; (0, classes) in all processes but the main one.
        predict: (m, ..., h, w) uint8 pixels of the training inputs' shape to (m, classes) float32 probabilities.
        averaged: (n, classes) float32, means over the views of `training.tta_views`; None without.
    """

    fitted: FitResult
    normalizer: nn.Module
    probabilities: np.ndarray
    predict: Callable[[StoredArray], np.ndarray]
    averaged: np.ndarray | None = None


def setup_classifier(
    recipe: Recipe, cohort: Cohort, pixels: StoredArray, compute: Device, dls: DataLoaders | None = None
) -> ClassifierSetup:
    """A fastai Learner for one arm, freshly seeded.

    Args:
        recipe: One arm's fit.
        cohort: Its training and validation sets and labels.
        pixels: (n, h, w) or (n, c, h, w) uint8 in the cohort's order.
        compute: Device and precision.
        dls: Loaders made by `array_loaders`, which are used, seeded anew and given the normalizer; None: loaders of their own, of
            a frozen backbone's features where these can be cached.

    Returns:
        The learner and what belongs to it.

    Raises:
        UsageError, DataError: As `build_model` does.
    """
    data, training, train = recipe.data, recipe.training, np.flatnonzero(cohort.train)
    seed_everything(training.seed)
    normalizer = fit_normalizer(data.normalize, pixels, train, data.augmentation, training.batch_size, recipe.model.grayscale)
    objective = make_task(recipe.model.activation, training.loss, cohort.labels[train], len(cohort.classes), compute.device)
    height, width = pixels.shape[-2:]
    network = build_model(recipe, len(cohort.classes), (height, width))
    fitted = network
    if dls is not None:
        restart_loaders(dls, normalizer, compute.device)
    elif isinstance(network, TransferClassifier) and can_cache_features(recipe, network, len(cohort), (height, width), compute):
        features, fitted = extract_features(network.body, pixels, normalizer, compute), network.head
        dls = feature_loaders(cohort, features, training.batch_size, compute, data.oversample)
    else:
        dls = array_loaders(
            cohort,
            pixels,
            normalizer=normalizer,
            augmentation=data.augmentation,
            batch_size=training.batch_size,
            compute=compute,
            oversample=data.oversample,
        )
    if not compute.distributed.is_main:
        torch.manual_seed(training.seed + compute.distributed.rank)  # or every process would draw the same augmentations
    return ClassifierSetup(create_learner(dls, fitted, objective.loss, compute, training), network, normalizer, objective)


def build_model(recipe: Recipe, classes: int, size: tuple[int, int]) -> nn.Module:
    """The network that an arm's recipe asks for.

    Args:
        recipe: One arm's.
        classes: How many.
        size: (height, width) of the input in pixels.

    Returns:
        The network, with one output per class, or one in all for a sigmoid.

    Raises:
        UsageError: A backbone is to be frozen and there is none, or images are to grow and the network takes one size; and as
            `models.create_model` does.
        DataError: As `models.create_model` does.
    """
    network = models.create_model(recipe.model, num_outputs(recipe.model.activation, classes), size, recipe.channels)
    check_has_backbone(network, recipe.training)
    check_supports_any_size(network, recipe.channels, size, recipe.training)
    return network


def fit_classifier(
    recipe: Recipe,
    cohort: Cohort,
    pixels: StoredArray,
    compute: Device,
    options: FitOptions = FitOptions(),
) -> FittedClassifier:
    """Fit the recipe's network to the training set; `training.checkpoint` and `ema_decay` decide whose weights are the result.

    Args:
        recipe: One arm's fit, of one fold and seed.
        cohort: Its training and validation sets and labels.
        pixels: (n, h, w) or (n, c, h, w) uint8 in the cohort's order.
        compute: Device and precision.
        options: Checkpoint, resuming and callbacks.

    Returns:
        The fit, and the probabilities of every image of the cohort.

    Raises:
        UsageError, DataError, DarkCovidError: As `build_model` and `fit` do.
    """
    prepared = setup_classifier(recipe, cohort, pixels, compute)
    fitted = fit(
        prepared.learner,
        recipe.training,
        compute,
        metric="accuracy",
        score=prepared.objective.correct,
        monitored=validation_metric(prepared.objective, cohort.classes, recipe.training.monitor),
        image_paths=cohort.rows.path.tolist(),
        options=options,
    )
    fitted.learner.model = prepared.network

    def predict(pixels: StoredArray, view: Augmentation | None = None) -> np.ndarray:
        return predict_proba(prepared.network, pixels, prepared.normalizer, prepared.objective, compute, view)

    if not compute.distributed.is_main:
        return FittedClassifier(fitted, prepared.normalizer, np.empty((0, len(cohort.classes)), np.float32), predict)
    plain, averaged = predict(pixels), None
    if recipe.training.tta_views:
        views = [predict(pixels, recipe.data.augmentation) for _ in range(recipe.training.tta_views)]
        averaged = np.stack([plain, *views]).mean(0, dtype=np.float32)
    return FittedClassifier(fitted, prepared.normalizer, plain, predict, averaged)


def validation_metric(objective: ClassificationTask, classes: tuple[str, ...], monitor: str | None) -> ValidationMetric | None:
    """What `training.monitor` names.

    Args:
        objective: How logits become probabilities.
        classes: Their names.
        monitor: The metric's name; None: nothing is monitored.

    Returns:
        A function of all logits and labels of a set; None where nothing is monitored. It raises DataError where the set has
        no
        images for the metric.
    """
    if monitor is None:
        return None

    def value(logits: torch.Tensor, labels: torch.Tensor) -> float:
        scores = classification_metrics(labels.numpy(), objective.probabilities(logits).numpy(), classes)
        metric = get_metric(scores, monitor)
        if metric is None:
            raise DataError(f"training.monitor: the validation set has no images for {monitor}; monitor accuracy or loss")
        return metric

    return value


def predict_proba(
    network: nn.Module,
    pixels: StoredArray,
    normalizer: nn.Module,
    objective: ClassificationTask,
    compute: Device,
    augmentation: Augmentation | None = None,
) -> np.ndarray:
    """A classifier's probabilities.

    Args:
        network: The classifier.
        pixels: (n, h, w) or (n, c, h, w) uint8.
        normalizer: Of the network's inputs.
        objective: How logits become probabilities.
        compute: Device and precision.
        augmentation: Drawn for each image first; None: the plain image.

    Returns:
        (n, classes) float32, rows sum to 1.
    """
    batches = (
        predict_batches(network, pixels, normalizer, compute)
        if augmentation is None
        else predict_batches(network, pixels, normalizer, compute, augment=Augment(augmentation).altered)
    )
    logits = torch.cat(list(batches))
    return objective.probabilities(logits).numpy()

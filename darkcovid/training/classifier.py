"""One arm's inputs become a fitted classifier and its probabilities for every image."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from darkcovid import models
from darkcovid.core.array_cache import StoredArray
from darkcovid.core.device import Device, predict_batches
from darkcovid.core.errors import DataError, UsageError
from darkcovid.core.safetensors_io import read_safetensors
from darkcovid.data.augment import Augment
from darkcovid.metrics.classification import classification_metrics, get_metric
from darkcovid.recipe import Augmentation, Recipe
from darkcovid.training.batch_norm import freeze_batch_norm
from darkcovid.training.fit import FitResult
from darkcovid.training.loss import ClassificationTask, num_outputs
from darkcovid.training.monitored_metric import ValidationMetric
from darkcovid.training.progressive import check_supports_any_size
from darkcovid.training.schedule import check_has_backbone


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
    _check_order_of_classes(recipe)
    check_has_backbone(network, recipe.training)
    if recipe.training.batch_norm != "train":
        freeze_batch_norm(network.get_submodule("body"))
    check_supports_any_size(network, recipe.channels, size, recipe.training)
    return network


def _check_order_of_classes(recipe: Recipe) -> None:
    """Refuse the weights of a run whose outputs are this recipe's classes in another order."""
    file = Path(recipe.model.weights)
    if file.suffix != ".safetensors" or not file.is_file():
        return
    about = read_safetensors(file)[1]
    theirs = about.get("classes", []) if isinstance(about, dict) else []
    ours = list(recipe.data.classes)
    if theirs != ours and sorted(theirs) == sorted(ours):
        raise UsageError(f"model.weights: {file}: its classes are {', '.join(theirs)}; give data.classes in that order")


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

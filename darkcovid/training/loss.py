"""What is a network asked for? One logit per class or one for all, the loss that judges it, and the probabilities it means."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from fastai.losses import CrossEntropyLossFlat, FocalLossFlat
from torch import nn
from torch.nn import functional

from darkcovid.recipe import Loss


@dataclass(frozen=True)
class ClassificationTask:
    """A loss, and the probabilities that outputs mean.

    Attributes:
        outputs: Logits per image.
        loss: (b, outputs) logits and (b,) int64 classes to a number, lower is better.
    """

    outputs: int
    loss: nn.Module

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """(b, outputs) logits to (b, classes)."""
        return class_probabilities(logits)

    def correct(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Which predictions are right.

        Args:
            logits: (b, outputs) float.
            labels: (b,) int64.

        Returns:
            (b,) bool on the device: the most probable class is the label's.
        """
        return self.probabilities(logits).argmax(1) == labels


def class_probabilities(logits: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """Softmax, or for one logit the sigmoid and its complement.

    Args:
        logits: (b, outputs) float.
        temperature: By which logits are divided.

    Returns:
        (b, classes) float, rows sum to 1.
    """
    logits = logits / temperature
    if logits.shape[1] > 1:
        return logits.softmax(1)
    first = logits.sigmoid()
    return torch.cat([first, 1 - first], 1)


def batch_weight(loss: Callable | None, labels: torch.Tensor) -> torch.Tensor | int:
    """How much a batch's mean loss counts in the mean of a set, so that this does not depend on how the set is cut into batches.

    Args:
        loss: The loss function.
        labels: (b,) of the batch.

    Returns:
        The sum of its images' class weights where the loss divides by them, as torch's cross entropy does, else its images.
    """
    function = getattr(loss, "func", None)
    if isinstance(function, nn.CrossEntropyLoss) and function.weight is not None:
        return function.weight[torch.Tensor(labels).long()].sum()
    return len(labels)


class BinaryCrossEntropyFirstClass(nn.Module):
    """Binary cross entropy of one logit for the first of two classes: (b, 1) logits, (b,) int64 classes 0 and 1.

    Args:
        weights: (2,) of the classes; None: equal.
        reduction: As torch's losses take it.
    """

    y_int = True

    def __init__(self, weights: torch.Tensor | None, reduction: str = "mean"):
        super().__init__()
        self.weights: torch.Tensor | None
        self.register_buffer("weights", weights)
        self.reduction = reduction

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        labels = torch.Tensor(labels).long()
        each = None if self.weights is None else self.weights[labels]
        target = (labels == 0).float()
        return functional.binary_cross_entropy_with_logits(logits[:, 0], target, each, reduction=self.reduction)


def num_outputs(kind: str, classes: int) -> int:
    """Logits per image.

    Args:
        kind: `softmax` or `sigmoid`.
        classes: How many.

    Returns:
        One for `sigmoid`, one per class for `softmax`.
    """
    return 1 if kind == "sigmoid" else classes


def make_task(outputs: str, loss: Loss, labels: np.ndarray, classes: int, device: torch.device) -> ClassificationTask:
    """The loss of a recipe.

    Args:
        outputs: `softmax` or `sigmoid`.
        loss: The recipe's section.
        labels: (n,) int classes of the training set, for balanced class weights.
        classes: How many.
        device: Of the class weights.

    Returns:
        The loss, and how logits become probabilities.
    """
    weights = None
    if loss.class_weights == "balanced":
        counts = np.bincount(labels, minlength=classes)
        weights = torch.tensor(len(labels) / (classes * counts), dtype=torch.float32, device=device)
    if outputs == "sigmoid":
        return ClassificationTask(num_outputs(outputs, classes), BinaryCrossEntropyFirstClass(weights))
    if loss.focal_gamma:
        return ClassificationTask(classes, FocalLossFlat(gamma=loss.focal_gamma, weight=weights))
    return ClassificationTask(classes, CrossEntropyLossFlat(weight=weights, label_smoothing=loss.label_smoothing))

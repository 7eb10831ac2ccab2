"""A frozen backbone sees the same images in every epoch when nothing alters them: what it says of each is computed once,
and only the head is fitted, to the same numbers."""

import torch
from torch import nn

from darkcovid.core.array_cache import StoredArray
from darkcovid.core.device import Device, predict_batches
from darkcovid.models.transfer import Backbone, TransferClassifier, feature_shape
from darkcovid.recipe import Recipe

MAX_CACHE_BYTES = 4 * 2**30


def can_cache_features(recipe: Recipe, network: TransferClassifier, images: int, size: tuple[int, int], compute: Device) -> bool:
    """Whether a frozen backbone's outputs are the same in every epoch, and fit in 4 GiB.

    Args:
        recipe: One arm's.
        network: A transfer learner.
        images: How many.
        size: (height, width) of the input in pixels.
        compute: Its precision is that of the features.

    Returns:
        True where they can be computed once.
    """
    training = recipe.training
    if (
        not training.freeze_backbone
        or recipe.data.augmentation
        or training.mixup_alpha
        or training.cutmix_alpha
        or training.progressive_resizing
        or training.lung_consistency is not None
    ):
        return False
    if any(_is_stochastic(layer) for layer in network.body.modules()):
        return False
    channels, (height, width) = feature_shape(network.body, size)
    return images * channels * height * width * _kind(compute).itemsize <= MAX_CACHE_BYTES


def extract_features(body: Backbone, pixels: StoredArray, normalizer: nn.Module, compute: Device) -> torch.Tensor:
    """A backbone's feature maps.

    Args:
        body: The backbone.
        pixels: (n, h, w) or (n, c, h, w) uint8.
        normalizer: Of its inputs.
        compute: Device and precision.

    Returns:
        (n, channels, h, w) in the compute's precision, on the CPU.
    """
    return torch.cat([block.to(_kind(compute)) for block in predict_batches(body, pixels, normalizer, compute)])


def _is_stochastic(layer: nn.Module) -> bool:
    """Whether a layer drops something at random in training: Dropout, DropPath, StochasticDepth and their like."""
    name = type(layer).__name__.lower()
    return ("drop" in name or "stochastic" in name) and getattr(layer, "p", 1.0) > 0


def _kind(compute: Device) -> torch.dtype:
    return torch.bfloat16 if compute.precision == "bf16" else torch.float32

"""A frozen backbone sees the same pictures in every epoch when nothing alters them: what it says of each is computed once,
and only the head is fitted, to the same numbers."""

import numpy as np
import torch
from torch import nn

from darkcovid.compute import Compute, forward
from darkcovid.models.transfer import Body, feature_map
from darkcovid.recipe import Recipe

MOST_BYTES = 4 * 2**30


def may_remember(recipe: Recipe, network: nn.Module, pictures: int, size: tuple[int, int], compute: Compute) -> bool:
    """Whether a recipe's backbone says the same of a picture in every epoch, and what it says of all of them fits in 4 GiB."""
    training = recipe.training
    if not training.frozen or recipe.data.augmentation or training.mixup or training.cutmix or training.progressive:
        return False
    if any(_draws(layer) for layer in network.body.modules()):
        return False
    channels, (height, width) = feature_map(network.body, size)
    return pictures * channels * height * width * _kind(compute).itemsize <= MOST_BYTES


def remembered(body: Body, pixels: np.ndarray, normaliser: nn.Module, compute: Compute) -> torch.Tensor:
    """(n, channels, h, w) feature maps of (n, h, w) or (n, c, h, w) uint8 pixels, in the compute's precision, on the CPU."""
    return torch.cat([block.to(_kind(compute)) for block in forward(body, pixels, normaliser, compute)])


def _draws(layer: nn.Module) -> bool:
    """Whether a layer drops something at random in training: Dropout, DropPath, StochasticDepth and their like."""
    name = type(layer).__name__.lower()
    return ("drop" in name or "stochastic" in name) and getattr(layer, "p", 1.0) > 0


def _kind(compute: Compute) -> torch.dtype:
    return torch.bfloat16 if compute.precision == "bf16" else torch.float32

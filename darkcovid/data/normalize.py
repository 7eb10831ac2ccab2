"""What a network is fed: grayscale pixels in 0..1 become standardized ones, by figures that only the training set gave."""

from typing import Any

import numpy as np
import torch
from torch import nn

from darkcovid.core.array_cache import StoredArray, drop_pages
from darkcovid.core.device import add_channel_dim
from darkcovid.data.augment import Augment
from darkcovid.data.input_channels import to_channels
from darkcovid.data.splits import evenly_spaced
from darkcovid.recipe import Augmentation

Scale = tuple[tuple[float, ...], tuple[float, ...]]
IMAGENET: Scale = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MIN_STD = 1e-3
ZCA_IMAGES, ZCA_FLOOR = 1000, 1e-6


class Normalize(nn.Module):
    """Minus a mean, over a standard deviation, per channel.

    Takes (b, c, h, w) in 0..1. One pair of numbers is for every channel; three pairs make three channels, as `to_channels` does.

    Args:
        mean: One per channel.
        std: One per channel.
    """

    kind = "fixed"

    def __init__(self, mean: float | tuple[float, ...] = 0.0, std: float | tuple[float, ...] = 1.0):
        super().__init__()
        self.mean: torch.Tensor
        self.std: torch.Tensor
        self.register_buffer("mean", torch.tensor(mean).float().view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).float().view(-1, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.mean.shape[0] > 1:
            x = to_channels(x, self.mean.shape[0])
        return (x - self.mean) / self.std


class PerImageStandardize(nn.Module):
    """(b, c, h, w): every image minus its own mean, over its own standard deviation."""

    kind = "eachimage"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        spread = x.std((1, 2, 3), keepdim=True).clamp_min(MIN_STD)
        return (x - x.mean((1, 2, 3), keepdim=True)) / spread


class ZCAWhitening(nn.Module):
    """ZCA whitening (Bell and Sejnowski 1997) of (b, 1, h, w).

    Each principal direction of the training images gets unit variance, and the image is turned back into pixels. Directions
    that no training image showed are left out; Keras magnifies them a thousandfold instead.

    Args:
        scale: Applied to the pixels first.
        mean: (h * w,) of the scaled pixels.
        directions: (k, h * w), orthonormal.
        gains: (k,).
    """

    kind = "zca"

    def __init__(self, scale: Normalize, mean: torch.Tensor, directions: torch.Tensor, gains: torch.Tensor):
        super().__init__()
        self.scale = scale
        for name, value in (("mean", mean), ("directions", directions), ("gains", gains)):
            self.register_buffer(name, value)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = self.scale(x).flatten(1) - self.mean
        return ((flat @ self.directions.T * self.gains) @ self.directions).view(x.shape)


def fit_normalizer(
    kind: str, pixels: StoredArray, rows: np.ndarray, augmentation: Augmentation | None, batch_size: int, scale: Scale = IMAGENET
) -> nn.Module:
    """The normalizer of a recipe's `data.normalize`, fitted to the training set.

    Args:
        kind: "none", "per_image", "imagenet", "pretrained", "first_batch", "training" or "zca".
        pixels: (n, h, w) or (n, c, h, w) uint8.
        rows: (m,) int, those of the training set.
        augmentation: For "first_batch", of which one batch is drawn.
        batch_size: For "first_batch".
        scale: For "imagenet" and "pretrained": means and standard deviations, one or three of each.

    Returns:
        A module for (b, c, h, w) float in 0..1.
    """
    if kind == "none":
        return Normalize()
    if kind == "per_image":
        return PerImageStandardize()
    if kind in ("imagenet", "pretrained"):
        return Normalize(*scale)
    if kind == "first_batch":
        return _from_first_batch(pixels, rows, augmentation, batch_size)
    fitted = training_scale(pixels, rows)
    return _zca(pixels, rows, fitted) if kind == "zca" else fitted


def training_scale(pixels: StoredArray, rows: np.ndarray, at_once: int = 256) -> Normalize:
    """Mean and standard deviation over the training set, read a block at a time.

    Args:
        pixels: (n, h, w) or (n, c, h, w) uint8.
        rows: (m,) int, those of the training set.
        at_once: Images read at once.

    Returns:
        The normalizer, of values in 0..1.
    """
    counts = np.zeros(256, np.int64)
    for start in range(0, len(rows), at_once):
        counts += np.bincount(pixels[rows[start : start + at_once]].ravel(), minlength=256)
        drop_pages(pixels)
    levels = np.arange(256) / 255
    mean = float((counts * levels).sum() / counts.sum())
    std = float(np.sqrt((counts * (levels - mean) ** 2).sum() / counts.sum()))
    return Normalize(mean, max(std, MIN_STD))


def normalizer_config(normalizer: nn.Module) -> dict[str, Any]:
    """What can be said of a normalizer in JSON: its kind, and mean and std where they are fixed."""
    scale = getattr(normalizer, "scale", normalizer)
    figures = {name: getattr(scale, name).flatten().tolist() for name in ("mean", "std")} if isinstance(scale, Normalize) else {}
    return {"kind": normalizer.kind, **figures}


def load_normalizer(kind: str, tensors: dict[str, torch.Tensor]) -> nn.Module:
    """The normalizer of a kind, from its state dict.

    Args:
        kind: As `normalizer_config` names it.
        tensors: Its state dict.

    Returns:
        The normalizer.

    Raises:
        KeyError: A tensor is missing.
        RuntimeError: Tensors of another kind's.
    """
    if kind == PerImageStandardize.kind:
        return PerImageStandardize()
    if kind == ZCAWhitening.kind:
        normalizer: nn.Module = ZCAWhitening(
            Normalize(), *(torch.zeros_like(tensors[name]) for name in ("mean", "directions", "gains"))
        )
    else:
        normalizer = Normalize(tuple(tensors["mean"].flatten().tolist()), tuple(tensors["std"].flatten().tolist()))
    normalizer.load_state_dict(tensors)
    return normalizer


def _from_first_batch(pixels: StoredArray, rows: np.ndarray, augmentation: Augmentation | None, batch_size: int) -> Normalize:
    drawn = rows[torch.randperm(len(rows))[:batch_size].numpy()]
    images = add_channel_dim(torch.from_numpy(pixels[drawn])).float() / 255
    if augmentation is not None:
        images = Augment(augmentation).altered(images)
    return Normalize(float(images.mean()), max(float(images.std()), MIN_STD))


def _zca(pixels: StoredArray, rows: np.ndarray, scale: Normalize) -> ZCAWhitening:
    chosen = evenly_spaced(rows, ZCA_IMAGES)
    flat = scale(torch.from_numpy(pixels[chosen]).unsqueeze(1).float() / 255).flatten(1)
    mean = flat.mean(0)
    _, singular, directions = torch.linalg.svd(flat - mean, full_matrices=False)
    variances = singular.square() / len(chosen)
    shown = variances > variances[0] * ZCA_FLOOR
    return ZCAWhitening(scale, mean, directions[shown], (variances[shown] + ZCA_FLOOR).rsqrt())

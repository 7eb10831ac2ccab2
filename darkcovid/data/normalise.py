"""What a network is fed: grayscale pixels in 0..1 become standardised ones, by figures that only the training side gave."""

from typing import Any

import numpy as np
import torch
from torch import nn

from darkcovid.data.augment import Augment
from darkcovid.data.pixels import as_channels
from darkcovid.data.split import spread
from darkcovid.data.store import release
from darkcovid.recipe import Augmentation

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LEAST_STD = 1e-3
ZCA_IMAGES, ZCA_FLOOR = 1000, 1e-6


class Fixed(nn.Module):
    """(b, 1, h, w) in 0..1, or more channels, minus `mean`, over `std`: one channel for one pair of figures, three for three."""

    def __init__(self, mean: float | tuple[float, ...] = 0.0, std: float | tuple[float, ...] = 1.0):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).float().view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).float().view(-1, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - self.mean) / self.std


class EachImage(nn.Module):
    """(b, c, h, w): every image minus its own mean, over its own standard deviation."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        spread = x.std((1, 2, 3), keepdim=True).clamp_min(LEAST_STD)
        return (x - x.mean((1, 2, 3), keepdim=True)) / spread


class Zca(nn.Module):
    """ZCA whitening (Bell and Sejnowski 1997) of (b, 1, h, w): each principal direction of the training images gets unit
    variance, and the picture is turned back into pixels. Directions that no training image showed are left out; Keras
    magnifies them a thousandfold instead.

    mean: (h * w,) of the scaled pixels; directions: (k, h * w), orthonormal; gains: (k,).
    """

    def __init__(self, scale: Fixed, mean: torch.Tensor, directions: torch.Tensor, gains: torch.Tensor):
        super().__init__()
        self.scale = scale
        for name, value in (("mean", mean), ("directions", directions), ("gains", gains)):
            self.register_buffer(name, value)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = self.scale(x).flatten(1) - self.mean
        return ((flat @ self.directions.T * self.gains) @ self.directions).view(x.shape)


def fit_normaliser(
    kind: str, pixels: np.ndarray, rows: np.ndarray, augmentation: Augmentation | None, batch_size: int, grayscale: bool
) -> nn.Module:
    """The normaliser of a recipe's `data.normalise`, fitted to the training `rows` of (n, h, w) uint8 `pixels`.

    augmentation, batch_size: for `augmented_batch`, one batch of which is drawn; grayscale: ImageNet's figures become one.
    """
    if kind == "none":
        return Fixed()
    if kind == "image":
        return EachImage()
    if kind == "imagenet":
        return Fixed(*(float(np.mean(figures)) if grayscale else figures for figures in (IMAGENET_MEAN, IMAGENET_STD)))
    if kind == "augmented_batch":
        return _of_one_batch(pixels, rows, augmentation, batch_size)
    scale = training_scale(pixels, rows)
    return _zca(pixels, rows, scale) if kind == "zca" else scale


def training_scale(pixels: np.ndarray, rows: np.ndarray, at_once: int = 256) -> Fixed:
    """Mean and standard deviation over the training `rows` of (n, h, w) uint8 `pixels`, read a block at a time."""
    counts = np.zeros(256, np.int64)
    for start in range(0, len(rows), at_once):
        counts += np.bincount(pixels[rows[start : start + at_once]].ravel(), minlength=256)
        release(pixels)
    levels = np.arange(256) / 255
    mean = float((counts * levels).sum() / counts.sum())
    std = float(np.sqrt((counts * (levels - mean) ** 2).sum() / counts.sum()))
    return Fixed(mean, max(std, LEAST_STD))


def described(normaliser: nn.Module) -> dict[str, Any]:
    """What can be said of a normaliser in JSON: its kind, and mean and std where they are fixed."""
    scale = getattr(normaliser, "scale", normaliser)
    figures = {name: getattr(scale, name).flatten().tolist() for name in ("mean", "std")} if isinstance(scale, Fixed) else {}
    return {"kind": type(normaliser).__name__.lower(), **figures}


def restored(kind: str, tensors: dict[str, torch.Tensor]) -> nn.Module:
    """The normaliser of which `described` gave this `kind`, from its state dict. Raises KeyError, or RuntimeError for tensors
    of another kind's."""
    if kind == "eachimage":
        return EachImage()
    if kind == "zca":
        normaliser: nn.Module = Zca(Fixed(), *(torch.zeros_like(tensors[name]) for name in ("mean", "directions", "gains")))
    else:
        normaliser = Fixed(tuple(tensors["mean"].flatten().tolist()), tuple(tensors["std"].flatten().tolist()))
    normaliser.load_state_dict(tensors)
    return normaliser


def _of_one_batch(pixels: np.ndarray, rows: np.ndarray, augmentation: Augmentation | None, batch_size: int) -> Fixed:
    drawn = rows[torch.randperm(len(rows))[:batch_size].numpy()]
    images = as_channels(torch.from_numpy(pixels[drawn])).float() / 255
    if augmentation is not None:
        images = Augment(augmentation).altered(images)
    return Fixed(float(images.mean()), max(float(images.std()), LEAST_STD))


def _zca(pixels: np.ndarray, rows: np.ndarray, scale: Fixed) -> Zca:
    chosen = spread(rows, ZCA_IMAGES)
    flat = scale(torch.from_numpy(pixels[chosen]).unsqueeze(1).float() / 255).flatten(1)
    mean = flat.mean(0)
    _, singular, directions = torch.linalg.svd(flat - mean, full_matrices=False)
    variances = singular.square() / len(chosen)
    shown = variances > variances[0] * ZCA_FLOOR
    return Zca(scale, mean, directions[shown], (variances[shown] + ZCA_FLOOR).rsqrt())

"""Do two images show the same once one is transformed onto the other? Affine registration, then the correlation of their texture.

Gauss-Newton on six parameters brings one image's edges onto the other's (Lucas and Kanade 1981, "An iterative image registration
technique with an application to stereo vision", section 4; Baker and Matthews 2004, "Lucas-Kanade 20 years on", section 2), at
mean 0 and length 1, so that it raises their correlation (Evangelidis and Psarakis 2008, "Parametric image alignment using
enhanced correlation coefficient maximization"). Finer texture, which took no part, then says whether it is one image.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, pad

from darkcovid.data.near_duplicates.image_features import EDGES, TEXTURE, banded, fading
from darkcovid.data.near_duplicates.transforms import inverse

ROUGH_STEPS, FINE_STEPS = 8, 4
LARGEST_STEP = 0.1  # of a parameter
DAMPING = 1e-3
SEEN = 0.6  # share of the one that must lie within the other
COMPARED = 0.2  # share of the one that must lie within the other and show something in both
ROUGHLY = 0.8  # correlation of small edges after the rough steps, below which a pair is given up
CORRELATION = 0.79  # of texture after the fine steps, from which a pair is one image


class RegisteredCrops(NamedTuple):
    """k crops as they are registered.

    Attributes:
        crops: (k, 96, 96) uint8.
        shows: (k, 96, 96) bool, where each is not flat.
        thumbnails: (k, 48, 48) float32, its edges.
    """

    crops: np.ndarray
    shows: np.ndarray
    thumbnails: np.ndarray


def same_image(first: RegisteredCrops, other: RegisteredCrops, transform: np.ndarray) -> np.ndarray:
    """Which of k pairs show one image.

    The brighter image of a pair is transformed, whichever comes first. Those that agree already are not registered.

    Args:
        first: One crop of each pair.
        other: The other.
        transform: (k, 2, 3) float32 from coordinates of `other` to those of `first`, in -1..1, right to some 3 % of a side.

    Returns:
        (k,) bool.
    """
    swap = (first.crops.mean((1, 2)) < other.crops.mean((1, 2)))[:, None, None]
    moving = RegisteredCrops(*(np.where(swap, b, a) for a, b in zip(first, other, strict=True)))
    fixed = RegisteredCrops(*(np.where(swap, a, b) for a, b in zip(first, other, strict=True)))
    small, small_aim = (torch.from_numpy(descriptors.thumbnails)[:, None] for descriptors in (moving, fixed))
    start = torch.from_numpy(np.where(swap, inverse(transform), transform))
    same = np.zeros(len(transform), bool)
    for rough_steps, fine_steps in ((0, 0), (ROUGH_STEPS, FINE_STEPS)):
        if same.all():
            break
        left = torch.from_numpy(np.flatnonzero(~same))
        rough = registered(small[left], small_aim[left], start[left], rough_steps)
        alike = correlations(small[left], small_aim[left], rough) >= ROUGHLY
        if alike.any():
            some = left[alike].numpy()
            same[some] = texture_correlations(moving, fixed, some, rough[alike], fine_steps) >= CORRELATION
    return same


def texture_correlations(
    moving: RegisteredCrops, fixed: RegisteredCrops, some: np.ndarray, transform: Tensor, steps: int
) -> np.ndarray:
    """How alike the texture of some pairs is, after fine steps of registration. Flat areas of either take no part.

    Args:
        moving: The crops that are transformed.
        fixed: The crops that they are compared with.
        some: (m,) int, which pairs.
        transform: (m, 2, 3), as the rough steps gave them.
        steps: Fine steps; 0: none.

    Returns:
        (m,) float32 in 0..1.
    """
    cut, cut_aim = moving.crops[some], fixed.crops[some]
    if steps:
        edges, edges_aim = (torch.from_numpy(banded(descriptors, EDGES))[:, None] for descriptors in (cut, cut_aim))
        transform = registered(edges, edges_aim, transform, steps)
    texture, texture_aim = (torch.from_numpy(banded(descriptors, TEXTURE))[:, None] for descriptors in (cut, cut_aim))
    shows, shows_aim = (torch.from_numpy(descriptors.shows[some].astype(np.float32))[:, None] for descriptors in (moving, fixed))
    weight = (_sampled(shows, transform)[0][:, 0] > 0.5) * shows_aim.flatten(1)
    return correlations(texture, texture_aim, transform, weight, COMPARED).numpy()


def correlations(moving: Tensor, fixed: Tensor, transform: Tensor, weight: Tensor | float = 1.0, share: float = SEEN) -> Tensor:
    """|Correlation| of pairs after transforms, weighted toward the middle.

    Args:
        moving: (k, 1, s, s) float, transformed.
        fixed: (k, 1, s, s) float.
        transform: (k, 2, 3) float.
        weight: (k, s * s) float, a further weight.
        share: Of the weight that must lie in both.

    Returns:
        (k,) float in 0..1; 0 where less than `share` lies in both.
    """
    seen, inside = _sampled(moving, transform)
    middle = torch.from_numpy(fading(fixed.shape[-1]))
    weight = inside * middle * weight
    product = _standardized(seen[:, 0], weight)[0] * _standardized(fixed.flatten(1), weight)[0]
    return torch.where(weight.sum(1) >= share * middle.sum(), (product * weight).sum(1).abs(), 0)


def registered(moving: Tensor, fixed: Tensor, transform: Tensor, steps: int) -> Tensor:
    """The transforms that bring images onto others, by Gauss-Newton steps.

    Args:
        moving: (k, 1, s, s) float.
        fixed: (k, 1, s, s) float.
        transform: (k, 2, 3) float, which nearly do.
        steps: How many.

    Returns:
        (k, 2, 3) float.
    """
    if not steps:
        return transform
    layers = _with_slopes(moving)
    for _ in range(steps):
        transform = transform + _step(layers, fixed, transform)
    return transform


def _step(layers: Tensor, fixed: Tensor, transform: Tensor) -> Tensor:
    """(k, 2, 3), by which a Gauss-Newton step changes transforms. layers: as `_with_slopes` gives them."""
    seen, inside = _sampled(layers, transform)
    weight = inside * torch.from_numpy(fading(fixed.shape[-1]))
    now, length = _standardized(seen[:, 0], weight)
    aim, _ = _standardized(fixed.flatten(1), weight)
    aim = aim * torch.sign((now * aim * weight).sum(1, keepdim=True))
    slopes = seen[:, 1:] / length[:, None]
    jacobian = (slopes[:, :, None] * _coordinates(fixed.shape[-1])).flatten(1, 2)
    weighted = jacobian * weight[:, None]
    normal = weighted @ jacobian.mT
    damping = DAMPING * normal.diagonal(dim1=1, dim2=2).mean(1).clamp(min=1e-6)
    step = torch.linalg.solve(normal + damping[:, None, None] * torch.eye(6), weighted @ (aim - now)[..., None])
    return step.reshape(-1, 2, 3).clamp(-LARGEST_STEP, LARGEST_STEP)


def _with_slopes(images: Tensor) -> Tensor:
    """(k, 1, s, s) to (k, 3, s, s): the image, and its slopes across and down, per unit of -1..1."""
    wide = pad(images, (1, 1, 1, 1), mode="replicate")
    pixels_per_unit = images.shape[-1] / 2
    across = (wide[..., 1:-1, 2:] - wide[..., 1:-1, :-2]) / 2 * pixels_per_unit
    down = (wide[..., 2:, 1:-1] - wide[..., :-2, 1:-1]) / 2 * pixels_per_unit
    return torch.cat([images, across, down], 1)


def _sampled(layers: Tensor, transform: Tensor) -> tuple[Tensor, Tensor]:
    """(k, c, s, s) at a transform's places, (k, c, s * s), and 1 where those lie within the image, 0 elsewhere, (k, s * s)."""
    places = affine_grid(transform, [*layers.shape], align_corners=False)
    inside = (places.abs() <= 1).all(-1).float()
    return grid_sample(layers, places, align_corners=False).flatten(2), inside.flatten(1)


def _standardized(values: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """(k, p) to weighted mean 0 and length 1; and the lengths they had, (k, 1)."""
    values = values - (values * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp(min=1e-6)
    length = (values**2 * weight).sum(1, keepdim=True).sqrt().clamp(min=1e-6)
    return values / length, length


def _coordinates(side: int) -> Tensor:
    """(3, side * side): x, y and 1 of each pixel, in -1..1."""
    center = (torch.arange(side) + 0.5) / side * 2 - 1
    y, x = torch.meshgrid(center, center, indexing="ij")
    return torch.stack([x, y, torch.ones_like(x)]).flatten(1)

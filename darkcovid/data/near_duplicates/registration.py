"""Do two images show the same once one is moved onto the other? Affine registration, then the correlation of their texture.

Gauss-Newton on six parameters brings one image's edges onto the other's (Lucas and Kanade 1981, "An iterative image registration
technique with an application to stereo vision", section 4; Baker and Matthews 2004, "Lucas-Kanade 20 years on", section 2), at
mean 0 and length 1, so that it raises their correlation (Evangelidis and Psarakis 2008, "Parametric image alignment using
enhanced correlation coefficient maximization"). Finer texture, which took no part, then says whether it is one image.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, pad

from darkcovid.data.near_duplicates.bands import EDGES, TEXTURE, banded
from darkcovid.data.near_duplicates.transforms import inverse

ROUGH_STEPS, FINE_STEPS = 8, 4
LARGEST_STEP = 0.1  # of a parameter
DAMPING = 1e-3
SEEN = 0.6  # share of the one that must lie within the other
ROUGHLY = 0.8  # correlation of small edges after the rough steps, below which a pair is given up
CORRELATION = 0.79  # of texture after the fine steps, from which a pair is one image


def same_image(first: np.ndarray, other: np.ndarray, thumbs: tuple[np.ndarray, np.ndarray], move: np.ndarray) -> np.ndarray:
    """Which of k pairs show one image: (k,) bool.

    first, other: (k, 96, 96) uint8; thumbs: the edges of both at (k, 48, 48) float32; move: (k, 2, 3) float32 from coordinates
    of `other` to those of `first`, in -1..1, right to some 3 % of a side. The brighter image of a pair is moved, whichever comes
    first.
    """
    swap = (first.mean((1, 2)) < other.mean((1, 2)))[:, None, None]
    moving, still = np.where(swap, other, first), np.where(swap, first, other)
    small, small_aim = (torch.from_numpy(np.where(swap, *edges))[:, None] for edges in (thumbs[::-1], thumbs))
    rough = registered(small, small_aim, torch.from_numpy(np.where(swap, inverse(move), move)), ROUGH_STEPS)
    same = (correlations(small, small_aim, rough) >= ROUGHLY).numpy()
    if same.any():
        same[same] = texture_correlations(moving[same], still[same], rough[torch.from_numpy(same)]) >= CORRELATION
    return same


def texture_correlations(moving: np.ndarray, still: np.ndarray, move: Tensor) -> np.ndarray:
    """(k,) float32, 0..1, after the fine steps: of (k, 96, 96) uint8 images and the moves that the rough steps gave."""
    edges, edges_aim = (torch.from_numpy(banded(shown, EDGES))[:, None] for shown in (moving, still))
    texture, texture_aim = (torch.from_numpy(banded(shown, TEXTURE))[:, None] for shown in (moving, still))
    return correlations(texture, texture_aim, registered(edges, edges_aim, move, FINE_STEPS)).numpy()


def correlations(moving: Tensor, still: Tensor, move: Tensor) -> Tensor:
    """|Correlation| of (k, 1, s, s) pairs after moves, (k,), weighted toward the middle; 0 where they hardly overlap."""
    seen, inside = _sampled(moving, move)
    middle = _fading(still.shape[-1])
    weight = inside * middle
    product = _standardized(seen[:, 0], weight)[0] * _standardized(still.flatten(1), weight)[0]
    return torch.where(weight.sum(1) >= SEEN * middle.sum(), (product * weight).sum(1).abs(), 0)


def registered(moving: Tensor, still: Tensor, move: Tensor, steps: int) -> Tensor:
    """The (k, 2, 3) moves that bring `moving` onto `still`, both (k, 1, s, s), from moves that nearly do."""
    layers = _with_slopes(moving)
    for _ in range(steps):
        move = move + _step(layers, still, move)
    return move


def _step(layers: Tensor, still: Tensor, move: Tensor) -> Tensor:
    """(k, 2, 3), by which a Gauss-Newton step changes moves. layers: as `_with_slopes` gives them."""
    seen, inside = _sampled(layers, move)
    weight = inside * _fading(still.shape[-1])
    now, length = _standardized(seen[:, 0], weight)
    aim, _ = _standardized(still.flatten(1), weight)
    aim = aim * torch.sign((now * aim * weight).sum(1, keepdim=True))
    slopes = seen[:, 1:] / length[:, None]
    jacobian = (slopes[:, :, None] * _coordinates(still.shape[-1])).flatten(1, 2)
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


def _sampled(layers: Tensor, move: Tensor) -> tuple[Tensor, Tensor]:
    """(k, c, s, s) at a move's places, (k, c, s * s), and 1 where those lie within the image, 0 elsewhere, (k, s * s)."""
    places = affine_grid(move, [*layers.shape], align_corners=False)
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


def _fading(side: int) -> Tensor:
    """(side * side): 1 in the middle, 0 at the sides, where copies are cut, framed and stamped."""
    half_wave = torch.sin(torch.pi * (torch.arange(side) + 0.5) / side)
    return torch.outer(half_wave, half_wave).flatten()

"""Augmentation of a whole batch on its device: one homography and one lighting curve an image, in a single pass each.

The presets draw what fastai's `aug_transforms` draws (Howard and Gugger 2020), on one channel, at twice its speed:
flip, rotation, zoom and symmetric warp are multiplied into one 3x3 matrix before a pixel is touched.
"""

import math
from dataclasses import dataclass

import torch
from fastai.torch_core import TensorImage, TensorMask
from fasttransform import ItemTransform
from torch.nn import functional

from darkcovid.data.artefacts import burn_in, shade, whiten_lungs

CORNERS = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])


@dataclass(frozen=True, slots=True)
class Preset:
    """Ranges and probabilities of one augmentation. rotate: degrees either way; zoom: least and greatest; warp and
    light: greatest share; erase: probability that up to three patches of an image become noise; white_lungs (where
    there are masks), shade, text: probabilities of these artefacts."""

    flip: float = 0.5
    rotate: float = 10.0
    zoom: tuple[float, float] = (1.0, 1.1)
    warp: float = 0.2
    light: float = 0.2
    p_affine: float = 0.75
    p_light: float = 0.75
    padding: str = "reflection"
    erase: float = 0.0
    white_lungs: float = 0.0
    text: float = 0.0
    shade: float = 0.0


PRESETS = {
    "fastai_default": Preset(),
    "strong": Preset(
        rotate=15.0, zoom=(0.85, 1.25), light=0.35, padding="zeros", erase=0.05, white_lungs=0.2, text=0.15, shade=0.15
    ),
}


class Augment(ItemTransform):
    """Training batches only. (b, 1, h, w) float in 0..1 is moved, lit and erased; a (b, h, w) mask moves along with it,
    by nearest neighbour; other targets pass through."""

    order, split_idx = 20, 0

    def __init__(self, preset: Preset):
        self.preset = preset

    def encodes(self, batch):
        images, *targets = batch
        matrices = draw_homographies(len(images), images.shape[-2:], self.preset).to(images.device)
        grid = homography_grid(matrices, images.shape[-2:])
        plain = torch.Tensor(images)
        moved = functional.grid_sample(plain, grid, padding_mode=self.preset.padding, align_corners=True)
        targets = [self._moved_mask(target, grid) if isinstance(target, TensorMask) else target for target in targets]
        for target in targets:
            if isinstance(target, TensorMask):
                moved = whiten_lungs(moved, torch.Tensor(target), self.preset.white_lungs)
        seen = lit(moved, *draw_lighting(len(images), self.preset))
        seen = burn_in(shade(erased(seen, self.preset.erase), self.preset.shade), self.preset.text)
        return (TensorImage(seen), *targets)

    def _moved_mask(self, target: TensorMask, grid: torch.Tensor) -> TensorMask:
        plain = torch.Tensor(target).float().unsqueeze(1)
        moved = functional.grid_sample(plain, grid, mode="nearest", padding_mode=self.preset.padding, align_corners=True)
        return TensorMask(moved[:, 0].to(target.dtype))


def draw_homographies(count: int, size: tuple[int, int], preset: Preset) -> torch.Tensor:
    """(count, 3, 3): each maps an output pixel's (x, y, 1) in -1..1 to where its value comes from."""
    sign = 1 - 2 * (torch.rand(count) < preset.flip).float()
    degrees = _sometimes(_between(count, -preset.rotate, preset.rotate), preset.p_affine, 0.0)
    zoom = _sometimes(_between(count, *preset.zoom), preset.p_affine, 1.0)
    centre = _between((count, 2), -1, 1)
    tilt = [_sometimes(_between(count, -preset.warp, preset.warp), preset.p_affine, 0.0) for _ in range(2)]
    affine = rotation(degrees, size) @ zooming(zoom, centre) @ _scaled_columns(sign)
    return warping(*tilt) @ affine


def rotation(degrees: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """(b,) degrees to (b, 3, 3), a true rotation also where height and width differ."""
    height, width = size
    angle = degrees * math.pi / 180
    matrix = torch.eye(3).repeat(len(degrees), 1, 1)
    matrix[:, 0, 0] = matrix[:, 1, 1] = angle.cos()
    aspect = (height - 1) / (width - 1)
    matrix[:, 0, 1] = angle.sin() * aspect
    matrix[:, 1, 0] = -angle.sin() / aspect
    return matrix


def zooming(zoom: torch.Tensor, centre: torch.Tensor) -> torch.Tensor:
    """(b,) magnifications about (b, 2) centres in -1..1 to (b, 3, 3)."""
    matrix = torch.eye(3).repeat(len(zoom), 1, 1)
    matrix[:, 0, 0] = matrix[:, 1, 1] = 1 / zoom
    matrix[:, :2, 2] = (1 - 1 / zoom).unsqueeze(1) * centre
    return matrix


def warping(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Symmetric perspective warp, fastai's: (b,) tilts about both axes to (b, 3, 3)."""
    dx = torch.stack([-y, y, y, -y], 1)
    dy = torch.stack([-x, x, x, -x], 1)
    moved = CORNERS + torch.stack([dx, dy], 2)
    count, (u, v) = len(x), CORNERS.T
    rows = []
    for axis in range(2):
        here = torch.zeros(count, 4, 8)
        here[:, :, 3 * axis : 3 * axis + 3] = torch.stack([moved[..., 0], moved[..., 1], torch.ones(count, 4)], 2)
        here[:, :, 6:] = -moved * (u, v)[axis][:, None]
        rows.append(here)
    solved = torch.linalg.solve(torch.cat(rows, 1), torch.cat([u, v]).repeat(count, 1))
    return torch.cat([solved, torch.ones(count, 1)], 1).view(count, 3, 3)


def homography_grid(matrices: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """(b, 3, 3) to the (b, h, w, 2) sampling grid that `grid_sample` takes, x before y, in -1..1."""
    height, width = size
    y = torch.linspace(-1, 1, height, device=matrices.device)[:, None]
    x = torch.linspace(-1, 1, width, device=matrices.device)[None, :]
    a, b, c = (matrices[:, :, column, None, None] for column in range(3))
    across = a * x + c
    down = b * y
    depth = across[:, 2] + down[:, 2]
    grid = torch.empty(len(matrices), height, width, 2, device=matrices.device)
    for axis in range(2):
        torch.div(across[:, axis] + down[:, axis], depth, out=grid[..., axis])
    return grid


def draw_lighting(count: int, preset: Preset) -> tuple[torch.Tensor, torch.Tensor]:
    """(count,) brightness, 0.5 for none, and (count,) contrast, 1 for none."""
    brightness = _sometimes(_between(count, 0.5 * (1 - preset.light), 0.5 * (1 + preset.light)), preset.p_light, 0.5)
    log_contrast = _between(count, math.log(1 - preset.light), -math.log(1 - preset.light))
    return brightness, _sometimes(log_contrast, preset.p_light, 0.0).exp()


def lit(images: torch.Tensor, brightness: torch.Tensor, contrast: torch.Tensor) -> torch.Tensor:
    """Brightness added and contrast multiplied on the logit scale, so that nothing leaves 0..1 (fastai's lighting)."""
    added, factor = (value.to(images.device).view(-1, 1, 1, 1) for value in (torch.logit(brightness), contrast))
    return images.logit(1e-7).add_(added).mul_(factor).sigmoid_()


def erased(images: torch.Tensor, probability: float) -> torch.Tensor:
    """With `probability`, one to three rectangles of an image, each up to a tenth of it, are replaced by noise."""
    if not probability:
        return images
    height, width = images.shape[-2:]
    for index in torch.nonzero(torch.rand(len(images)) < probability).flatten().tolist():
        for _ in range(int(torch.randint(1, 4, ()))):
            tall, wide = (int(side * float(_between(1, 0.05, 0.32))) for side in (height, width))
            top, left = int(torch.randint(0, height - tall, ())), int(torch.randint(0, width - wide, ()))
            images[index, :, top : top + tall, left : left + wide].uniform_()
    return images


def _between(count: int | tuple[int, ...], low: float, high: float) -> torch.Tensor:
    return torch.rand(count) * (high - low) + low


def _sometimes(values: torch.Tensor, probability: float, otherwise: float) -> torch.Tensor:
    return torch.where(torch.rand(len(values)) < probability, values, torch.tensor(otherwise))


def _scaled_columns(sign: torch.Tensor) -> torch.Tensor:
    return torch.diag_embed(torch.stack([sign, torch.ones_like(sign), torch.ones_like(sign)], 1))

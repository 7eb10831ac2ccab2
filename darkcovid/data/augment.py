"""Augmentation of a whole batch on its device: one homography and one lighting curve per image, in a single pass each.

The presets draw what fastai's `aug_transforms` draws (Howard and Gugger 2020), on one channel, at twice its speed:
flip, rotation, zoom and symmetric warp are multiplied into one 3x3 matrix before a pixel is touched.
"""

import math

import torch
from fastai.torch_core import TensorImage, TensorMask
from fasttransform import ItemTransform
from torch.nn import functional

from darkcovid.data.style import randomize_style
from darkcovid.data.synthetic_artifacts import burn_in_text, illumination_gradient, simulate_consolidation
from darkcovid.recipe import Augmentation

CORNERS = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])


class Augment(ItemTransform):
    """Augmentation of training batches: images are moved, lit and erased, masks move along with them.

    Images are (b, 1, h, w) float in 0..1; masks (b, h, w), moved by nearest neighbor; other targets pass through.

    Args:
        ranges: What is drawn, and from which ranges.
    """

    order, split_idx = 20, 0

    def __init__(self, ranges: Augmentation):
        self.ranges = ranges

    def encodes(self, batch):
        images, *targets = batch
        masks = next((torch.Tensor(target) for target in targets if isinstance(target, TensorMask)), None)
        seen, moved_masks = self._alter(torch.Tensor(images), masks)
        targets = [TensorMask(moved_masks) if isinstance(target, TensorMask) else target for target in targets]
        return (TensorImage(seen), *targets)

    def altered(self, images: torch.Tensor) -> torch.Tensor:
        """Images without targets, each altered by a draw of its own.

        Args:
            images: (b, 1, h, w) float in 0..1.

        Returns:
            (b, 1, h, w) float in 0..1.
        """
        return self._alter(images, None)[0]

    def _alter(self, images: torch.Tensor, masks: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
        ranges = self.ranges
        if ranges.trivial_augment:
            return trivial_augment(images), masks
        height, width = images.shape[-2:]
        matrices = sample_homographies(len(images), (height, width), ranges).to(images.device)
        grid = homography_grid(matrices, (height, width))
        seen = functional.grid_sample(images, grid, padding_mode=ranges.padding, align_corners=True)
        if masks is not None:
            masks = _moved_masks(masks, grid, ranges.padding)
            seen = simulate_consolidation(seen, masks, ranges.consolidation)
        if ranges.lighting:
            seen = apply_lighting(seen, *sample_lighting(len(images), ranges))
        if ranges.channel_shift:
            added = _uniform(len(images), -ranges.channel_shift / 255, ranges.channel_shift / 255).to(seen.device)
            seen = seen.add_(added.view(-1, 1, 1, 1)).clamp_(0, 1)
        seen = randomize_style(seen, ranges)
        return burn_in_text(
            illumination_gradient(random_erasing(seen, ranges.random_erasing), ranges.illumination), ranges.burned_in_text
        ), masks


def trivial_augment(images: torch.Tensor) -> torch.Tensor:
    """TrivialAugment Wide (Müller and Hutter 2021) of torchvision: one random operation at a random strength per image.

    Args:
        images: (b, c, h, w) float in 0..1.

    Returns:
        (b, c, h, w) float in 0..1, of 256 levels.
    """
    from torchvision.transforms.v2 import TrivialAugmentWide

    levels = (images * 255).round().to(torch.uint8)
    return torch.stack([TrivialAugmentWide()(image) for image in levels]).to(images.dtype) / 255


def sample_homographies(count: int, size: tuple[int, int], ranges: Augmentation) -> torch.Tensor:
    """Random geometric transforms.

    Args:
        count: How many.
        size: (height, width) of the images in pixels.
        ranges: What is drawn, and from which ranges.

    Returns:
        (count, 3, 3) float: each maps an output pixel's (x, y, 1) in -1..1 to where its value comes from.
    """
    signs = [1 - 2 * (torch.rand(count) < share).float() for share in (ranges.flip, ranges.flip_vertical)]
    degrees = _with_probability(_uniform(count, -ranges.rotate, ranges.rotate), ranges.p_affine, 0.0)
    zoom = _with_probability(_uniform(count, *ranges.zoom), ranges.p_affine, 1.0)
    center = _uniform((count, 2), -1, 1)
    matrix = rotation_matrix(degrees, size) @ zoom_matrix(zoom, center)
    if ranges.shift or ranges.shear or ranges.zoom_range != (1.0, 1.0):
        matrix = matrix @ _shift_shear_span(count, size, ranges)
    if ranges.perspective_by == "side":
        magnitudes = _with_probability(_uniform((count, 4), -ranges.perspective, ranges.perspective), ranges.p_affine, 0.0)
        return matrix @ perspective_matrix_by_side(magnitudes) @ _scaled(*signs)
    tilt = [_with_probability(_uniform(count, -ranges.perspective, ranges.perspective), ranges.p_affine, 0.0) for _ in range(2)]
    return perspective_matrix(*tilt) @ matrix @ _scaled(*signs)


def _shift_shear_span(count: int, size: tuple[int, int], ranges: Augmentation) -> torch.Tensor:
    shifts = [_with_probability(_uniform(count, -ranges.shift, ranges.shift), ranges.p_affine, 0.0) for _ in range(2)]
    angle = _with_probability(_uniform(count, -ranges.shear, ranges.shear), ranges.p_affine, 0.0) * math.pi / 180
    spans = [_with_probability(_uniform(count, *ranges.zoom_range), ranges.p_affine, 1.0) for _ in range(2)]
    matrix = torch.eye(3).repeat(count, 1, 1)
    matrix[:, 0, 1] = -angle.sin() * (size[0] - 1) / (size[1] - 1)
    matrix[:, 1, 1] = angle.cos()
    matrix[:, 0, 2], matrix[:, 1, 2] = 2 * shifts[0], 2 * shifts[1]
    return matrix @ _scaled(*spans)


def _moved_masks(masks: torch.Tensor, grid: torch.Tensor, padding: str) -> torch.Tensor:
    moved = functional.grid_sample(masks.float().unsqueeze(1), grid, mode="nearest", padding_mode=padding, align_corners=True)
    return moved[:, 0].to(masks.dtype)


def rotation_matrix(degrees: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """A true rotation, also where height and width differ.

    Args:
        degrees: (b,) float.
        size: (height, width) of the images in pixels.

    Returns:
        (b, 3, 3) float.
    """
    height, width = size
    angle = degrees * math.pi / 180
    matrix = torch.eye(3).repeat(len(degrees), 1, 1)
    matrix[:, 0, 0] = matrix[:, 1, 1] = angle.cos()
    aspect = (height - 1) / (width - 1)
    matrix[:, 0, 1] = angle.sin() * aspect
    matrix[:, 1, 0] = -angle.sin() / aspect
    return matrix


def zoom_matrix(zoom: torch.Tensor, center: torch.Tensor) -> torch.Tensor:
    """A magnification about a point.

    Args:
        zoom: (b,) float, above 0; above 1 magnifies.
        center: (b, 2) float, x and y in -1..1.

    Returns:
        (b, 3, 3) float.
    """
    matrix = torch.eye(3).repeat(len(zoom), 1, 1)
    matrix[:, 0, 0] = matrix[:, 1, 1] = 1 / zoom
    matrix[:, :2, 2] = (1 - 1 / zoom).unsqueeze(1) * center
    return matrix


def perspective_matrix(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Symmetric perspective warp of fastai v2.

    Args:
        x: (b,) float, tilt about the one axis.
        y: (b,) float, tilt about the other.

    Returns:
        (b, 3, 3) float.
    """
    dx = torch.stack([-y, y, y, -y], 1)
    dy = torch.stack([-x, x, x, -x], 1)
    return _onto_corners(CORNERS + torch.stack([dx, dy], 2))


def perspective_matrix_by_side(magnitudes: torch.Tensor) -> torch.Tensor:
    """Symmetric perspective warp of fastai v1.

    Args:
        magnitudes: (b, 4) float, by which the right, left, bottom and top side of the frame grow at both ends.

    Returns:
        (b, 3, 3) float.
    """
    right, left, bottom, top = magnitudes.T
    dx = torch.stack([-top, -bottom, top, bottom], 1)
    dy = torch.stack([-left, left, -right, right], 1)
    return _onto_corners(CORNERS + torch.stack([dx, dy], 2))


def _onto_corners(moved: torch.Tensor) -> torch.Tensor:
    """The homographies that take (b, 4, 2) points to CORNERS: (b, 3, 3)."""
    count, (u, v) = len(moved), CORNERS.T
    rows = []
    for axis in range(2):
        here = torch.zeros(count, 4, 8)
        here[:, :, 3 * axis : 3 * axis + 3] = torch.stack([moved[..., 0], moved[..., 1], torch.ones(count, 4)], 2)
        here[:, :, 6:] = -moved * (u, v)[axis][:, None]
        rows.append(here)
    solved = torch.linalg.solve(torch.cat(rows, 1), torch.cat([u, v]).repeat(count, 1))
    return torch.cat([solved, torch.ones(count, 1)], 1).view(count, 3, 3)


def homography_grid(matrices: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Where each output pixel's value comes from.

    Args:
        matrices: (b, 3, 3) float.
        size: (height, width) of the images in pixels.

    Returns:
        (b, h, w, 2) float as `grid_sample` takes it, x before y, in -1..1.
    """
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


def sample_lighting(count: int, ranges: Augmentation) -> tuple[torch.Tensor, torch.Tensor]:
    """Random changes of brightness and contrast.

    Args:
        count: How many.
        ranges: What is drawn, and from which ranges.

    Returns:
        (count,) brightness, 0.5 for none, and (count,) contrast, 1 for none.
    """
    brightness = _with_probability(
        _uniform(count, 0.5 * (1 - ranges.lighting), 0.5 * (1 + ranges.lighting)), ranges.p_lighting, 0.5
    )
    log_contrast = _uniform(count, math.log(1 - ranges.lighting), -math.log(1 - ranges.lighting))
    return brightness, _with_probability(log_contrast, ranges.p_lighting, 0.0).exp()


def apply_lighting(images: torch.Tensor, brightness: torch.Tensor, contrast: torch.Tensor) -> torch.Tensor:
    """Brightness added and contrast multiplied on the logit scale, so that nothing leaves 0..1 (fastai's lighting).

    Args:
        images: (b, c, h, w) float in 0..1.
        brightness: (b,) float in 0..1, 0.5 for none.
        contrast: (b,) float, 1 for none.

    Returns:
        (b, c, h, w) float in 0..1.
    """
    added, factor = (value.to(images.device).view(-1, 1, 1, 1) for value in (torch.logit(brightness), contrast))
    return images.logit(1e-7).add_(added).mul_(factor).sigmoid_()


def random_erasing(images: torch.Tensor, probability: float) -> torch.Tensor:
    """One to three rectangles of an image, each up to a tenth of it, are replaced by noise.

    Args:
        images: (b, c, h, w) float in 0..1, changed in place.
        probability: Of each image.

    Returns:
        `images`.
    """
    if not probability:
        return images
    height, width = images.shape[-2:]
    for index in torch.nonzero(torch.rand(len(images)) < probability).flatten().tolist():
        for _ in range(int(torch.randint(1, 4, ()))):
            tall, wide = (int(side * float(_uniform(1, 0.05, 0.32))) for side in (height, width))
            top, left = int(torch.randint(0, height - tall, ())), int(torch.randint(0, width - wide, ()))
            images[index, :, top : top + tall, left : left + wide].uniform_()
    return images


def _uniform(count: int | tuple[int, ...], low: float, high: float) -> torch.Tensor:
    return torch.rand(count) * (high - low) + low


def _with_probability(values: torch.Tensor, probability: float, otherwise: float) -> torch.Tensor:
    happens = torch.rand(len(values)) < probability
    return torch.where(happens.view(-1, *[1] * (values.dim() - 1)), values, torch.tensor(otherwise))


def _scaled(across: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
    return torch.diag_embed(torch.stack([across, down, torch.ones_like(across)], 1))

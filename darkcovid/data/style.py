"""What tells hospitals apart without anatomy, made random: gray levels, sharpness and frames.

Style randomization in the sense of domain generalization (Zhang et al. 2020, "Generalizing Deep Learning for Medical Image
Segmentation to Unseen Domains via Deep Stacked Transformation"). Images are (b, c, h, w) float in 0..1.
"""

import math

import torch
from torch.nn import functional

from darkcovid.recipe import Augmentation

LEVELS = 256
LARGEST_BAR = 1 / 8  # of a side
LARGEST_REDUCTION = 4.0


def randomize_style(images: torch.Tensor, ranges: Augmentation) -> torch.Tensor:
    """Images in other styles, as far as `ranges` asks for.

    Args:
        images: (b, c, h, w) float in 0..1.
        ranges: What is drawn, and from which ranges.

    Returns:
        (b, c, h, w) float in 0..1.
    """
    if ranges.histogram_matching:
        images = match_to_others(images, _chosen(len(images), ranges.histogram_matching))
    if ranges.gamma != (1.0, 1.0):
        low, high = map(math.log, ranges.gamma)
        exponents = torch.exp(torch.rand(len(images)) * (high - low) + low).to(images.device)
        images = images.clamp(0, 1) ** exponents.view(-1, 1, 1, 1)
    if ranges.reduced_resolution:
        images = reduce_resolution(images, _chosen(len(images), ranges.reduced_resolution))
    if ranges.random_frame:
        images = draw_frames(images, _chosen(len(images), ranges.random_frame))
    return images


def match_to_others(images: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Histogram matching: some images with the gray levels of others of the batch, each level becoming the one up to which the
    other image has as many pixels.

    Args:
        images: (b, c, h, w) float in 0..1.
        chosen: (k,) int, which.

    Returns:
        (b, c, h, w) float in 0..1, the chosen ones of 256 levels.
    """
    if not len(chosen):
        return images
    others = torch.randint(0, len(images), (len(chosen),), device=images.device)
    levels = (images.clamp(0, 1) * (LEVELS - 1)).round().long().flatten(2)
    counts = torch.zeros(*levels.shape[:2], LEVELS, device=images.device)
    shares = counts.scatter_add_(2, levels, torch.ones_like(levels, dtype=counts.dtype)).cumsum(2) / levels.shape[2]
    chosen = chosen.to(images.device)
    table = torch.searchsorted(shares[others].contiguous(), shares[chosen].contiguous() - 1e-6).clamp_max(LEVELS - 1)
    matched = table.gather(2, levels[chosen]).to(images.dtype) / (LEVELS - 1)
    images = images.clone()
    images[chosen] = matched.view(len(chosen), *images.shape[1:])
    return images


def reduce_resolution(images: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Some images reduced and enlarged again, all by one factor.

    Args:
        images: (b, c, h, w) float in 0..1.
        chosen: (k,) int, which.

    Returns:
        (b, c, h, w) float in 0..1.
    """
    if not len(chosen):
        return images
    height, width = images.shape[-2:]
    factor = 1 + float(torch.rand(())) * (LARGEST_REDUCTION - 1)
    small = functional.interpolate(images[chosen], (max(8, int(height / factor)), max(8, int(width / factor))), mode="area")
    images = images.clone()
    images[chosen] = functional.interpolate(small, (height, width), mode="bilinear", align_corners=False)
    return images


def draw_frames(images: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Bars along one to four sides of some images, black or of one gray.

    Args:
        images: (b, c, h, w) float in 0..1.
        chosen: (k,) int, which.

    Returns:
        (b, c, h, w) float in 0..1.
    """
    height, width = images.shape[-2:]
    images = images.clone()
    for index in chosen.tolist():
        top, bottom, left, right = (torch.rand(4) * LARGEST_BAR * (torch.rand(4) < 0.6)).tolist()
        gray = 0.0 if float(torch.rand(())) < 0.5 else float(torch.rand(()))
        images[index, :, : round(top * height)] = gray
        images[index, :, height - round(bottom * height) :] = gray
        images[index, :, :, : round(left * width)] = gray
        images[index, :, :, width - round(right * width) :] = gray
    return images


def _chosen(count: int, probability: float) -> torch.Tensor:
    return torch.nonzero(torch.rand(count) < probability).flatten()

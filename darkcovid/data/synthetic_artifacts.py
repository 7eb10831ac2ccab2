"""What gets in a lung segmenter's way on real radiographs, drawn onto training batches: white lungs, burnt-in text and
arrows, uneven light. Images are (b, 1, h, w) float in 0..1, changed in place; probabilities are per image.
"""

import math
from functools import cache

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch.nn import functional

TEXTS = ("R", "L", "AP", "PORTABLE", "SUPINE", "ERECT", "PA 12:45", "Day 3", "A", "B", "c", "->", "<-", "FRONTAL", "26/03/20")
SIZES = (8, 11, 15, 20, 28)


def simulate_consolidation(images: torch.Tensor, masks: torch.Tensor, probability: float) -> torch.Tensor:
    """Consolidation: one to four soft patches inside an image's lungs rise to the brightness of what surrounds them.

    Args:
        images: (b, 1, h, w) float in 0..1, changed in place.
        masks: (b, h, w) of 0 and 1, 1 inside the lungs.
        probability: Of each image.

    Returns:
        `images`.
    """
    height, width = images.shape[-2:]
    y = torch.linspace(0, 1, height, device=images.device)[:, None]
    x = torch.linspace(0, 1, width, device=images.device)[None, :]
    for index in _chosen(len(images), probability):
        inside = torch.nonzero(masks[index])
        outside = images[index, 0][masks[index] == 0]
        if not len(inside) or not len(outside):
            continue
        soft = functional.avg_pool2d(masks[index].float()[None, None], 9, stride=1, padding=4)[0, 0]
        level = float(torch.quantile(outside[:: max(1, len(outside) // 2000)].float(), 0.5 + 0.4 * float(torch.rand(()))))
        for _ in range(int(torch.randint(1, 5, ()))):
            row, column = inside[int(torch.randint(0, len(inside), ()))].tolist()
            tall, wide = (0.08 + 0.25 * torch.rand(2)).tolist()
            patch = torch.exp(-(((y - row / height) / tall) ** 2) - ((x - column / width) / wide) ** 2)
            share = (0.4 + 0.6 * float(torch.rand(()))) * patch * soft
            images[index, 0].lerp_(torch.full_like(share, level), share)
    return images


def burn_in_text(images: torch.Tensor, probability: float) -> torch.Tensor:
    """One to three words or arrows, white or black, anywhere on an image.

    Args:
        images: (b, 1, h, w) float in 0..1, changed in place.
        probability: Of each image.

    Returns:
        `images`.
    """
    height, width = images.shape[-2:]
    for index in _chosen(len(images), probability):
        for _ in range(int(torch.randint(1, 4, ()))):
            drawn = random_text(*(int(torch.randint(0, len(choice), ())) for choice in (TEXTS, SIZES)))[:height, :width]
            drawn = drawn.to(images.device)
            top = int(torch.randint(0, height - drawn.shape[0] + 1, ()))
            left = int(torch.randint(0, width - drawn.shape[1] + 1, ()))
            window = images[index, 0, top : top + drawn.shape[0], left : left + drawn.shape[1]]
            level = 0.0 if float(torch.rand(())) < 0.2 else 0.7 + 0.3 * float(torch.rand(()))
            window.lerp_(torch.full_like(window, level), drawn)
    return images


def illumination_gradient(images: torch.Tensor, probability: float) -> torch.Tensor:
    """Uneven light, as on a photograph of a film or a screen: brightness falls to 0.4..0.9 of itself across the image.

    Args:
        images: (b, 1, h, w) float in 0..1, changed in place.
        probability: Of each image.

    Returns:
        `images`.
    """
    height, width = images.shape[-2:]
    y = torch.linspace(-1, 1, height, device=images.device)[:, None]
    x = torch.linspace(-1, 1, width, device=images.device)[None, :]
    for index in _chosen(len(images), probability):
        angle, darkest = 2 * math.pi * float(torch.rand(())), 0.4 + 0.5 * float(torch.rand(()))
        along = (math.cos(angle) * x + math.sin(angle) * y) / math.sqrt(2)
        images[index] *= (1 + darkest) / 2 + (1 - darkest) / 2 * along
    return images


@cache
def random_text(text: int, size: int) -> torch.Tensor:
    """The coverage of one of TEXTS in one of SIZES.

    Args:
        text: Index into TEXTS.
        size: Index into SIZES, which are in pixels.

    Returns:
        (h, w) float in 0..1.
    """
    font = ImageFont.load_default(SIZES[size])
    left, top, right, bottom = font.getbbox(TEXTS[text])
    canvas = Image.new("L", (int(right - left) + 2, int(bottom - top) + 2))
    ImageDraw.Draw(canvas).text((1 - left, 1 - top), TEXTS[text], fill=255, font=font)
    return torch.from_numpy(np.asarray(canvas).copy()).float() / 255


def _chosen(count: int, probability: float) -> list[int]:
    if not probability:
        return []  # and no number is drawn, so that presets without artifacts give what they gave before
    return torch.nonzero(torch.rand(count) < probability).flatten().tolist()

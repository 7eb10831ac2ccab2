"""Where does a classifier look that can only be asked? Hide a random half of the image many times over, and compare the answers
while a pixel is shown with those while it is hidden (RISE, Petsiuk et al. 2018). captum does not have it."""

from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional

MASKS = 512  # two draws of as many agree to 0.9 in rank; of 256, to 0.85
CELLS = 7  # per side of a mask, before it is enlarged and shifted (section 3.2)
SHOWN = 0.5
AT_ONCE = 32
SEED = 0

PredictFn = Callable[[np.ndarray], np.ndarray]


def rise_maps(predict: PredictFn, pixels: np.ndarray, targets: np.ndarray, gray: int, masks: int = MASKS) -> np.ndarray:
    """How much more probable a class is while a pixel is shown than while it is hidden, 0 where it is less.

    The paper's map is the mean of the masks, weighted by the answers; here the mean over hidden pixels is taken from it, so that
    0 is of no importance and fewer masks do.

    Args:
        predict: (m, ..., h, w) uint8 pixels to (m, classes) probabilities.
        pixels: (m, h, w) or (m, c, h, w) uint8.
        targets: (m,) int classes.
        gray: What hides a pixel, 0..255.
        masks: How many, the same for all images.

    Returns:
        (m, h, w) float32.
    """
    size, random = pixels.shape[-2:], np.random.default_rng(SEED)
    weighted = np.zeros((len(pixels), *size))
    shown, answers = np.zeros(size), np.zeros(len(pixels))
    for start in range(0, masks, AT_ONCE):
        block = random_masks(random, min(AT_ONCE, masks - start), size)
        shown += block.sum(0)
        for place, (image, target) in enumerate(zip(pixels, targets.tolist(), strict=True)):
            share = block if image.ndim == 2 else block[:, None]
            answer = predict((gray + share * (image - np.float32(gray))).round().astype(np.uint8))[:, target]
            weighted[place] += np.tensordot(answer, block, 1)
            answers[place] += answer.sum()
    while_hidden = (answers[:, None, None] - weighted) / np.maximum(masks - shown, 1e-9)
    return np.maximum(weighted / np.maximum(shown, 1e-9) - while_hidden, 0).astype(np.float32)


def random_masks(random: np.random.Generator, count: int, size: tuple[int, int]) -> np.ndarray:
    """Masks of smooth random cells, enlarged bilinearly and shifted by up to a cell.

    Args:
        random: Where chance comes from.
        count: How many.
        size: (height, width) in pixels.

    Returns:
        (count, height, width) float32 in 0..1; 1 shows a pixel.
    """
    cell = [-(-side // CELLS) for side in size]
    coarse = torch.from_numpy((random.random((count, 1, CELLS + 1, CELLS + 1)) < SHOWN).astype(np.float32))
    large = functional.interpolate(coarse, [(CELLS + 1) * side for side in cell], mode="bilinear")[:, 0].numpy()
    down, across = (random.integers(0, side, count) for side in cell)
    height, width = size
    return np.stack([each[y : y + height, x : x + width] for each, y, x in zip(large, down, across, strict=True)])

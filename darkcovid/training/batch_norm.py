"""BatchNorm of a pretrained backbone: its statistics measured again on training images, or kept out of training."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn

from darkcovid.core.array_cache import StoredArray
from darkcovid.core.device import Device, add_channel_dim, to_channels_last

BATCH_SIZE, SEED = 64, 0


def freeze_batch_norm(body: nn.Module) -> None:
    """Take the scales and shifts of a backbone's BatchNorm out of training; fastai's BnFreeze then keeps its statistics too."""
    for layer in body.modules():
        if isinstance(layer, _BatchNorm):
            layer.requires_grad_(False)


def reestimate_batch_norm(body: nn.Module, pixels: StoredArray, rows: np.ndarray, normalizer: nn.Module, compute: Device) -> None:
    """Measure the running means and variances of a backbone's BatchNorm on images, as torch's `update_bn` does.

    Args:
        body: The backbone, changed in place.
        pixels: (n, h, w) or (n, c, h, w) uint8.
        rows: (m,) int, of the images; they are seen in a fixed random order, so that batches have images of all classes.
        normalizer: Gets (b, c, h, w) float in 0..1.
        compute: Device and precision.
    """
    to_channels_last(body, compute.device)
    normalizer.to(compute.device)
    order = np.random.default_rng(SEED).permutation(rows)

    def batches() -> Iterator[torch.Tensor]:
        for start in range(0, len(order), BATCH_SIZE):
            block = torch.from_numpy(np.array(pixels[np.sort(order[start : start + BATCH_SIZE])])).to(compute.device)
            yield normalizer(add_channel_dim(block).float() / 255)

    with compute.autocast():
        update_bn(batches(), body)

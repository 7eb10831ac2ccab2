"""BatchNorm of a pretrained backbone: its statistics measured again on training images, or kept out of training."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn

from darkcovid.core.array_cache import StoredArray
from darkcovid.core.device import Device, add_channel_dim, to_channels_last

BATCH_SIZE, SEED = 64, 0


def has_batch_norm(network: nn.Module) -> bool:
    """Whether a layer of a network is BatchNorm."""
    return any(isinstance(layer, _BatchNorm) for layer in network.modules())


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
    parts = np.array_split(order, -(-len(order) // BATCH_SIZE))  # none of a single image, which has no variance

    def batches() -> Iterator[torch.Tensor]:
        for part in parts:
            block = torch.from_numpy(np.array(pixels[np.sort(part)])).to(compute.device)
            yield normalizer(add_channel_dim(block).float() / 255)

    with compute.autocast(), nothing_dropped(body):
        update_bn(batches(), body)


@contextmanager
def nothing_dropped(network: nn.Module) -> Iterator[None]:
    """A context in which dropout and stochastic depth let everything through, in training too.

    Args:
        network: Of torch, torchvision or timm, which call the probability `p` or `drop_prob`.

    Yields:
        Nothing.
    """
    found = [(layer, name, getattr(layer, name, None)) for layer in network.modules() for name in ("p", "drop_prob")]
    rates = [(layer, name, rate) for layer, name, rate in found if isinstance(rate, float)]
    for layer, name, _ in rates:
        setattr(layer, name, 0.0)
    try:
        yield
    finally:
        for layer, name, rate in rates:
            setattr(layer, name, rate)

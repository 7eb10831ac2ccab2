"""Training steps of a network as CUDA graphs: forward and backward are recorded once and replayed, since starting some hundred
small kernels one by one takes a GPU longer than computing them."""

from contextlib import contextmanager

import torch
from torch import nn

from darkcovid.core.device import Device
from darkcovid.core.log import logger
from darkcovid.training.callbacks import PlainErrorsCallback


class CudaGraphsCallback(PlainErrorsCallback):
    """Replays the network's training steps for batches of the first one's shape; all else is computed as before.

    Args:
        compute: Device and precision.
    """

    order = 5  # after what freezes BatchNorm, before autocast

    def __init__(self, compute: Device):
        self.compute = compute

    def before_fit(self):
        self.recorded = False

    def before_batch(self):
        if self.training and not self.recorded:
            self.recorded = True
            record_training_step(self.learn.model, self.xb[0], self.compute)

    def after_fit(self):
        self.learn.model.__dict__.pop("forward", None)


def record_training_step(network: nn.Module, batch: torch.Tensor, compute: Device) -> None:
    """Let `network` replay its forward and backward pass in training mode for inputs like `batch`. Its state stays as it is.

    A network that cannot be recorded, as one that looks at its values on the CPU, is left as it was.

    Args:
        network: In training mode, on the GPU. Its `forward` is replaced on the instance.
        batch: (b, c, h, w), as it will get them.
        compute: Device and precision.
    """
    plain, example = network.forward, batch.detach().as_subclass(torch.Tensor).clone()
    try:
        with _state_kept(network), torch.autocast("cuda", torch.bfloat16, compute.precision == "bf16", cache_enabled=False):
            torch.cuda.make_graphed_callables(network, (example,))
    except RuntimeError as error:
        logger.debug("CUDA graphs are not used: %s", error)
        network.__dict__.pop("forward", None)
        return
    replayed = network.forward

    def forward(images: torch.Tensor) -> torch.Tensor:
        alike = images.shape == example.shape and images.dtype == example.dtype
        return (replayed if alike else plain)(images.as_subclass(torch.Tensor))

    network.forward = forward


@contextmanager
def _state_kept(network: nn.Module):
    """The network's buffers and the GPU's random generator are afterwards as they were: recording warms up by some steps."""
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    generator = torch.cuda.get_rng_state()
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
        torch.cuda.set_rng_state(generator)

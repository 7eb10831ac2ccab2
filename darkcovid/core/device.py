"""Which device, in which precision, and a forward pass over many images."""

import ctypes
import gc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from darkcovid.core.array_cache import StoredArray, drop_pages
from darkcovid.core.distributed import ALONE, Distributed, join_process_group
from darkcovid.core.errors import UsageError
from darkcovid.core.processor import has_bf16_instructions

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


@dataclass(frozen=True, slots=True)
class Device:
    """Where and how a model is computed.

    Attributes:
        device: torch's device.
        precision: Of matrix work, `fp32` or `bf16`.
        distributed: This process's place among those that fit together.
    """

    device: torch.device
    precision: str
    distributed: Distributed = ALONE

    def autocast(self) -> AbstractContextManager:
        """A context in which matrix work runs in bf16, or one that changes nothing."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def prepare(self) -> None:
        """Make this process fit for long work on the device; to be called before it, any number of times."""
        if self.device.type == "cpu":
            tune_malloc()

    @contextmanager
    def one_cpu_thread(self) -> Iterator[None]:
        """On a GPU, one thread for the little that is left to the CPU: 16 of them made an augmented batch five times slower."""
        if self.device.type != "cuda":
            yield
            return
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def synchronize(self) -> None:
        """Wait until the device has finished, so that a clock read next is honest."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()


def get_device(device: str = "auto", precision: str = "auto") -> Device:
    """Where and how to compute.

    Args:
        device: "cpu", "cuda" or "mps"; "auto" takes CUDA, then Apple's MPS, then the CPU.
        precision: "fp32" or "bf16"; "auto" takes bf16 where its instructions exist, else fp32.

    Returns:
        Device, precision, and this process's place among those that fit together.

    Raises:
        UsageError: A device is asked for that does not exist here.
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        device = next(name for name, there in present.items() if there)
    elif not present.get(device):
        raise UsageError(f"training.device: no {device} device here; use auto or cpu")
    if precision == "auto":
        precision = "bf16" if _has_bf16(device) else "fp32"
    return Device(torch.device(device), precision, join_process_group())


def tune_malloc() -> None:
    """Let the C library keep this process's freed memory instead of giving it back: on Linux with glibc every large
    tensor is else mapped and cleared again, which costs a quarter of a training step on a CPU."""
    with suppress(OSError, AttributeError):
        c_library = ctypes.CDLL(None)
        c_library.mallopt(M_MMAP_MAX, 0)
        c_library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def trim_malloc() -> None:
    """Give back to the system what `tune_malloc` kept, so that the next peak measured is not an earlier fit's."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def to_channels_last(network: nn.Module, device: torch.device) -> None:
    """Move a network to a device, its weights in the order in which convolutions read them fastest.

    Args:
        network: Changed in place.
        device: torch's.
    """
    network.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] (torch declares it nowhere)


def predict_batches(
    network: nn.Module,
    pixels: StoredArray,
    normalizer: nn.Module,
    compute: Device,
    batch_size: int = 64,
    augment: Callable[[torch.Tensor], torch.Tensor] = lambda images: images,
) -> Iterator[torch.Tensor]:
    """The network's outputs, a batch at a time, in evaluation mode. Moves both modules to the device.

    Args:
        network: The model.
        pixels: (n, h, w) or (n, c, h, w) uint8.
        normalizer: Gets (b, c, h, w) float in 0..1.
        compute: Device and precision.
        batch_size: Images.
        augment: Applied before the normalizer.

    Yields:
        float32 outputs on the CPU.
    """
    compute.prepare()
    network.eval()
    to_channels_last(network, compute.device)
    normalizer.to(compute.device)
    for start in range(0, len(pixels), batch_size):
        block = torch.from_numpy(np.array(pixels[start : start + batch_size])).to(compute.device)
        with torch.inference_mode(), compute.autocast():
            outputs = network(normalizer(augment(add_channel_dim(block).float() / 255)))
        drop_pages(pixels)
        yield outputs.float().cpu()


def _has_bf16(device: str) -> bool:
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device == "mps":
        return False
    return has_bf16_instructions()


def add_channel_dim(pixels: torch.Tensor) -> torch.Tensor:
    """A block of gray images, (b, h, w), or of images of several channels, as (b, c, h, w)."""
    return pixels.unsqueeze(1) if pixels.dim() == 3 else pixels

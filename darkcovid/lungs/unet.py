"""The lung segmenter: a small one-channel U-Net (Ronneberger et al. 2015), and the weights that ship with the package."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from darkcovid.core.device import Device
from darkcovid.core.errors import DataError, one_line
from darkcovid.core.io import sha256_file
from darkcovid.core.safetensors_io import read_safetensors, write_safetensors
from darkcovid.core.slow_progress import slow_step
from darkcovid.data.normalize import Normalize
from darkcovid.lungs.fused_unet import can_fuse, fused_unet

INPUT_SIZE = (256, 256)
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
SHIPPED_WEIGHTS = Path(__file__).parent / "weights" / "lung_unet.safetensors"


@dataclass(frozen=True)
class LungUNet:
    """A lung U-Net.

    Attributes:
        load: Gives the network; called once, when the network is first asked for.
        normalizer: Of its inputs.
        version: SHA-256 of the weights file.
    """

    load: Callable[[], nn.Module]
    normalizer: Normalize
    version: str

    @cached_property
    def network(self) -> nn.Module:
        """(b, 1, 256, 256) normalized pixels to (b, 1, 256, 256) logits."""
        return self.load()

    def fastest(self, compute: Device) -> nn.Module:
        """The network as it is fastest where it is to run: on a CPU with folded BatchNorm, in the precision's type, made once.

        Args:
            compute: Device and precision.

        Returns:
            Normalized float pixels to logits, as `network`.
        """
        if compute.device.type != "cpu" or not can_fuse(DTYPES[compute.precision]):
            return self.network
        if compute.precision not in self._fused:
            self._fused[compute.precision] = fused_unet(self.network, DTYPES[compute.precision])
        return self._fused[compute.precision]

    def __getstate__(self) -> dict[str, Any]:
        """Without what is made for this machine, which can neither be copied nor pickled."""
        return {name: value for name, value in self.__dict__.items() if name != "_fused"}

    @cached_property
    def _fused(self) -> dict[str, nn.Module]:
        return {}


def build_unet() -> nn.Module:
    """segmentation-models-pytorch's U-Net on a MobileNetV3-small encoder, from scratch: 1,960,017 parameters.

    Its last decoder stage, the one at full size, is left out: lungs are large and smooth, so logits at half size,
    upsampled, are about as good, and training takes a quarter less time.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import segmentation_models_pytorch as smp
        from segmentation_models_pytorch.base import SegmentationHead

        unet = smp.Unet(
            "tu-mobilenetv3_small_100",
            encoder_weights=None,
            in_channels=1,
            classes=1,
            decoder_channels=(128, 64, 32, 16, 16),
        )
        unet.decoder.blocks = unet.decoder.blocks[:-1]
        unet.segmentation_head = SegmentationHead(16, 1, kernel_size=3, upsampling=2)
        return unet


def save_segmenter(network: nn.Module, normalizer: Normalize, path: Path) -> None:
    """Write weights in half precision (about 4 MB) with the standardization they were trained on.

    Args:
        network: The U-Net.
        normalizer: Of its inputs.
        path: The safetensors file.
    """
    scale = {"mean": float(normalizer.mean), "std": float(normalizer.std)}
    weights = network.state_dict()
    write_safetensors(
        path, {name: value.half() if value.is_floating_point() else value for name, value in weights.items()}, scale
    )


def load_segmenter(path: str | Path | None = None) -> LungUNet:
    """The segmenter in a file, or the shipped one.

    Args:
        path: A safetensors file; None: the shipped weights.

    Returns:
        The segmenter.

    Raises:
        DataError: The file is absent, damaged, or of another network.
    """
    file = Path(path) if path is not None else SHIPPED_WEIGHTS
    try:
        version = sha256_file(file)
        tensors, scale = read_safetensors(file)
        segmenter = LungUNet(partial(_network, tensors), Normalize(float(scale["mean"]), float(scale["std"])), version)
        if path is not None:
            segmenter.network  # noqa: B018 (built at once, to know whether the file fits; the shipped one does)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = one_line(error)[:200]
        raise DataError(
            f"lungs.weights: {file}: not a lung U-Net's weights ({reason}); leave it out to use the shipped one"
        ) from None
    return segmenter


def _network(tensors: dict[str, torch.Tensor]) -> nn.Module:
    with slow_step("loading the lung U-Net"):
        network = build_unet()
    network.load_state_dict({n: t.float() if t.is_floating_point() else t for n, t in tensors.items()})
    return network.eval().requires_grad_(False)


def dice_bce_loss(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Mean over images of (1 - soft Dice) plus binary cross entropy.

    Args:
        logits: (b, 1, h, w) float.
        masks: (b, h, w) of 0 and 1.

    Returns:
        A number.
    """
    logits, masks = logits[:, 0].float(), masks.float()
    probabilities = logits.sigmoid()
    overlap = (probabilities * masks).sum((1, 2))
    total = probabilities.sum((1, 2)) + masks.sum((1, 2))
    dice = (2 * overlap + 1) / (total + 1)
    return 1 - dice.mean() + nn.functional.binary_cross_entropy_with_logits(logits, masks)

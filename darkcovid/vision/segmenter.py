"""The lung U-Net in a notebook: one image in, its lungs out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from darkcovid.core.device import get_device
from darkcovid.data.resize import mask_to_image, resize
from darkcovid.lungs.box import Box, full_image_box, lung_box
from darkcovid.lungs.segment import segment_lungs
from darkcovid.lungs.unet import INPUT_SIZE, load_segmenter
from darkcovid.report.overlays import PREDICTED, UNTRUSTED, lung_overlay
from darkcovid.vision.images import open_gray


@dataclass(frozen=True, eq=False)
class LungMask:
    """The lungs in one image.

    Attributes:
        image: Mode L.
        mask: (h, w) bool, of the image's size.
        reason: Why the mask is rejected, such as implausible area or position; None where it is accepted.
    """

    image: Image.Image
    mask: np.ndarray
    reason: str | None

    def __repr__(self) -> str:
        state = "accepted" if self.trusted else f"rejected: {self.reason}"
        return f"LungMask({self.image.width}x{self.image.height} px, {self.area:.0%} lung, {state})"

    @property
    def trusted(self) -> bool:
        """Whether the mask is accepted."""
        return self.reason is None

    @property
    def area(self) -> float:
        """Share of the image that is lung, 0..1."""
        return float(self.mask.mean())

    def box(self, margin: float = 0.05) -> Box:
        """The box around both lungs in pixels, or the whole image where the mask is rejected.

        Args:
            margin: It is widened by this share of its sides.

        Returns:
            Its edges, half open.
        """
        return lung_box(self.mask, margin) if self.trusted else full_image_box(self.mask.shape)

    def crop(self, margin: float = 0.05) -> Image.Image:
        """The image cropped to `box`.

        Args:
            margin: As in `box`.

        Returns:
            Mode L.
        """
        box = self.box(margin)
        return self.image.crop((box.left, box.top, box.right, box.bottom))

    def show(self, ax: Any = None, margin: float = 0.05) -> Any:
        """Draw the image, its lungs outlined, and the crop's box.

        Args:
            ax: matplotlib's axes; None: new ones.
            margin: As in `box`.

        Returns:
            The axes.
        """
        axes = plt.subplots(figsize=(4, 4))[1] if ax is None else ax
        outline = [(self.mask, PREDICTED if self.trusted else UNTRUSTED)]
        axes.imshow(lung_overlay(self.image, outline, self.box(margin).fractions(self.mask.shape)))
        axes.set_title("lungs" if self.trusted else f"rejected: {self.reason}")
        axes.axis("off")
        return axes


class Segmenter:
    """The lung U-Net.

    Args:
        weights: A .safetensors of your own, as a run of `recipes/lung_unet.yaml` leaves it; None: the shipped one.
        device: `auto`, `cpu`, `cuda` or `mps`.

    Raises:
        UsageError: No such device.
        DataError: Not such weights.
    """

    def __init__(self, weights: str | Path | None = None, device: str = "auto"):
        self.network, self.compute = load_segmenter(weights), get_device(device)

    def predict(self, image: Any) -> LungMask:
        """The lungs in an image.

        Args:
            image: As `open_gray` takes it: a path, a PIL image or an array.

        Returns:
            The mask, and whether it is accepted.

        Raises:
            DataError: The file is not a readable image.
        """
        return self.predict_many([image])[0]

    def predict_many(self, images: Sequence[Any]) -> list[LungMask]:
        """The lungs in several images, in batches.

        Args:
            images: Each as in `predict`.

        Returns:
            Their masks, in order.

        Raises:
            DataError: A file is not a readable image.
        """
        opened = [open_gray(image) for image in images]
        if not opened:
            return []
        pixels = np.stack([resize(image, INPUT_SIZE) for image in opened])
        found = segment_lungs(pixels, self.network, self.compute)
        return [LungMask(image, _enlarged(mask.mask, image.size), mask.reason) for image, mask in zip(opened, found, strict=True)]


def _enlarged(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(mask_to_image(mask).resize(size, Image.Resampling.BILINEAR)) > 127

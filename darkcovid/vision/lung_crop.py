"""Lung crops as a fastai transform: for these data loaders, and for any DataBlock of radiographs."""

from functools import cached_property
from typing import Any

import numpy as np
from fasttransform import Transform
from PIL import Image

from darkcovid.core.device import Device, get_device
from darkcovid.core.errors import UsageError
from darkcovid.data.resize import resize
from darkcovid.lungs.crop import LungCropTransform
from darkcovid.lungs.segment import LungMasks, segment_lungs
from darkcovid.lungs.unet import INPUT_SIZE, LungUNet, load_segmenter
from darkcovid.recipe import Lungs
from darkcovid.recipe.errors import validate_section


class LungCrop(Transform):
    """Crops radiographs to the lungs, found by the lung U-Net; an image whose mask is rejected stays whole.

    With `CXRDataLoaders` lungs are found once and crops are cached. As an item transform of any other DataBlock it takes PIL
    images and gives PIL images of one size, in place of fastai's Resize.

    Args:
        size: Pixels, or (height, width), of the crops; None: lungs keep about as many pixels as in the whole image
            (`CXRDataLoaders` only).
        margin: The box around both lungs is widened by this share of its sides.
        context: Whether a second channel shows the whole image, as small (`CXRDataLoaders` only).
        mode: `crop`, `mask` (what is outside the lungs is erased), `crop_mask` or `outside` (the lungs are erased).
        weights: A lung U-Net of your own (.safetensors); None: the shipped one.

    Raises:
        UsageError: A value that is not allowed.
    """

    order = 1
    split_idx = None

    def __init__(
        self,
        size: int | tuple[int, int] | None = None,
        margin: float = 0.05,
        context: bool = False,
        mode: str = "crop",
        weights: str | None = None,
    ):
        super().__init__()
        section = {"crop_size": size, "margin": margin, "context_channel": context, "mode": mode, "weights": weights}
        self.section = validate_section(Lungs, section, "LungCrop")

    @cached_property
    def segmenter(self) -> tuple[LungUNet, Device]:
        """The lung U-Net, and where it computes."""
        return load_segmenter(self.section.weights), get_device("cpu")

    def encodes(self, image: Image.Image) -> Any:
        """A PIL image to one of its class and mode, in gray, cropped and resized; of no class of fastai's, to mode L.

        Raises:
            UsageError: No size, or a context channel, which a PIL image has not.
        """
        size = self.section.crop_size
        if size is None or self.section.context_channel:
            raise UsageError("LungCrop: as an item transform it needs a size and no context channel, such as LungCrop(128)")
        gray = image if image.mode == "L" else image.convert("L")
        segmenter, compute = self.segmenter
        (found,) = segment_lungs(resize(gray, INPUT_SIZE)[None], segmenter, compute)
        masks = LungMasks(found.mask[None].astype(np.uint8), (found.reason,), segmenter.version, seconds=0.0, fresh=True)
        shape = size if isinstance(size, tuple) else (size, size)
        cropped = Image.fromarray(LungCropTransform(masks, self.section, shape, letterbox=False).picture(0, gray))
        create = getattr(type(image), "create", None)
        return create(np.asarray(cropped.convert(image.mode))) if create else cropped

"""What is done to a radiograph before it is cropped, erased or resized for a classifier."""

from dataclasses import dataclass
from typing import Any

from PIL import Image

from darkcovid.data.bars import fill_bars
from darkcovid.data.contrast import enhance_contrast
from darkcovid.recipe import Contrast, Data


@dataclass(frozen=True)
class Enhancement:
    """Which of it is done.

    Attributes:
        contrast: `none` or `clahe`.
        fill_bars: Whether bars along the sides, those of letterboxes too, show the mirrored image.
    """

    contrast: Contrast = "none"
    fill_bars: bool = False

    @classmethod
    def of(cls, data: Data) -> "Enhancement":
        """What a recipe asks for."""
        return cls(data.contrast, data.fill_bars)

    def __call__(self, image: Image.Image) -> Image.Image:
        """image: mode L. Returns mode L, of the same size."""
        return enhance_contrast(fill_bars(image) if self.fill_bars else image, self.contrast)

    @property
    def policy(self) -> dict[str, Any]:
        """What distinguishes arrays in the cache; empty for images as they are."""
        contrast = {} if self.contrast == "none" else {"contrast": self.contrast}
        return contrast | ({"fill_bars": True} if self.fill_bars else {})


AS_IT_IS = Enhancement()

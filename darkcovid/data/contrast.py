"""Optional contrast enhancement of a radiograph, before it is cropped, erased or resized for a classifier.

CLAHE is contrast limited adaptive histogram equalization (Zuiderveld 1994, Graphics Gems IV), scikit-image's with its defaults.
"""

import numpy as np
from PIL import Image
from skimage.exposure import equalize_adapthist

from darkcovid.recipe import Contrast

MAX_SIDE = 2048  # pixels; no classifier's input is larger, and what CLAHE takes in time and memory stays bounded


def enhance_contrast(image: Image.Image, contrast: Contrast) -> Image.Image:
    """A grayscale image with another contrast.

    Args:
        image: Mode L.
        contrast: "clahe", or "none" for the image itself.

    Returns:
        Mode L, of the same size. An image of one gray level stays as it is.
    """
    if contrast == "none":
        return image
    darkest, brightest = image.getextrema()
    if darkest == brightest:
        return image
    scale = MAX_SIDE / max(image.size)
    if scale >= 1:
        return _clahe(image)
    reduced = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return _clahe(image.resize(reduced, Image.Resampling.BILINEAR)).resize(image.size, Image.Resampling.BILINEAR)


def _clahe(image: Image.Image) -> Image.Image:
    """Tiles of an eighth of the image's sides, clip limit 0.01, 256 gray levels."""
    levels = equalize_adapthist(np.asarray(image), clip_limit=0.01)
    return Image.fromarray((levels * 255).round().astype(np.uint8))

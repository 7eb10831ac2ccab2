"""A radiograph with lungs outlined and the crop's box drawn, for a person to judge a mask by."""

import math
import textwrap
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps
from scipy.ndimage import binary_erosion

from darkcovid.data.resize import FractionBox, mask_to_image

PREDICTED, TRUE, UNTRUSTED, CROP = "#33BBEE", "#EE7733", "#CC3311", "#EECC66"
LONG_SIDE = 512
HEAT = 0.65
CAPTION = 36


def lung_overlay(image: Image.Image, outlines: Iterable[tuple[np.ndarray, str]], crop: FractionBox | None) -> Image.Image:
    """A radiograph with outlines and a crop.

    Args:
        image: Mode L, any size.
        outlines: Masks, (h, w) bool over the whole image, each with its color.
        crop: (top, left, bottom, right) as fractions of the image's sides; None: none.

    Returns:
        RGB, the long side 512 px.
    """
    scale = LONG_SIDE / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    picture = np.asarray(image.resize(size, Image.Resampling.BILINEAR).convert("RGB")).copy()
    for mask, color in outlines:
        picture[mask_outline(mask, size)] = Image.new("RGB", (1, 1), color).getpixel((0, 0))
    drawn = Image.fromarray(picture)
    if crop is not None:
        top, left, bottom, right = crop
        corners = (left * size[0], top * size[1], right * size[0] - 1, bottom * size[1] - 1)
        ImageDraw.Draw(drawn).rectangle(corners, outline=CROP, width=2)
    return drawn


def heatmap_overlay(pixels: np.ndarray, heat: np.ndarray) -> Image.Image:
    """A gray image under a heatmap: the hotter, the more orange.

    Args:
        pixels: (h, w) uint8.
        heat: (h, w) float, not negative.

    Returns:
        RGB, of the same size.
    """
    share = heat_share(heat)[..., None] * HEAT
    gray = np.repeat(pixels[..., None], 3, 2).astype(np.float32)
    warm = np.array(Image.new("RGB", (1, 1), TRUE).getpixel((0, 0)), np.float32)
    return Image.fromarray((gray * (1 - share) + warm * share).round().astype(np.uint8))


def heat_share(heat: np.ndarray) -> np.ndarray:
    """How strongly a heatmap is drawn: its hottest hundredth fully, so that a single hot pixel does not hide the others.

    Args:
        heat: (h, w) float, not negative.

    Returns:
        (h, w) float in 0..1.
    """
    hottest = float(np.quantile(heat, 0.99)) or float(heat.max())
    return (heat / max(hottest, 1e-9)).clip(0, 1)


def contact_sheet(pictures: Sequence[Image.Image], captions: Sequence[str], columns: int = 4, side: int = 256) -> Image.Image:
    """Images side by side, each fitted into a square over its caption.

    Args:
        pictures: Of any mode and size.
        captions: One per image.
        columns: Images per row.
        side: Of a square, in pixels.

    Returns:
        RGB.
    """
    rows, font = math.ceil(len(pictures) / columns), ImageFont.load_default(13)
    sheet = Image.new("RGB", (min(columns, len(pictures)) * side, rows * (side + CAPTION)), "white")
    drawing = ImageDraw.Draw(sheet)
    for index, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        left, top = index % columns * side, index // columns * (side + CAPTION)
        small = ImageOps.contain(picture.convert("RGB"), (side - 4, side - 4))
        sheet.paste(small, (left + (side - small.width) // 2, top + (side - small.height) // 2))
        lines = textwrap.wrap(caption, side // 7)[:2]
        drawing.multiline_text((left + 4, top + side), "\n".join(lines), fill="black", font=font)
    return sheet


def mask_outline(mask: np.ndarray, size: tuple[int, int], width: int = 2) -> np.ndarray:
    """The inner edge of a mask, by scipy; scikit-image's find_boundaries gives the same, but takes 4 to 5 times as long.

    Args:
        mask: (h, w) bool.
        size: (width, height) of the result in pixels.
        width: Of the edge, in pixels.

    Returns:
        (height, width) bool.
    """
    large = mask_to_image(mask).resize(size, Image.Resampling.BILINEAR)
    filled = np.asarray(large) > 127
    return filled & ~binary_erosion(filled, iterations=width)


def downscale(image: Image.Image, heat: np.ndarray, long_side: int) -> tuple[Image.Image, np.ndarray]:
    """An image and its heatmap, reduced together.

    Args:
        image: Mode L.
        heat: (height, width) float, of the image's size.
        long_side: At most so many pixels on the longer side.

    Returns:
        The image, and the heatmap of its size.
    """
    scale = min(1.0, long_side / max(image.size))
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return (
        image.resize(size, Image.Resampling.BILINEAR),
        np.asarray(Image.fromarray(heat).resize(size, Image.Resampling.BILINEAR)),
    )

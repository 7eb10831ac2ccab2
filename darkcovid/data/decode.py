"""A PNG, JPEG or DICOM file becomes 8-bit grayscale pixels, whatever mode it was saved in."""

import io
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from darkcovid.data.dicom import dicom_grayscale, is_dicom
from darkcovid.errors import DataError, one_line

FORMATS = ("PNG", "JPEG")
SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm", ".dicom")
MAX_PIXELS = 100_000_000


def open_grayscale(path: str | Path) -> Image.Image:
    """Decode one radiograph to a Pillow image of mode `L` (uint8, 0 black to 255 white), upright by its EXIF tag.

    16-bit grayscale keeps its upper 8 bits; one that holds no value above 4095 is taken as 12-bit, none above
    255 as 8-bit. Colour goes through ITU-R 601 luma; transparent pixels show black. DICOM: see `dicom_grayscale`.
    Raises DataError: not a PNG, JPEG or DICOM, truncated, damaged, or more than `MAX_PIXELS` pixels.
    """
    try:
        with Path(path).open("rb") as file:
            return _decoded(file, str(path), MAX_PIXELS)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or one_line(error)})") from None


def bytes_grayscale(content: bytes, name: str, most_pixels: int = MAX_PIXELS) -> Image.Image:
    """The same of a file's bytes; `name` is what an error calls it."""
    return _decoded(io.BytesIO(content), name, most_pixels)


def _decoded(file: BinaryIO, name: str, most_pixels: int) -> Image.Image:
    if is_dicom(file):
        return dicom_grayscale(file, name, most_pixels)
    try:
        with Image.open(file, formats=FORMATS) as image:
            if image.width * image.height > most_pixels:
                raise DataError(f"{name}: {image.width}x{image.height} pixels, more than the {most_pixels:,} allowed")
            image.load()
            return _to_8_bit(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        raise DataError(f"{name}: not a PNG, JPEG or DICOM image") from None
    except (OSError, ValueError, SyntaxError, IndexError, Image.DecompressionBombError) as error:
        raise DataError(f"{name}: cannot be decoded ({one_line(error)})") from None


def decode_grayscale(path: str | Path) -> np.ndarray:
    """The pixels of `open_grayscale`: (height, width) uint8. Raises DataError."""
    return np.asarray(open_grayscale(path))


def _to_8_bit(image: Image.Image) -> Image.Image:
    if image.mode == "L":
        return image
    if image.mode.startswith("I"):
        return Image.fromarray(_narrow(np.asarray(image)))
    if "A" in image.mode or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), rgba).convert("L")
    return image.convert("RGB").convert("L")


def _narrow(pixels: np.ndarray) -> np.ndarray:
    brightest = int(pixels.max(initial=0))
    shift = 0 if brightest <= 255 else 4 if brightest <= 4095 else 8
    return (np.clip(pixels, 0, 65535).astype(np.uint16) >> shift).astype(np.uint8)

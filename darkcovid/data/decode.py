"""A PNG, JPEG or DICOM file becomes 8-bit grayscale pixels, whatever mode it was saved in."""

import io
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from darkcovid.core.errors import DataError, one_line
from darkcovid.data.dicom import is_dicom, load_dicom_grayscale
from darkcovid.data.image_container import JPEG, PNG, without_metadata

FORMATS = ("PNG", "JPEG")
SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".dcm", ".dicom")
MAX_PIXELS = 100_000_000
ORIENTATION = 0x0112
UPRIGHT: dict[int | None, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def load_grayscale(path: str | Path) -> Image.Image:
    """Decode one radiograph, upright by its EXIF tag.

    16-bit grayscale keeps its upper 8 bits; one that holds no value above 4095 is taken as 12-bit, none above 255 as 8-bit. Color
    goes through ITU-R 601 luma; transparent pixels show black. Metadata other than the orientation do not matter, damaged or not.
    DICOM: see `load_dicom_grayscale`.

    Args:
        path: A PNG, JPEG or DICOM file.

    Returns:
        A Pillow image of mode `L`: uint8, 0 black to 255 white.

    Raises:
        DataError: Not a PNG, JPEG or DICOM, truncated, damaged, or more than `MAX_PIXELS` pixels.
    """
    try:
        with Path(path).open("rb") as file:
            return _decoded(file, str(path), MAX_PIXELS)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or one_line(error)})") from None


def looks_like_image(path: str | Path) -> bool:
    """Whether a file begins as a PNG, JPEG or DICOM does, whatever it is called; false where it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return file.read(len(PNG)).startswith((PNG, JPEG)) or (file.seek(0) == 0 and is_dicom(file))
    except OSError:
        return False


def load_grayscale_bytes(content: bytes, name: str, most_pixels: int = MAX_PIXELS) -> Image.Image:
    """As `load_grayscale`, of a file's bytes.

    Args:
        content: The whole file.
        name: What an error calls it.
        most_pixels: That the image may have.

    Returns:
        A Pillow image of mode `L`.

    Raises:
        DataError: As `load_grayscale` does.
    """
    return _decoded(io.BytesIO(content), name, most_pixels)


def _decoded(file: BinaryIO, name: str, most_pixels: int) -> Image.Image:
    if is_dicom(file):
        return load_dicom_grayscale(file, name, most_pixels)
    try:
        return _to_gray_image(file, name, most_pixels)
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001 (a damaged file fails in many ways, and metadata do so in more)
        cause = error
    file.seek(0)
    for content in without_metadata(file.read()):
        try:
            return _to_gray_image(io.BytesIO(content), name, most_pixels)
        except Exception:  # noqa: BLE001
            continue
    if isinstance(cause, UnidentifiedImageError):
        raise DataError(f"{name}: not a PNG, JPEG or DICOM image")
    raise DataError(f"{name}: cannot be decoded ({one_line(cause) or type(cause).__name__})")


def _to_gray_image(file: BinaryIO, name: str, most_pixels: int) -> Image.Image:
    with Image.open(file, formats=FORMATS) as image:
        if image.width * image.height > most_pixels:
            raise DataError(f"{name}: {image.width}x{image.height} pixels, more than the {most_pixels:,} allowed")
        image.load()
        turn = UPRIGHT.get(_orientation(image))
        gray = _to_8_bit(image)
        return gray if turn is None else gray.transpose(turn)


def _orientation(image: Image.Image) -> int | None:
    """The orientation tag alone; the other tags may hold what no reader understands."""
    try:
        value = image.getexif().get(ORIENTATION)
    except Exception:  # noqa: BLE001 (metadata never make sound pixels unreadable)
        return None
    return value if isinstance(value, int) else None


def is_turned(image: Image.Image) -> bool:
    """Whether an image lies on its side by its EXIF tag, so that its width is the picture's height."""
    return _orientation(image) in (5, 6, 7, 8)


def load_grayscale_array(path: str | Path) -> np.ndarray:
    """The pixels of `load_grayscale`: (height, width) uint8. Raises DataError."""
    return np.asarray(load_grayscale(path))


def _to_8_bit(image: Image.Image) -> Image.Image:
    transparent = image.info.get("transparency")
    if image.mode in ("L", "1") or image.mode.startswith("I"):
        gray = np.asarray(image.convert("L") if image.mode == "1" else image)
        if isinstance(transparent, int):
            gray = np.where(gray == transparent, 0, gray)
        return Image.fromarray(gray if gray.dtype == np.uint8 else _to_uint8(gray))
    if "A" in image.mode or transparent is not None:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), rgba).convert("L")
    return image.convert("RGB").convert("L")


def _to_uint8(pixels: np.ndarray) -> np.ndarray:
    brightest = int(pixels.max(initial=0))
    shift = 0 if brightest <= 255 else 4 if brightest <= 4095 else 8
    return (np.clip(pixels, 0, 65535).astype(np.uint16) >> shift).astype(np.uint8)

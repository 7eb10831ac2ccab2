"""A DICOM file becomes the 8-bit grayscale picture that a viewer would show.

Pixel data are decoded by pydicom and whichever of its plugins are installed (the extra `dicom` brings them). Stored values go
through the modality transformation (rescale), then the window or table that the file names, as in DICOM PS3.3 C.11.
"""

import warnings
import zlib
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from darkcovid.errors import DataError, one_line

PREAMBLE, MAGIC = 128, b"DICM"
DEFLATED = "1.2.840.10008.1.2.1.99"
MOST_INFLATED = 1 << 29


def is_dicom(file: BinaryIO) -> bool:
    """Whether a DICOM preamble stands at the beginning; the file is rewound."""
    head = file.read(PREAMBLE + len(MAGIC))
    file.seek(0)
    return head[PREAMBLE:] == MAGIC


def dicom_grayscale(file: BinaryIO, name: str, most_pixels: int) -> Image.Image:
    """A single-frame DICOM as a Pillow image of mode `L`: rescaled, windowed, MONOCHROME1 inverted, colour through luma.

    Without a window or table the values that occur span black to white; padding is black. Raises DataError: no pixels, several
    frames, more than `most_pixels`, a compression for which no plugin is there, or damage.
    """
    import pydicom

    dataset = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _refuse_inflation(file, name)
            dataset = pydicom.dcmread(file)
            _refuse_unfit(dataset, name, most_pixels)
            return Image.fromarray(_shown(dataset))
    except (DataError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 (a damaged file fails in many ways, none of which is ours)
        raise DataError(
            f"{name}: this DICOM cannot be decoded ({_syntax(dataset)}{one_line(error)[:120]}); "
            "where a decoder is missing, install `darkcovid[dicom]`"
        ) from None


def _refuse_unfit(dataset: Any, name: str, most_pixels: int) -> None:
    if "PixelData" not in dataset:
        raise DataError(f"{name}: a DICOM without pixels ({dataset.get('Modality', 'no modality')}); name an image")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames != 1:
        raise DataError(f"{name}: a DICOM of {frames} frames; only single radiographs can be read, so extract one frame first")
    size = int(dataset.Rows), int(dataset.Columns)
    if size[0] * size[1] > most_pixels:
        raise DataError(f"{name}: {size[1]}x{size[0]} pixels, more than the {most_pixels:,} allowed")
    if size[0] * size[1] == 0:
        raise DataError(f"{name}: a DICOM of {size[1]}x{size[0]} pixels")


def _shown(dataset: Any) -> np.ndarray:
    """(height, width) uint8."""
    from pydicom.pixels import apply_modality_lut, apply_voi_lut, convert_color_space

    stored = dataset.pixel_array
    kind = str(dataset.get("PhotometricInterpretation", "MONOCHROME2"))
    if stored.ndim == 3:
        colour = stored if kind == "RGB" else convert_color_space(stored, kind, "RGB", per_frame=False)
        return np.asarray(Image.fromarray(_spread(colour.astype(np.float64), 0, 2 ** int(dataset.BitsStored) - 1)).convert("L"))
    values = np.asarray(apply_modality_lut(stored, dataset), np.float64)
    padding = _padding(stored, dataset)
    if ("VOILUTSequence" in dataset and len(dataset.VOILUTSequence)) or "WindowWidth" in dataset:
        windowed = np.asarray(apply_voi_lut(apply_modality_lut(stored, dataset), dataset), np.float64)
        low, high = _range_of_window(dataset, windowed)
    else:
        windowed = values
        seen = values[~padding] if (~padding).any() else values
        low, high = float(seen.min()), float(seen.max())
    picture = _spread(windowed, low, high)
    if kind == "MONOCHROME1":
        picture = 255 - picture
    picture[padding] = 0
    return picture


def _range_of_window(dataset: Any, windowed: np.ndarray) -> tuple[float, float]:
    """The darkest and the brightest value that the window or table can give."""
    from pydicom.pixels import apply_windowing

    if "VOILUTSequence" in dataset and len(dataset.VOILUTSequence):
        return 0.0, float(2 ** int(dataset.VOILUTSequence[0].LUTDescriptor[2]) - 1)
    centre, width = (np.atleast_1d(np.asarray(dataset[tag].value, float))[0] for tag in ("WindowCenter", "WindowWidth"))
    ends = apply_windowing(np.array([centre - 2 * width - 1, centre + 2 * width + 1]), dataset)
    return float(ends.min()), float(ends.max())


def _padding(stored: np.ndarray, dataset: Any) -> np.ndarray:
    """(height, width) bool: pixels that the file says are no part of the picture."""
    if "PixelPaddingValue" not in dataset:
        return np.zeros(stored.shape, bool)
    ends = dataset.PixelPaddingValue, dataset.get("PixelPaddingRangeLimit", dataset.PixelPaddingValue)
    return (stored >= min(ends)) & (stored <= max(ends))


def _spread(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return (np.clip((values - low) / max(high - low, 1e-9), 0, 1) * 255).round().astype(np.uint8)


def _refuse_inflation(file: BinaryIO, name: str) -> None:
    """A deflated data set may unpack to a thousand times its size; it is measured before it is believed."""
    from pydicom.filereader import read_dataset, read_preamble

    read_preamble(file, False)
    meta = read_dataset(file, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, kind, length: tag >> 16 != 2)
    if meta.get("TransferSyntaxUID") == DEFLATED:
        inflating = zlib.decompressobj(-zlib.MAX_WBITS)
        inflating.decompress(file.read(), MOST_INFLATED)
        if inflating.unconsumed_tail:
            raise DataError(f"{name}: a deflated DICOM that unpacks to more than {MOST_INFLATED >> 20} MB")
    file.seek(0)


def _syntax(dataset: Any) -> str:
    try:
        return f"{dataset.file_meta.TransferSyntaxUID.name}: "
    except (AttributeError, KeyError):
        return ""

"""A DICOM file becomes the 8-bit grayscale image that a viewer would show.

Pixel data are decoded by pydicom and whichever of its plugins are installed (the extra `dicom` brings them); what their values
mean is said by `data/gray.py` and, for palettes and color, here.
"""

import warnings
import zlib
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from darkcovid.core.errors import DataError, one_line
from darkcovid.data.gray import lookup_table, render, to_8_bit

PREAMBLE, MAGIC = 128, b"DICM"
DEFLATED = "1.2.840.10008.1.2.1.99"
MAX_INFLATED_BYTES = 1 << 29
REQUIRED = ("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored")
GRAY, PALETTE = ("MONOCHROME1", "MONOCHROME2"), "PALETTE COLOR"
PLUGINS = ("gdcm", "pylibjpeg-openjpeg")
LONGEST_FIRST = 1 << 10


def is_dicom(file: BinaryIO) -> bool:
    """Whether a DICOM preamble stands at the beginning, or without one the first tag of a data set; the file is rewound."""
    head = file.read(PREAMBLE + len(MAGIC))
    file.seek(0)
    return head[PREAMBLE:] == MAGIC or _begins_data_set(head[:8])


def _begins_data_set(head: bytes) -> bool:
    """Whether a tag of group 2 or 8 stands there, with a text or length that such a first tag has."""
    group, kind = head[:2], head[4:6]
    if group in (b"\2\0", b"\x08\0", b"\0\x08"):
        implicit = group == b"\x08\0" and head[3:4] == b"\0" and int.from_bytes(head[4:8], "little") < LONGEST_FIRST
        return len(head) == 8 and ((kind.isalpha() and kind.isupper()) or implicit)
    return False


def load_dicom_grayscale(file: BinaryIO, name: str, most_pixels: int) -> Image.Image:
    """A single-frame DICOM in gray: grayscale as `gray.render` does, palettes looked up, color through luma.

    Args:
        file: Opened for reading bytes.
        name: What an error calls it.
        most_pixels: That the image may have.

    Returns:
        A Pillow image of mode `L`.

    Raises:
        DataError: No pixels, several frames, more than `most_pixels`, a compression for which no plugin is installed, a kind of
            color that no radiograph has, or damage.
    """
    import pydicom

    dataset = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _check_inflation(file, name)
            dataset = pydicom.dcmread(file, force=True)
            _drop_empty(dataset)
            _check_fit(dataset, name, most_pixels)
            _name_syntax(dataset, name)
            return Image.fromarray(_render(dataset, name))
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001 (a damaged file fails in many ways, none of which is ours)
        cause = f"{_syntax(dataset)}{one_line(error)[:160] or type(error).__name__}"
        raise DataError(f"{name}: this DICOM cannot be decoded ({cause}){_advice(dataset)}") from None


def _drop_empty(dataset: Any) -> None:
    """Anonymizers leave tags without a value; to every reader they are absent."""
    for tag in list(dataset.keys()):
        value = dataset.get_item(tag).value
        if value is None or (hasattr(value, "__len__") and len(value) == 0):
            del dataset[tag]


def _check_fit(dataset: Any, name: str, most_pixels: int) -> None:
    if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
        raise DataError(f"{name}: a DICOM of floating-point pixels; a radiograph has whole numbers")
    if "PixelData" not in dataset:
        raise DataError(f"{name}: a DICOM without pixels ({dataset.get('Modality', 'no modality')}); name an image")
    for keyword in REQUIRED:
        if keyword not in dataset:
            raise DataError(f"{name}: a DICOM without {keyword}, which says how its pixels are to be read")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames != 1:
        raise DataError(f"{name}: a DICOM of {frames} frames; only single radiographs can be read, so extract one frame first")
    size = int(dataset.Rows), int(dataset.Columns)
    if size[0] * size[1] > most_pixels:
        raise DataError(f"{name}: {size[1]}x{size[0]} pixels, more than the {most_pixels:,} allowed")
    if size[0] * size[1] == 0:
        raise DataError(f"{name}: a DICOM of {size[1]}x{size[0]} pixels")


def _name_syntax(dataset: Any, name: str) -> None:
    """Where the file does not name its transfer syntax, it is how pydicom read it; compressed pixels could be anything."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    dataset.file_meta = getattr(dataset, "file_meta", None) or FileMetaDataset()
    if dataset.file_meta.get("TransferSyntaxUID"):
        return
    if dataset["PixelData"].is_undefined_length:
        raise DataError(f"{name}: a DICOM without TransferSyntaxUID, and its pixels are compressed; only the sender knows how")
    implicit, little_endian = dataset.original_encoding
    plain = ExplicitVRLittleEndian if little_endian else ExplicitVRBigEndian
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else plain


def _render(dataset: Any, name: str) -> np.ndarray:
    """(height, width) uint8."""
    from pydicom.pixels import get_decoder

    syntax = dataset.file_meta.TransferSyntaxUID
    stored, pixels = get_decoder(syntax).as_array(dataset)
    kind = str(pixels["photometric_interpretation"])  # of the array: YBR has become RGB
    if kind in GRAY and stored.ndim == 2:
        return render(stored, dataset, syntax.is_little_endian)
    if kind == PALETTE and stored.ndim == 2:
        return _luma(_looked_up(stored, dataset, syntax.is_little_endian))
    if kind == "RGB" and stored.ndim == 3 and stored.shape[2] == 3:
        return _luma(to_8_bit(stored / (2.0 ** int(dataset.BitsStored) - 1)))
    samples = 1 if stored.ndim == 2 else stored.shape[-1]
    raise DataError(f"{name}: a DICOM of {kind} with {samples} value(s) per pixel, which cannot be shown as gray")


def _luma(color: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(color).convert("L"))


def _looked_up(stored: np.ndarray, dataset: Any, little_endian: bool) -> np.ndarray:
    """(h, w) indices through the palette (PS3.3 C.7.6.3.1.5): (h, w, 3) uint8."""
    names = [f"{color}PaletteColorLookupTable" for color in ("Red", "Green", "Blue")]
    if f"{names[0]}Data" in dataset:
        signed = stored.dtype.kind == "i"
        tables = [lookup_table(dataset, name, little_endian, signed) for name in names]
        whole = [table for table in tables if table is not None]
        if len(whole) < len(tables):
            raise ValueError("its palette is not whole")
        color = np.stack([table(stored) for table in whole], -1)
        brightest = max(int(table.values.max()) for table in whole)
    else:
        from pydicom.pixels import apply_color_lut

        color = apply_color_lut(stored.astype(np.int64), dataset).astype(np.int64)
        brightest = int(color.max(initial=0))
    wide = brightest > 255  # entries of 8 bits are often declared, or stored, as 16
    return to_8_bit(color / (65535 if wide else 255))


def _check_inflation(file: BinaryIO, name: str) -> None:
    """A deflated data set may unpack to a thousand times its size; it is measured before it is believed."""
    from pydicom.filereader import read_dataset, read_preamble

    read_preamble(file, True)
    meta = read_dataset(file, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, kind, length: tag >> 16 != 2)
    if meta.get("TransferSyntaxUID") == DEFLATED:
        inflating = zlib.decompressobj(-zlib.MAX_WBITS)
        inflating.decompress(file.read(), MAX_INFLATED_BYTES)
        if inflating.unconsumed_tail:
            raise DataError(f"{name}: a deflated DICOM that unpacks to more than {MAX_INFLATED_BYTES >> 20} MB")
    file.seek(0)


def _syntax(dataset: Any) -> str:
    try:
        return f"{dataset.file_meta.TransferSyntaxUID.name}: "
    except (AttributeError, KeyError):
        return ""


def _advice(dataset: Any) -> str:
    """What to install where no decoder reads all of this compression and the extra would bring one; nothing elsewhere."""
    from pydicom.pixels import get_decoder
    from pydicom.uid import JPEGBaseline8Bit

    try:
        syntax = dataset.file_meta.TransferSyntaxUID
        decoder = get_decoder(syntax)
    except (AttributeError, KeyError, NotImplementedError):
        return ""
    partial = {"pillow"} if syntax != JPEGBaseline8Bit else set()
    missing = " ".join(decoder.missing_dependencies)
    if set(decoder.available_plugins) - partial or not any(plugin in missing for plugin in PLUGINS):
        return ""
    return "; a decoder is missing: install `darkcovid[dicom]`"

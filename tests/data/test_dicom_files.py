"""Every file of pydicom's own test data: shown as an independent rendering shows it, or refused for the true cause."""

from pathlib import Path

import numpy as np
import pydicom
import pytest

from darkcovid.core.errors import DataError
from darkcovid.data.decode import load_grayscale, load_grayscale_array

FOLDER = Path(pydicom.__path__[0]) / "data"
REFUSED = {
    "JPEG-lossy.dcm": "12-bit precision",
    "JPGExtended.dcm": "12-bit precision",
    "JPEG2000-embedded-sequence-delimiter.dcm": "cannot be decoded .JPEG 2000",
    "MR_truncated.dcm": "number of bytes of pixel data is less than expected",
    "badVR.dcm": "'1A'",
    "nested_priv_SQ.dcm": "without Rows",
    "meta_missing_tsyntax.dcm": "without Rows",
}
SAME = [
    ("SC_rgb_jpeg_dcmd.dcm", "SC_rgb_jpeg.dcm", 2),
    ("SC_rgb_rle.dcm", "SC_ybr_full_422_uncompressed.dcm", 25),  # chroma of every second column
    ("SC_rgb_rle.dcm", "SC_rgb_jpeg_gdcm.dcm", 0),
    ("SC_rgb_rle.dcm", "SC_rgb_rle_16bit.dcm", 1),
    ("SC_rgb_rle.dcm", "SC_rgb_rle_32bit.dcm", 1),
    ("SC_rgb_small_odd.dcm", "SC_rgb_small_odd_big_endian.dcm", 0),
    ("MR_small.dcm", "MR_small_jp2klossless.dcm", 0),
    ("MR_small.dcm", "MR_small_bigendian.dcm", 0),
    ("MR_small.dcm", "MR_small_padded.dcm", 0),
]


def files():
    return [path for path in sorted(FOLDER.rglob("*")) if path.is_file() and path.suffix not in (".py", ".pyc")]


def rendered(path):
    """By pydicom's decoded pixels and formulas of our own; the bundled files have neither VOI LUT nor function."""
    dataset = pydicom.dcmread(path, force=True)
    stored = dataset.pixel_array.astype(float)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        stored = pydicom.pixels.apply_color_lut(dataset.pixel_array, dataset) / 257
    if stored.ndim == 3:
        top = 255 if dataset.PhotometricInterpretation == "PALETTE COLOR" else 2 ** (8 * dataset.pixel_array.itemsize) - 1
        return (stored / top * 255) @ np.array([0.299, 0.587, 0.114])
    values = stored * float(dataset.get("RescaleSlope", 1)) + float(dataset.get("RescaleIntercept", 0))
    padding = np.zeros(values.shape, bool)
    if dataset.get("PixelPaddingValue") is not None:
        padding = stored == np.array(int(dataset.PixelPaddingValue)).astype(dataset.pixel_array.dtype).astype(float)
    if dataset.get("WindowWidth"):
        center, width = (float(np.atleast_1d(dataset[name].value)[0]) for name in ("WindowCenter", "WindowWidth"))
        gray = np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1)
    else:
        gray = (values - values[~padding].min()) / np.ptp(values[~padding])
    gray = 1 - gray if dataset.PhotometricInterpretation == "MONOCHROME1" else gray
    return np.where(padding, 0, gray) * 255


@pytest.mark.parametrize("path", files(), ids=lambda path: path.name)
def test_a_bundled_file_is_right_or_refused_with_the_cause(path):
    try:
        dataset = pydicom.dcmread(path, force=True)
        size, pixels = (int(dataset.Rows), int(dataset.Columns)), "PixelData" in dataset
        frames = str(dataset.get("NumberOfFrames") or 1)
    except (AttributeError, ValueError, TypeError):
        size, pixels, frames = None, False, "1"
    cause = REFUSED.get(path.name)
    if cause is None and frames != "1":
        cause = f"{frames} frames"
    if cause is None and not (pixels and size):
        cause = "without pixels|not a PNG, JPEG or DICOM image"
    if cause is None:
        np.testing.assert_allclose(load_grayscale_array(path), rendered(path), atol=1.2)
        return
    with pytest.raises(DataError, match=cause) as refusal:
        load_grayscale(path)
    assert "darkcovid[dicom]" not in str(refusal.value)


@pytest.mark.parametrize(("plain", "other", "most"), SAME)
def test_the_same_picture_is_the_same_gray_however_it_is_stored(plain, other, most):
    first, second = (load_grayscale_array(FOLDER / "test_files" / name).astype(int) for name in (plain, other))
    assert np.abs(first - second).max() <= most

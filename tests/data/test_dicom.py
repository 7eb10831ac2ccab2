import io

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from darkcovid.data.decode import bytes_grayscale
from darkcovid.data.images import find_images, open_image
from darkcovid.errors import DataError

STORED = np.linspace(0, 4095, 48 * 64).reshape(48, 64).round().astype(np.uint16)


def dataset(stored=STORED, bits=12, syntax=ExplicitVRLittleEndian, **tags):
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = syntax
    made.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = "1.2.3"
    made.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    made.Rows, made.Columns = stored.shape[:2]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit = 8 * stored.dtype.itemsize, bits, bits - 1
    made.PixelRepresentation = int(stored.dtype.kind == "i")
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    made.PixelData = stored.astype(stored.dtype.newbyteorder(order)).tobytes()
    made["PixelData"].VR = "OB" if stored.dtype.itemsize == 1 else "OW"
    for name, value in tags.items():
        setattr(made, name, value)
    return made


def written(made):
    file = io.BytesIO()
    pydicom.dcmwrite(file, made, enforce_file_format=True)
    return file.getvalue()


def shown(made):
    return np.asarray(bytes_grayscale(written(made), "x.dcm"))


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_without_a_window_the_values_span_black_to_white(syntax):
    np.testing.assert_array_equal(shown(dataset(syntax=syntax)), (STORED / 4095 * 255).round())


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_compressed_pixels_are_the_same(syntax):
    made = dataset()
    made.compress(syntax)
    np.testing.assert_array_equal(shown(made), (STORED / 4095 * 255).round())


def test_a_jpeg_inside_is_decoded():
    file, gray = io.BytesIO(), (STORED >> 4).astype(np.uint8)
    Image.fromarray(gray).save(file, "JPEG", quality=95)
    made = dataset(gray, bits=8, syntax=JPEGBaseline8Bit, WindowCenter=128, WindowWidth=256)
    made.PixelData = encapsulate([file.getvalue()])
    made["PixelData"].VR = "OB"
    np.testing.assert_allclose(shown(made).astype(int), gray, atol=4)


def test_monochrome1_is_inverted():
    np.testing.assert_array_equal(shown(dataset(PhotometricInterpretation="MONOCHROME1")), 255 - shown(dataset()))


def test_a_window_is_applied_after_rescaling():
    # stored 1000..2000 are -24..976 after the intercept; the window of width 1000 about 476 goes from there to there
    made = dataset(RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=476.5, WindowWidth=1001)
    picture, values = shown(made), STORED.astype(int) - 1024
    assert (picture[values <= -24] == 0).all() and (picture[values >= 977] == 255).all()
    inside = (values > -24) & (values < 976)
    np.testing.assert_allclose(picture[inside], (values[inside] + 24) / 1000 * 255, atol=1)


def test_sixteen_bits_and_signed_values():
    signed = (STORED.astype(np.int32) * 16 - 32768).astype(np.int16)
    np.testing.assert_array_equal(shown(dataset(signed, bits=16)), (STORED / 4095 * 255).round())


def test_padding_is_black_and_does_not_count_as_a_value():
    stored = STORED.copy()
    stored[:8] = 65535
    picture = shown(dataset(stored, bits=16, PixelPaddingValue=65535))
    assert (picture[:8] == 0).all() and picture[-1, -1] == 255


def test_colour_goes_through_luma():
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 255
    made = dataset(red, bits=8, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)
    assert shown(made)[0, 0] == 76


def test_a_lookup_table_spans_the_bits_that_its_entries_use():
    table = Dataset()
    table.LUTDescriptor, table.LUTData = [4096, 0, 12], [2048 + value // 2 for value in range(4096)]
    table["LUTDescriptor"].VR = table["LUTData"].VR = "US"
    made = dataset()
    made.VOILUTSequence = [table]
    np.testing.assert_array_equal(shown(made), ((2048 + STORED // 2) / 4095 * 255).round())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"NumberOfFrames": 3}, "3 frames"),
        ({"Rows": 60000, "Columns": 60000}, "60000x60000 pixels, more than"),
        ({"Rows": 0}, "0 pixels"),
        ({"PixelData": b"\0" * 10}, "cannot be decoded"),
    ],
)
def test_what_cannot_be_shown_is_refused(change, words):
    with pytest.raises(DataError, match=words):
        bytes_grayscale(written(dataset(**change)), "x.dcm")


def test_no_pixels_and_no_file():
    empty = dataset()
    del empty.PixelData
    with pytest.raises(DataError, match=r"x\.dcm: a DICOM without pixels"):
        bytes_grayscale(written(empty), "x.dcm")
    with pytest.raises(DataError, match=r"x\.dcm: this DICOM cannot be decoded"):
        bytes_grayscale(written(dataset())[:-20], "x.dcm")


def test_a_deflated_bomb_is_refused(monkeypatch):
    monkeypatch.setattr("darkcovid.data.dicom.MOST_INFLATED", 1000)
    with pytest.raises(DataError, match="unpacks to more than"):
        bytes_grayscale(written(dataset(syntax=DeflatedExplicitVRLittleEndian)), "x.dcm")


def test_folders_hold_dicom_too(tmp_path):
    (tmp_path / "a.dcm").write_bytes(written(dataset()))
    (one,) = find_images(tmp_path)
    image, fault = open_image(one)
    assert (one.name, image.size, fault) == ("a.dcm", (64, 48), None)

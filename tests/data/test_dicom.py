import io

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from darkcovid.core.errors import DataError
from darkcovid.data.decode import load_grayscale_bytes
from darkcovid.inference.image_files import find_images, open_image

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
    return np.asarray(load_grayscale_bytes(written(made), "x.dcm"))


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


BASE = (np.add.outer(np.arange(96) * 8, np.linspace(0, 3300, 128))).round().astype(np.uint16)
EIGHT = (BASE >> 4).astype(np.uint8)


def test_padding_may_be_a_range_written_with_the_other_sign_and_never_all():
    stored = (STORED.astype(np.int32) - 2000).astype(np.int16)
    stored[:8], stored[8:16] = -2000, -1999
    made = dataset(stored, bits=16)
    made.add_new("PixelPaddingValue", "US", 65536 - 2000)
    made.add_new("PixelPaddingRangeLimit", "US", 65536 - 1999)
    picture = shown(made)
    seen = stored[16:]
    np.testing.assert_array_equal(picture[16:], ((seen - seen.min()) / np.ptp(seen) * 255).round())
    assert (picture[:16] == 0).all()
    assert np.ptp(shown(dataset(PixelPaddingValue=0, PixelPaddingRangeLimit=4095))) == 255


def test_a_negative_slope_keeps_the_polarity_with_a_window_and_without():
    # fault 3: equal modality values, written with either sign of the slope
    rising = {"RescaleSlope": 10, "RescaleIntercept": 0}
    falling = {"RescaleSlope": -10, "RescaleIntercept": 2550}
    for tags in ({}, {"WindowCenter": 1275.5, "WindowWidth": 2551}):
        right = EIGHT if tags else ((EIGHT - EIGHT.min()) / np.ptp(EIGHT) * 255).round()
        np.testing.assert_allclose(shown(dataset(EIGHT, bits=8, **rising, **tags)), right, atol=0.5)
        np.testing.assert_allclose(shown(dataset(255 - EIGHT, bits=8, **falling, **tags)), right, atol=0.5)


@pytest.mark.parametrize(
    ("empty", "right"),
    [  # faults 8 and 9
        ({"RescaleSlope": None, "RescaleIntercept": None, "WindowCenter": 2048, "WindowWidth": 4096}, "window"),
        ({"WindowCenter": None, "WindowWidth": None}, "range"),
        ({"WindowWidth": 300}, "range"),
        ({"WindowCenter": 300}, "range"),
        ({"WindowCenter": 2048, "WindowWidth": 0.25}, "range"),
        ({"WindowCenter": 2048, "WindowWidth": 0}, "range"),
        ({"WindowCenter": 2048, "WindowWidth": -4096, "VOILUTFunction": "SIGMOID"}, "range"),
        ({"WindowCenter": [9, 2048], "WindowWidth": [0, 4096]}, "window"),
        ({"VOILUTFunction": None, "WindowCenter": 2048, "WindowWidth": 4096}, "window"),
        ({"PixelPaddingValue": None, "PixelPaddingRangeLimit": None}, "range"),
        ({"RescaleSlope": 0, "RescaleIntercept": 5}, "range"),
        ({"VOILUTSequence": [], "ModalityLUTSequence": []}, "range"),
    ],
)
def test_an_empty_or_senseless_tag_counts_as_absent(empty, right):
    expected = STORED / 4095 * 255 if right == "range" else (STORED - 2047.5) / 4095 * 255 + 127.5
    np.testing.assert_allclose(shown(dataset(**empty)), expected, atol=0.51)


def lut(descriptor, data, kind="US"):
    table = Dataset()
    table.add_new("LUTDescriptor", "US", descriptor)
    table.add_new("LUTData", kind, data)
    return table


def test_a_lookup_table_without_data_leaves_it_to_the_window():
    made = dataset(VOILUTSequence=[lut(None, None)], WindowCenter=2607, WindowWidth=2785)
    right = np.clip((STORED - 2606.5) / 2784 + 0.5, 0, 1) * 255
    np.testing.assert_allclose(shown(made), right, atol=0.51)
    for useless in (lut([4096, 0, 12], list(range(100))), lut([16, 0, 12], [7] * 16)):
        made = dataset(VOILUTSequence=[useless], WindowCenter=2607, WindowWidth=2785)
        np.testing.assert_allclose(shown(made), right, atol=0.51)


@pytest.mark.parametrize("declared", [12, 16])
def test_a_lookup_table_declared_wider_than_its_data_is_not_black(declared):
    # fault 12
    made = dataset(VOILUTSequence=[lut([4096, 0, declared], list(range(4096)))])
    np.testing.assert_array_equal(shown(made), (STORED / 4095 * 255).round())


def test_zero_entries_are_65536_and_eight_bit_entries_may_be_packed():
    stored = (STORED.astype(np.uint32) * 16).astype(np.uint16)
    words = np.arange(65536).astype("<u2").tobytes()
    made = dataset(stored, bits=16, VOILUTSequence=[lut([0, 0, 16], words, "OW")])
    np.testing.assert_array_equal(shown(made), (stored / 65535 * 255).round())
    packed = (np.arange(4096) >> 4).astype(np.uint8).tobytes()
    np.testing.assert_array_equal(shown(dataset(VOILUTSequence=[lut([4096, 0, 8], packed, "OW")])), STORED >> 4)


def test_a_lookup_table_may_begin_below_zero():
    made = dataset(RescaleSlope=1, RescaleIntercept=-1024)
    made.VOILUTSequence = [lut([4096, 65536 - 1024, 12], list(range(4096)))]
    np.testing.assert_array_equal(shown(made), (STORED / 4095 * 255).round())


def test_a_modality_table_comes_before_the_window():
    made = dataset(ModalityLUTSequence=[lut([4096, 0, 16], [4095 - value for value in range(4096)])])
    np.testing.assert_array_equal(shown(made), ((4095 - STORED) / 4095 * 255).round())


def color(pixels, kind, **tags):
    return dataset(pixels, bits=8, SamplesPerPixel=3, PhotometricInterpretation=kind, PlanarConfiguration=0, **tags)


def ybr(gray):
    """PS3.3 C.7.6.3.1.2 of a gray picture: (h, w, 3)."""
    return np.stack([gray, np.full_like(gray, 128), np.full_like(gray, 128)], -1)


def test_ybr_is_converted_once():
    # fault 1: gray as JPEG 4:2:2, and raw
    np.testing.assert_allclose(shown(color(ybr(EIGHT), "YBR_FULL")).astype(int), EIGHT, atol=1)
    halved = np.stack([EIGHT[:, ::2], EIGHT[:, 1::2], np.full_like(EIGHT[:, ::2], 128), np.full_like(EIGHT[:, ::2], 128)], -1)
    made = color(ybr(EIGHT), "YBR_FULL_422")
    made.PixelData = halved.tobytes()
    np.testing.assert_allclose(shown(made).astype(int), EIGHT, atol=1)
    file = io.BytesIO()
    Image.fromarray(EIGHT).convert("RGB").save(file, "JPEG", quality=98)
    made = color(
        ybr(EIGHT),
        "YBR_FULL_422",
    )
    made.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    made.PixelData = encapsulate([file.getvalue()])
    np.testing.assert_allclose(shown(made).astype(int), EIGHT, atol=3)


@pytest.mark.parametrize("kind", ["YBR_RCT", "YBR_ICT"])
def test_jpeg_2000_brings_its_own_color(kind):
    # fault 18
    picture = np.stack([EIGHT, EIGHT // 2, 255 - EIGHT], -1)
    made = color(picture, "RGB")
    syntax, lossy = (JPEG2000Lossless, {}) if kind == "YBR_RCT" else (JPEG2000, {"j2k_cr": [2]})
    made.PhotometricInterpretation = "RGB"
    made.compress(syntax, encoding_plugin="pylibjpeg", **lossy)
    made.PhotometricInterpretation = kind
    luma = np.asarray(Image.fromarray(picture).convert("L")).astype(int)
    np.testing.assert_allclose(shown(made).astype(int), luma, atol=0 if kind == "YBR_RCT" else 6)


@pytest.mark.parametrize(("bits", "kind"), [(16, "<u2"), (8, "u1"), (8, "<u2")])
def test_a_palette_is_looked_up(bits, kind):
    # fault 4: index 0 is white
    made = dataset(EIGHT, bits=8, PhotometricInterpretation="PALETTE COLOR")
    entries = np.arange(256)[::-1]
    for channel in ("Red", "Green", "Blue"):
        made.add_new(f"{channel}PaletteColorLookupTableDescriptor", "US", [256, 0, bits])
        made.add_new(f"{channel}PaletteColorLookupTableData", "OW", (entries * (257 if bits == 16 else 1)).astype(kind).tobytes())
    np.testing.assert_allclose(shown(made).astype(int), 255 - EIGHT.astype(int), atol=1)


def test_a_segmented_palette_is_looked_up():
    made = dataset(EIGHT, bits=8, PhotometricInterpretation="PALETTE COLOR")
    for channel in ("Red", "Green", "Blue"):
        made.add_new(f"{channel}PaletteColorLookupTableDescriptor", "US", [256, 0, 16])
        segments = np.array([0, 1, 65535, 1, 255, 0], "<u2")  # one entry of white, then 255 down to black
        made.add_new(f"Segmented{channel}PaletteColorLookupTableData", "OW", segments.tobytes())
    np.testing.assert_allclose(shown(made).astype(int), 255 - EIGHT.astype(int), atol=1)


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "No suitable Palette"),
        ({"PhotometricInterpretation": "RGB"}, r"RGB with 1 value\(s\) per pixel"),
        ({"PhotometricInterpretation": None}, "without PhotometricInterpretation"),
        ({"BitsStored": None}, "without BitsStored"),
        ({"PixelRepresentation": None}, "Pixel Representation"),
        ({"PixelData": None}, "without pixels"),
    ],
)
def test_what_says_too_little_is_refused_with_the_cause_and_without_advice(tags, words):
    made = dataset()
    for name, value in tags.items():
        setattr(made, name, value)
    with pytest.raises(DataError, match=words) as refusal:
        load_grayscale_bytes(written(made), "x.dcm")
    assert "install" not in str(refusal.value)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_neither_preamble_nor_syntax_is_needed_where_pixels_are_plain(syntax):
    # fault 20
    right = (STORED / 4095 * 255).round()
    content = written(dataset(syntax=syntax))
    np.testing.assert_array_equal(np.asarray(load_grayscale_bytes(content[132:], "IM1")), right)
    with_meta, bare = pydicom.dcmread(io.BytesIO(content)), io.BytesIO()
    with_meta.file_meta = FileMetaDataset()
    little, implicit = syntax != ExplicitVRBigEndian, syntax == ImplicitVRLittleEndian
    pydicom.dcmwrite(bare, with_meta, little_endian=little, implicit_vr=implicit, enforce_file_format=False)
    np.testing.assert_array_equal(np.asarray(load_grayscale_bytes(bare.getvalue(), "IM1")), right)


def test_compressed_pixels_without_a_syntax_are_refused():
    made = dataset()
    made.compress(RLELossless)
    content = written(made)
    nameless = content.replace(b"UI\x14\x001.2.840.10008.1.2.5\0", b"UI\x14\x00" + b"\0" * 20)
    with pytest.raises(DataError, match="a DICOM without TransferSyntaxUID, and its pixels are compressed"):
        load_grayscale_bytes(nameless, "x.dcm")


def test_a_missing_decoder_is_named_where_one_is_missing(monkeypatch):
    made = dataset()
    made.compress(JPEG2000Lossless)
    decoder = pydicom.pixels.get_decoder(JPEG2000Lossless)
    monkeypatch.setattr(decoder, "_available", {})
    monkeypatch.setattr(decoder, "_unavailable", {"gdcm": ("gdcm>=3.0.10",)})
    with pytest.raises(DataError, match=r"a decoder is missing: install `darkcovid\[dicom\]`"):
        load_grayscale_bytes(written(made), "x.dcm")


def test_color_goes_through_luma():
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
        load_grayscale_bytes(written(dataset(**change)), "x.dcm")


def test_no_pixels_and_no_file():
    empty = dataset()
    del empty.PixelData
    with pytest.raises(DataError, match=r"x\.dcm: a DICOM without pixels"):
        load_grayscale_bytes(written(empty), "x.dcm")
    with pytest.raises(DataError, match=r"x\.dcm: this DICOM cannot be decoded"):
        load_grayscale_bytes(written(dataset())[:-20], "x.dcm")


def test_a_deflated_bomb_is_refused(monkeypatch):
    monkeypatch.setattr("darkcovid.data.dicom.MAX_INFLATED_BYTES", 1000)
    with pytest.raises(DataError, match="unpacks to more than"):
        load_grayscale_bytes(written(dataset(syntax=DeflatedExplicitVRLittleEndian)), "x.dcm")


def test_folders_hold_dicom_too(tmp_path):
    (tmp_path / "a.dcm").write_bytes(written(dataset()))
    (one,) = find_images(tmp_path)
    image, fault = open_image(one)
    assert (one.name, image.size, fault) == ("a.dcm", (64, 48), None)

"""The whole DICOM reader against the formulas of PS3.3 C.11.1 and C.11.2, written out here value by value."""

import math

import numpy as np
from hypothesis import given, note, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from .test_dicom import dataset, shown

SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)
OPTIONAL = ("RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth", "VOILUTFunction", "PixelPaddingValue",
            "PixelPaddingRangeLimit", "PresentationLUTShape", "NumberOfFrames", "ModalityLUTSequence", "VOILUTSequence",
            "WindowCenterWidthExplanation", "RescaleType", "PlanarConfiguration", "SmallestImagePixelValue",
            "BurnedInAnnotation", "PixelAspectRatio", "ICCProfile", "PixelPresentation")  # fmt: skip


def windowed(value, center, width, function):
    """C.11.2.1.2.1, C.11.2.1.3.1 and C.11.2.1.3.2 for one value: 0 to 1."""
    if function == "SIGMOID":
        return 1 / (1 + math.exp(min(-4 * (value - center) / width, 700)))
    if function == "LINEAR_EXACT":
        if value <= center - width / 2:
            return 0.0
        return 1.0 if value > center + width / 2 else (value - center) / width + 0.5
    if value <= center - 0.5 - (width - 1) / 2:
        return 0.0
    return 1.0 if value > center - 0.5 + (width - 1) / 2 else (value - (center - 0.5)) / (width - 1) + 0.5


def table_item(first, values, bits, storage, signed):
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if signed else "US", [len(values), first, bits])
    words = np.asarray(values, "<u2" if storage == "<" else ">u2").tobytes()
    item.add_new("LUTData", "OW" if storage else "US", words if storage else list(values))
    return item


@st.composite
def cases(draw):
    bits = draw(st.sampled_from([8, 10, 12, 16]))
    signed = draw(st.booleans())
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    kind = np.dtype(("i" if signed else "u") + ("1" if bits == 8 else "2"))
    values = draw(st.lists(st.integers(low, high), min_size=12, max_size=12))
    voi = draw(st.sampled_from(["none", "window", "table", "useless window", "useless table"]))
    steep = [] if voi == "table" and bits == 16 else [2, -10]
    slope = draw(st.sampled_from([None, 1, 0.5, -1, -0.24414, *steep]))
    intercept = draw(st.sampled_from([None, 0, -1024, 1000, 2550.5]))
    modal = [value * (slope or 1) + (intercept or 0) for value in values]
    span = (min(modal) - 10, max(modal) + 10)
    table = [*draw(st.lists(st.integers(0, 4095), min_size=2, max_size=300)), 0, 4095]
    below_zero = min(end * (slope or 1) + (intercept or 0) for end in (low, high)) < 0
    writable = (-(2**15), 2**15 - 1) if below_zero else (0, 2**16 - 1)
    first = int(np.clip(round(modal[0]) - draw(st.integers(0, len(table) - 1)), *writable))
    center = st.floats(*span, allow_nan=False).map(lambda value: round(value, 2))
    width = st.floats(1, max(2, span[1] - span[0])).map(lambda value: round(value, 2))
    return {
        "bits": bits,
        "stored": np.array(values, kind).reshape(3, 4),
        "syntax": draw(st.sampled_from(SYNTAXES)),
        "slope": slope,
        "intercept": intercept,
        "voi": voi,
        "window": (draw(center), draw(width)),
        "function": draw(st.sampled_from([None, "LINEAR", "LINEAR_EXACT", "SIGMOID"])),
        "first": first,
        "signed input": below_zero,
        "table": table,
        "declared": draw(st.sampled_from([12, 16])),
        "storage": draw(st.booleans()),
        "inverse": draw(st.sampled_from([("MONOCHROME2", None), ("MONOCHROME1", None), ("MONOCHROME2", "IDENTITY"),
                                         ("MONOCHROME1", "INVERSE"), ("MONOCHROME2", "INVERSE")])),
        "padding": draw(st.sampled_from([None, values[0], (min(values[:3]), max(values[:3]))])),
        "empty": draw(st.sets(st.sampled_from(OPTIONAL))),
    }  # fmt: skip


def built(case):
    tags = {}
    photometric, shape = case["inverse"]
    for name, value in (("RescaleSlope", case["slope"]), ("RescaleIntercept", case["intercept"]),
                        ("VOILUTFunction", case["function"]), ("PresentationLUTShape", shape)):  # fmt: skip
        if value is not None:
            tags[name] = value
    if case["voi"] in ("window", "useless table"):
        tags["WindowCenter"], tags["WindowWidth"] = case["window"]
    if case["voi"] == "useless window":
        tags["WindowCenter"], tags["WindowWidth"] = case["window"][0], 0
    made = dataset(case["stored"], bits=case["bits"], syntax=case["syntax"], PhotometricInterpretation=photometric, **tags)
    order = {False: None, True: ">" if case["syntax"] == ExplicitVRBigEndian else "<"}[case["storage"]]
    if case["voi"] == "table":
        signed = case["signed input"]
        made.VOILUTSequence = [table_item(case["first"], case["table"], case["declared"], order, signed)]
    if case["voi"] == "useless table":
        made.VOILUTSequence = [Dataset()]
        made.VOILUTSequence[0].add_new("LUTDescriptor", "US", None)
        made.VOILUTSequence[0].add_new("LUTData", "US", None)
    if case["padding"] is not None:
        ends = case["padding"] if isinstance(case["padding"], tuple) else (case["padding"],)
        for name, end in zip(("PixelPaddingValue", "PixelPaddingRangeLimit"), ends, strict=False):
            made.add_new(name, "SS" if made.PixelRepresentation else "US", int(end))
    for name in case["empty"]:
        if name not in made:
            setattr(made, name, [] if name.endswith("Sequence") else None)
    return made


def by_the_standard(case):
    """(3, 4) uint8, one value after the other."""
    stored = case["stored"].ravel().tolist()
    modal = [value * (case["slope"] or 1) + (case["intercept"] or 0) for value in stored]
    padding = case["padding"]
    low, high = padding if isinstance(padding, tuple) else (padding, padding)
    padded = [padding is not None and low <= value <= high for value in stored]
    padded = padded if not all(padded) else [False] * len(padded)
    seen = [value for value, out in zip(modal, padded, strict=True) if not out]
    picture = []
    for value, out in zip(modal, padded, strict=True):
        if case["voi"] in ("window", "useless table"):
            shade = windowed(value, *case["window"], case["function"] or "LINEAR")
        elif case["voi"] == "table":
            place = min(max(round(value) - case["first"], 0), len(case["table"]) - 1)
            shade = case["table"][place] / 4095
        else:
            shade = (value - min(seen)) / (max(seen) - min(seen)) if max(seen) > min(seen) else 0.0
        gray = round(min(max(shade, 0), 1) * 255)
        gray = (
            255 - gray
            if case["inverse"] in (("MONOCHROME1", None), ("MONOCHROME1", "INVERSE"), ("MONOCHROME2", "INVERSE"))
            else gray
        )
        picture.append(0 if out else gray)
    return np.array(picture).reshape(3, 4)


@settings(deadline=None, max_examples=300)
@given(cases())
def test_gray_is_what_the_standards_formulas_give(case):
    note(str(case))
    np.testing.assert_allclose(shown(built(case)).astype(int), by_the_standard(case), atol=1)


@settings(deadline=None, max_examples=100)
@given(
    entries=st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=2, max_size=256),
    first=st.integers(-20, 20),
    signed=st.booleans(),
    wide=st.booleans(),
    syntax=st.sampled_from(SYNTAXES),
    packed=st.booleans(),
    indices=st.lists(st.integers(0, 127), min_size=12, max_size=12),
)
def test_palettes_are_looked_up(entries, first, signed, wide, syntax, packed, indices):
    first = first if signed else abs(first)
    stored = np.array(indices, np.int8 if signed else np.uint8).reshape(3, 4)
    made = dataset(stored, bits=8, syntax=syntax, PhotometricInterpretation="PALETTE COLOR")
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    for place, color in enumerate(("Red", "Green", "Blue")):
        channel = np.array([entry[place] for entry in entries])
        made.add_new(
            f"{color}PaletteColorLookupTableDescriptor", "SS" if signed else "US", [len(channel), first, 16 if wide else 8]
        )
        if wide:
            data = (channel * 257).astype(f"{order}u2").tobytes()
        elif packed:
            data = channel.astype(np.uint8).tobytes() + b"\0" * (len(channel) % 2)
            data = data if order == "<" else np.frombuffer(data, np.uint8).reshape(-1, 2)[:, ::-1].tobytes()
        else:
            data = channel.astype(f"{order}u2").tobytes()
        made.add_new(f"{color}PaletteColorLookupTableData", "OW", data)
    color = [entries[min(max(index - first, 0), len(entries) - 1)] for index in indices]
    if max(map(max, color)) == 0 and wide:
        return
    right = np.asarray(Image.fromarray(np.array(color, np.uint8).reshape(3, 4, 3)).convert("L"))
    np.testing.assert_allclose(shown(made).astype(int), right, atol=1)

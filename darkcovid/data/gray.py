"""Stored values of a gray DICOM become the gray that a viewer shows: modality values, then the window or table of the file.

The formulas are the standard's own, DICOM PS3.3 C.11.1 (modality) and C.11.2 (VOI). An empty tag, a window that no formula takes
and a table without entries count as absent.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

MIN_BITS = 8


@dataclass(frozen=True, slots=True)
class Table:
    """Entry `values[i]` is what an input of `first + i` becomes; inputs beyond an end take that end's entry."""

    first: int
    values: np.ndarray

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        places = np.clip(np.rint(np.float64(inputs)) - self.first, 0, len(self.values) - 1)
        return self.values[places.astype(np.int64)]

    @property
    def flat(self) -> bool:
        """Whether every input becomes the same, which leaves no image."""
        return self.values.min() == self.values.max()

    @property
    def white(self) -> int:
        """The brightest value of as many bits as the entries use. What the descriptor declares is often the size of their
        storage (Agfa), of which cornerstone takes no notice either."""
        return 2 ** max(MIN_BITS, int(self.values.max()).bit_length()) - 1


def render(stored: np.ndarray, dataset: Any, little_endian: bool) -> np.ndarray:
    """The 8-bit image that a viewer would show of a MONOCHROME1 or MONOCHROME2 DICOM.

    The VOI LUT comes before the window; without either the values that occur, padding left out, span black to white.

    Args:
        stored: (h, w) integers as they are stored.
        dataset: pydicom's data set.
        little_endian: Whether the file is.

    Returns:
        (h, w) uint8, 0 black to 255 white; padding is black.

    Raises:
        ValueError: A tag holds something else than it should.
    """
    values, padding = modality(stored, dataset, little_endian), _padding(stored, dataset)
    shades = _voi(values, dataset, little_endian, signed=_lowest(stored, dataset, little_endian) < 0)
    if shades is None:
        seen = values[~padding]
        shades = (values - seen.min()) / max(float(seen.max() - seen.min()), 1e-9)
    pixels = to_8_bit(shades)
    if text(dataset, "PhotometricInterpretation") == "MONOCHROME1" or text(dataset, "PresentationLUTShape") == "INVERSE":
        pixels = 255 - pixels
    pixels[padding] = 0
    return pixels


def to_8_bit(shades: np.ndarray) -> np.ndarray:
    """0..1 to uint8, clipped."""
    return (np.clip(shades, 0, 1) * 255).round().astype(np.uint8)


def modality(stored: np.ndarray, dataset: Any, little_endian: bool) -> np.ndarray:
    """Modality values (PS3.3 C.11.1): by the modality LUT, else slope and intercept.

    Args:
        stored: (h, w) integers as they are stored.
        dataset: pydicom's data set; absent slope and intercept are 1 and 0, and a slope of 0, which leaves no image, is absent.
        little_endian: Whether the file is.

    Returns:
        (h, w) float64.

    Raises:
        ValueError: A tag is no number.
    """
    table = lookup_table(item(dataset, "ModalityLUTSequence"), "LUT", little_endian, signed=stored.dtype.kind == "i")
    if table is not None and not table.flat:
        return table(stored).astype(np.float64)
    return stored * (number(dataset, "RescaleSlope") or 1.0) + (number(dataset, "RescaleIntercept") or 0.0)


def _lowest(stored: np.ndarray, dataset: Any, little_endian: bool) -> float:
    """The lowest modality value that pixels of this kind can have."""
    bits = int(number(dataset, "BitsStored") or 8 * stored.dtype.itemsize)
    ends = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if stored.dtype.kind == "i" else (0, 2**bits - 1)
    return float(modality(np.array(ends, stored.dtype), dataset, little_endian).min())


def _voi(values: np.ndarray, dataset: Any, little_endian: bool, signed: bool) -> np.ndarray | None:
    """(h, w) float64, 0 black to 1 white, by the VOI LUT or window (PS3.3 C.11.2); None without either. signed: whether
    modality values can be negative."""
    sequence = item(dataset, "VOILUTSequence")
    readings = [lookup_table(sequence, "LUT", little_endian, sign) for sign in (signed, not signed)]
    if readings[0] is not None and not readings[0].flat:
        # Some writers give the first input the sign of the stored values instead: the reading that covers more is meant.
        table = max((table for table in readings if table is not None), key=lambda table: _covered(values, table))
        return table(values) / table.white
    function = text(dataset, "VOILUTFunction").upper()
    for center, width in zip(numbers(dataset, "WindowCenter"), numbers(dataset, "WindowWidth"), strict=False):
        if center is not None and width is not None and (width > 0 if function in ("LINEAR_EXACT", "SIGMOID") else width >= 1):
            return window(values, center, width, function)
    return None


def window(values: np.ndarray, center: float, width: float, function: str = "LINEAR") -> np.ndarray:
    """Values through a window (PS3.3 C.11.2.1.2.1; C.11.2.1.3.1 and C.11.2.1.3.2 for the other functions).

    Args:
        values: (h, w) float modality values.
        center: In modality values.
        width: At least 1 for LINEAR, above 0 for the others.
        function: LINEAR, LINEAR_EXACT or SIGMOID; any other counts as LINEAR.

    Returns:
        (h, w) float64, 0 black to 1 white.
    """
    if function == "SIGMOID":
        return (1 + np.tanh(2 * (values - center) / width)) / 2  # 1 / (1 + exp(-4 (x - c) / w)), without its overflow
    if function == "LINEAR_EXACT":
        return np.clip((values - center) / width + 0.5, 0, 1)
    if width == 1:
        return (values > center - 0.5).astype(np.float64)
    return np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1)


def lookup_table(holder: Any, name: str, little_endian: bool, signed: bool) -> Table | None:
    """The table in `{name}Descriptor` and `{name}Data` of a data set (PS3.3 C.11.1.1).

    Args:
        holder: pydicom's data set, or None.
        name: Of the tags.
        little_endian: Whether the file is.
        signed: Whether inputs can be negative, for so the first one is then read.

    Returns:
        The table; None where there is no holder, a tag is empty, or entries are missing.

    Raises:
        ValueError: A tag is no number.
    """
    descriptor = [] if holder is None else numbers(holder, f"{name}Descriptor")
    stated = [number for number in descriptor if number is not None]
    if holder is None or len(stated) < 3 or len(stated) < len(descriptor):
        return None
    count, first, bits = int(stated[0]) % 2**16 or 2**16, int(stated[1]), int(stated[2])
    first = (first + 2**15) % 2**16 - 2**15 if signed else first % 2**16
    entries = _entries(holder.get(f"{name}Data"), count, bits, little_endian)
    return None if len(entries) < count else Table(first, entries)


def _entries(data: Any, count: int, bits: int, little_endian: bool) -> np.ndarray:
    """At most `count` entries of 16 bits, or of 8 that were packed two to a word."""
    if data is None or (hasattr(data, "__len__") and len(data) == 0):
        return np.zeros(0, np.int64)
    if not isinstance(data, bytes):
        words = np.atleast_1d(np.asarray(data, np.int64)) % 2**16
        if len(words) >= count or bits > 8:
            return words[:count]
        data, little_endian = words.astype("<u2").tobytes(), True
    if len(data) >= 2 * count:
        return np.frombuffer(data, "<u2" if little_endian else ">u2", count).astype(np.int64)
    packed = np.frombuffer(data, np.uint8).astype(np.int64) if bits <= 8 else np.zeros(0, np.int64)
    if not little_endian:
        packed = packed[: len(packed) // 2 * 2].reshape(-1, 2)[:, ::-1].ravel()
    return packed[:count]


def _covered(values: np.ndarray, table: Table) -> int:
    return int(((values >= table.first) & (values < table.first + len(table.values))).sum())


def _padding(stored: np.ndarray, dataset: Any) -> np.ndarray:
    """(h, w) bool: pixels that the file says are no part of the image (PS3.3 C.7.5.1.1.2). All of them would leave none, so
    then the tag is passed over."""
    value = number(dataset, "PixelPaddingValue")
    limit = number(dataset, "PixelPaddingRangeLimit")
    if value is None:
        return np.zeros(stored.shape, bool)
    # Written with the other sign than the pixels have, it wraps around.
    ends = np.array([value, value if limit is None else limit]).astype(np.int64).astype(stored.dtype)
    padding = (stored >= ends.min()) & (stored <= ends.max())
    return padding & ~padding.all()


def number(dataset: Any, keyword: str) -> float | None:
    """The first value of an optional tag.

    Args:
        dataset: pydicom's data set.
        keyword: Of the tag.

    Returns:
        None where it is absent, empty or not finite.

    Raises:
        ValueError: It is no number.
    """
    return next(iter(numbers(dataset, keyword)), None)


def numbers(dataset: Any, keyword: str) -> list[float | None]:
    """The values of an optional tag.

    Args:
        dataset: pydicom's data set.
        keyword: Of the tag.

    Returns:
        None for each that is empty or not finite.

    Raises:
        ValueError: One is no number.
    """
    try:
        value = dataset.get(keyword)
        values = value if hasattr(value, "__iter__") and not isinstance(value, (str, bytes)) else [value]
        read = [None if value is None or value == "" else float(value) for value in values]
    except Exception:  # noqa: BLE001 (pydicom converts when asked, and fails in many ways)
        raise ValueError(f"its {keyword} is no number") from None
    return [None if value is None or not np.isfinite(value) else value for value in read]


def text(dataset: Any, keyword: str) -> str:
    """The first value of an optional tag.

    Args:
        dataset: pydicom's data set.
        keyword: Of the tag.

    Returns:
        '' where it is absent or empty.
    """
    value = dataset.get(keyword)
    if not isinstance(value, str) and hasattr(value, "__iter__"):
        value = next(iter(value), None)
    return "" if value is None else str(value).strip()


def item(dataset: Any, keyword: str) -> Any:
    """The first item of an optional sequence.

    Args:
        dataset: pydicom's data set.
        keyword: Of the tag.

    Returns:
        None where it is absent or empty.
    """
    return next(iter(dataset.get(keyword) or ()), None)

"""A memory-mapped array that is made once and shared: keyed by content, rebuilt when damaged, safe with two runs.

Raw `.npy` beside a JSON that holds the format version, shape and CRC-32; never a pickle. Findings are JSON alone.
"""

import hashlib
import json
import mmap
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import numpy as np

from darkcovid.paths import atomic_path, write_json

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Stored:
    """`array`: read-only memory map. `notes`: what the maker wrote down. `seconds`: what making it took, whenever
    that was. `fresh`: it was made just now."""

    array: np.ndarray
    notes: Any
    seconds: float
    fresh: bool


def content_key(**parts: Any) -> str:
    """A name for exactly this content: 32 hexadecimal digits over the parts and the format version."""
    text = json.dumps({"format": FORMAT_VERSION, **parts}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def stored_array(
    folder: Path, key: str, shape: tuple[int, ...], fill: Callable[[np.ndarray], Any], dtype: type = np.uint8
) -> Stored:
    """The array `key` of `folder`, made by `fill(array)` when it is absent or damaged.

    fill writes into a (shape) array in place and returns JSON-able notes. Another process that wants the same
    key waits for the first one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder / f"{key}.lock"):
        found = _open(folder, key, shape, dtype)
        if found is not None:
            return found
        started = time.perf_counter()
        with atomic_path(folder / f"{key}.npy") as temporary:
            array = np.lib.format.open_memmap(temporary, mode="w+", dtype=dtype, shape=shape)
            notes = fill(array)
            array.flush()
            checksum = _crc(array)
            del array
        seconds = time.perf_counter() - started
        about = {"format": FORMAT_VERSION, "shape": list(shape), "crc32": checksum, "seconds": seconds, "notes": notes}
        write_json(folder / f"{key}.json", about)
        return Stored(_map(folder, key), notes, seconds, fresh=True)


def stored_finding(folder: Path, key: str, find: Callable[[], Any]) -> Any:
    """What `find()` found, JSON-able, from the file `key` of `folder` or found now and kept there."""
    path = folder / f"{key}.json"
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        found = find()
        write_json(path, found)
        return json.loads(json.dumps(found))


def _open(folder: Path, key: str, shape: tuple[int, ...], dtype: type) -> Stored | None:
    try:
        about = json.loads((folder / f"{key}.json").read_text())
        array = _map(folder, key)
        sound = about["format"] == FORMAT_VERSION and array.shape == shape and array.dtype == dtype
        if not sound or _crc(array) != about["crc32"]:
            return None
        return Stored(array, about["notes"], about["seconds"], fresh=False)
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return None


def _map(folder: Path, key: str) -> np.ndarray:
    return np.load(folder / f"{key}.npy", mmap_mode="r", allow_pickle=False)


def release(array: np.ndarray) -> None:
    """Let go of the pages of a memory map that were read; they come back from the file when they are asked for. Nothing
    happens to an array in memory."""
    file = getattr(array, "_mmap", None)
    if file is not None and hasattr(mmap, "MADV_DONTNEED"):
        file.madvise(mmap.MADV_DONTNEED)


def _crc(array: np.ndarray, rows_at_once: int = 256) -> int:
    checksum = 0
    for start in range(0, len(array), rows_at_once):
        checksum = zlib.crc32(np.ascontiguousarray(array[start : start + rows_at_once]), checksum)
        release(array)
    return checksum

"""Memory-mapped arrays that are made once and shared: keyed by content, rebuilt when damaged, safe with two runs.

A row per image; more than 2,048 rows are kept in shards, each made by itself, on whatever machine.

Raw `.npy` beside a sealed JSON that holds the format version, shape and CRC-32; never a pickle. Findings are JSON alone.
"""

import hashlib
import json
import mmap
import time
import tokenize
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import numpy as np

from darkcovid.core.io import atomic_path, preallocate, read_checksummed_json, write_checksummed_json

DECODER_VERSION = 2  # goes up when any file's pixels change or another file can be read: earlier entries are not used

FORMAT_VERSION = 3
SHARD_ROWS = 2048


def shard_ranges(count: int) -> list[range]:
    """The rows of each shard of `count` rows."""
    return [range(start, min(start + SHARD_ROWS, count)) for start in range(0, count, SHARD_ROWS)]


@dataclass(frozen=True)
class CachedArray:
    """An array in the cache.

    Attributes:
        array: A read-only memory map, or several in one.
        notes: What the maker wrote down, JSON-able.
        seconds: What making it took, whenever that was.
        fresh: Whether it was made just now.
    """

    array: "StoredArray"
    notes: Any
    seconds: float
    fresh: bool


class ShardedArray:
    """Arrays of equal rows that are read as one, by rows of the first axis: an int, a slice, or (m,) ints."""

    def __init__(self, shards: Sequence[np.ndarray]):
        self.shards = list(shards)
        self.shape = (sum(len(shard) for shard in shards), *shards[0].shape[1:])
        self.dtype, self.ndim = shards[0].dtype, shards[0].ndim
        self.nbytes = sum(shard.nbytes for shard in shards)
        self._rows = len(shards[0])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        if isinstance(rows, (int, np.integer)):
            shard, row = divmod(range(len(self))[rows], self._rows)
            return self.shards[shard][row]
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        numbers, within = np.divmod(np.asarray(rows), self._rows)
        gathered = np.empty((len(numbers), *self.shape[1:]), self.dtype)
        for number in np.unique(numbers):
            here = numbers == number
            gathered[here] = self.shards[number][within[here]]
        return gathered

    def __iter__(self) -> Iterator[np.ndarray]:
        return (row for shard in self.shards for row in shard)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.concatenate(self.shards).astype(dtype or self.dtype, copy=False)


StoredArray = np.ndarray | ShardedArray


def cached_sharded_array(
    folder: Path,
    images: Sequence[str],
    row_shape: tuple[int, ...],
    fill: Callable[[np.ndarray, range], list | None],
    dtype: type = np.uint8,
    **about: Any,
) -> CachedArray:
    """An array with a row for each of n images, made a shard at a time where it is absent or damaged.

    Args:
        folder: Of the cache.
        images: (n) checksums.
        row_shape: Of one row.
        fill: Writes the rows of a (len(rows), *row_shape) array in place and returns a JSON-able note for each, or None.
        dtype: Of the array.
        **about: What else the rows depend on.

    Returns:
        (n, *row_shape).
    """
    made = []
    for rows in shard_ranges(len(images)):
        key = content_key(images=list(images[rows.start : rows.stop]), **about)
        made.append(cached_array(folder, key, (len(rows), *row_shape), lambda array, rows=rows: fill(array, rows), dtype))
    return join_shards(made)


def join_shards(shards: Sequence[CachedArray]) -> CachedArray:
    """The shards of an array as one.

    Args:
        shards: In order, at least one.

    Returns:
        The array, with the notes of all, the seconds of all, and whether any was made just now.
    """
    array = shards[0].array if len(shards) == 1 else ShardedArray([shard.array for shard in shards])  # pyright: ignore[reportArgumentType]
    notes = None if shards[0].notes is None else [note for shard in shards for note in shard.notes]
    return CachedArray(array, notes, sum(shard.seconds for shard in shards), any(shard.fresh for shard in shards))


def content_key(**parts: Any) -> str:
    """A name for exactly this content: 32 hexadecimal digits over the parts, the format version, and the decoder's, for
    whatever is kept here was made of decoded pixels."""
    text = json.dumps({"format": FORMAT_VERSION, "decoder": DECODER_VERSION, **parts}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def cached_array(
    folder: Path, key: str, shape: tuple[int, ...], fill: Callable[[np.ndarray], Any], dtype: type = np.uint8
) -> CachedArray:
    """An array of the cache, made when it is absent or damaged. Another process that wants the same key waits for the first one.

    Args:
        folder: Of the cache.
        key: Its name there.
        shape: Of the array.
        fill: Writes into an array of this shape in place and returns JSON-able notes.
        dtype: Of the array.

    Returns:
        The array.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder / f"{key}.lock"):
        result = _open(folder, key, shape, dtype)
        if result is not None:
            return result
        started = time.perf_counter()
        for abandoned in folder.glob(f".{key}.npy.*.part"):
            abandoned.unlink(missing_ok=True)
        with atomic_path(folder / f"{key}.npy") as temporary:
            array = np.lib.format.open_memmap(temporary, mode="w+", dtype=dtype, shape=shape)
            preallocate(temporary)
            notes = fill(array)
            array.flush()
            checksum = _crc(array)
            del array
        seconds = time.perf_counter() - started
        about = {"format": FORMAT_VERSION, "shape": list(shape), "crc32": checksum, "seconds": seconds, "notes": notes}
        write_checksummed_json(folder / f"{key}.json", about)
        return CachedArray(_map(folder, key), notes, seconds, fresh=True)


def cached_json(folder: Path, key: str, find: Callable[[], Any]) -> Any:
    """A JSON-able value of the cache, found when it is absent or damaged.

    Args:
        folder: Of the cache.
        key: Its name there.
        find: Finds it.

    Returns:
        The value as JSON gives it back.
    """
    path = folder / f"{key}.json"
    try:
        return read_checksummed_json(path)
    except (OSError, ValueError):
        result = find()
        write_checksummed_json(path, result)
        return json.loads(json.dumps(result))


def _open(folder: Path, key: str, shape: tuple[int, ...], dtype: type) -> CachedArray | None:
    kept = _load_verified(folder, key)
    asked = kept is not None and kept.array.shape == shape and kept.array.dtype == dtype
    return kept if asked else None


def is_corrupt(path: Path) -> bool:
    """Whether an array that is kept at `path` is not what was written, or of another format."""
    return _load_verified(path.parent, path.stem) is None


def _load_verified(folder: Path, key: str) -> CachedArray | None:
    """What is kept under `key`; None where it is not what was written."""
    try:
        about = read_checksummed_json(folder / f"{key}.json")
        array = _map(folder, key)
        if about["format"] != FORMAT_VERSION or _crc(array) != about["crc32"]:
            return None
        return CachedArray(array, about["notes"], about["seconds"], fresh=False)
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return None


def _map(folder: Path, key: str) -> np.ndarray:
    try:
        return np.load(folder / f"{key}.npy", mmap_mode="r", allow_pickle=False)
    except (SyntaxError, tokenize.TokenError) as error:  # what numpy says of some damaged headers
        raise ValueError(f"{key}.npy: {error}") from None


def drop_pages(array: np.ndarray | ShardedArray) -> None:
    """Let go of the pages of a memory map that were read; they come back from the file when they are asked for. Nothing
    happens to an array in memory."""
    if isinstance(array, ShardedArray):
        for shard in array.shards:
            drop_pages(shard)
        return
    file = getattr(array, "_mmap", None)
    if file is not None and hasattr(mmap, "MADV_DONTNEED"):
        file.madvise(mmap.MADV_DONTNEED)


def _crc(array: np.ndarray, rows_at_once: int = 256) -> int:
    checksum = 0
    for start in range(0, len(array), rows_at_once):
        checksum = zlib.crc32(np.ascontiguousarray(array[start : start + rows_at_once]).data, checksum)
        drop_pages(array)
    return checksum

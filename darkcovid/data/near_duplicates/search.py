"""Which images are near copies of one another? Those that look alike in low frequencies and, once aligned, share their texture.

All pairs are compared by low frequencies under some transforms (`candidates`), and the few that pass are registered
(`registration`): the order of copy detection, a cheap global descriptor and then a geometric check (Douze et al. 2009,
"Evaluation of GIST descriptors for web-scale image search"; Douze et al. 2021, "The 2021 Image Similarity Dataset and
Challenge"). Whether a pair is found depends on its two images alone.
"""

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

import numpy as np

from darkcovid.core.array_cache import ShardedArray, cached_json, content_key, shard_ranges
from darkcovid.core.log import logger
from darkcovid.core.slow_progress import slow_step
from darkcovid.data.near_duplicates import candidates, image_features, registration, transforms
from darkcovid.data.near_duplicates.candidates import Descriptors
from darkcovid.data.near_duplicates.registration import same_image
from darkcovid.data.resize import cached_whole_images

ALTERATIONS = (
    "resized",
    "recompressed",
    "changed in brightness, contrast or gamma",
    "mirrored",
    "inverted",
    "cropped by up to 5 % per side",
    "padded by a uniform border",
    "rotated by up to 5 degrees",
    "with burned-in text in a corner",
)
SIZE = (128, 128)

VERSION = 2  # goes up when the same numbers find other pairs: earlier answers are not used

Pair = tuple[int, int]
Pixels = np.ndarray | ShardedArray


def describe_alterations() -> str:
    """A sentence that says which copies are looked for."""
    return f"Looked for copies that are {', '.join(ALTERATIONS[:-1])} or {ALTERATIONS[-1]}."


def cached_near_duplicates(
    files: Sequence[Path],
    sha256: Sequence[str],
    cache_dir: Path,
    search: Callable[[Pixels, Sequence[int]], Sequence[Pair]] | None = None,
) -> list[Pair]:
    """Images that are near copies of one another, identical files left out; remembered in the cache.

    Args:
        files: (n) paths.
        sha256: (n) their checksums.
        cache_dir: The cache.
        search: Finds pairs among some rows, each of another checksum; None: `find_near_duplicates`, whose answer it must give.

    Returns:
        Pairs (first, later) of rows, sorted.
    """
    copies = _rows_by_checksum(sha256)

    def find() -> Sequence[Pair]:
        pixels = cached_whole_images(files, sha256, SIZE, cache_dir).array
        logger.info(f"looking for near copies among {len(copies)} images")
        with slow_step("looking for near copies"):
            return (search or find_near_duplicates)(pixels, [rows[0] for rows in copies.values()])

    key = content_key(kind="near copies", images=list(sha256), rules=rules())
    pairs: list[Pair] = cached_json(cache_dir / "findings", key, find)
    every = (product(copies[sha256[a]], copies[sha256[b]]) for a, b in pairs)
    return sorted((min(pair), max(pair)) for some in every for pair in some)


def cached_copies_elsewhere(files: Sequence[Sequence[Path]], sha256: Sequence[Sequence[str]], cache_dir: Path) -> list[Pair]:
    """Images of one set that are identical to, or near copies of, images of another; remembered in the cache.

    Args:
        files: Paths of the one set, and of the other.
        sha256: Checksums of the one set, and of the other.
        cache_dir: The cache.

    Returns:
        Pairs (row of the one, row of the other), sorted.
    """
    ours, theirs = map(_rows_by_checksum, sha256)
    known = sorted(ours.keys() & theirs.keys())
    rows = [ours[name][0] for name in ours], [theirs[name][0] for name in theirs if name not in ours]

    def find() -> Sequence[Pair]:
        our_pixels = cached_whole_images(files[0], sha256[0], SIZE, cache_dir).array
        their_pixels = cached_whole_images(files[1], sha256[1], SIZE, cache_dir).array
        logger.info(f"looking for near copies between {len(rows[0])} and {len(rows[1])} images")
        with slow_step("looking for near copies"):
            return find_near_duplicates_between(our_pixels, their_pixels, *rows)

    key = content_key(kind="near copies elsewhere", images=[list(checksums) for checksums in sha256], rules=rules())
    pairs = [(sha256[0][a], sha256[1][b]) for a, b in cached_json(cache_dir / "findings", key, find)]
    every = (product(ours[our_checksum], theirs[other]) for our_checksum, other in [*pairs, *zip(known, known, strict=True)])
    return sorted(pair for some in every for pair in some)


def _rows_by_checksum(sha256: Sequence[str]) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(sha256):
        rows.setdefault(name, []).append(row)
    return rows


def rules() -> dict[str, object]:
    """What decides whether a pair is found, JSON-able."""
    numbers: dict[str, object] = {
        f"{module.__name__.rpartition('.')[2]}.{name}": value
        for module in (image_features, transforms, candidates, registration)
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, (int, float, tuple))
    }
    return numbers | {"size": SIZE, "version": VERSION}


def find_near_duplicates(pixels: Pixels, rows: Sequence[int] | None = None) -> list[Pair]:
    """Near copies in one array. Compares every pair, a piece of 2,048 rows with another at a time.

    Args:
        pixels: (n, 128, 128) uint8.
        rows: Those that are compared, ascending; None: all.

    Returns:
        Pairs (first, later) of rows, sorted.
    """
    pieces = pieces_of(range(len(pixels)) if rows is None else rows)
    pairs = []
    for number, some in enumerate(pieces):
        descriptors = Descriptors.of(pixels[some])
        pairs += renumbered(pairs_between(descriptors, descriptors), some, some)
        for later in pieces[number + 1 :]:
            pairs += renumbered(pairs_between(descriptors, Descriptors.of(pixels[later])), some, later)
    return sorted(pairs)


def find_near_duplicates_between(
    first: Pixels, other: Pixels, first_rows: Sequence[int], other_rows: Sequence[int]
) -> list[Pair]:
    """Near copies between two arrays.

    Args:
        first: (n, 128, 128) uint8.
        other: (m, 128, 128) uint8.
        first_rows: Those of `first` that are compared.
        other_rows: Those of `other`.

    Returns:
        Pairs (row of `first`, row of `other`), sorted.
    """
    pairs = []
    for there in pieces_of(other_rows):
        descriptors = Descriptors.of(other[there])
        for here in pieces_of(first_rows):
            pairs += renumbered(pairs_between(Descriptors.of(first[here]), descriptors), here, there)
    return sorted(pairs)


def pieces_of(rows: Sequence[int]) -> list[np.ndarray]:
    """Rows by 2,048, which are described and compared at once."""
    return [np.asarray(rows[shard.start : shard.stop]) for shard in shard_ranges(len(rows))]


def renumbered(pairs: Sequence[Pair], first: np.ndarray, other: np.ndarray) -> list[Pair]:
    """Pairs of places in two lists of rows as pairs of those rows.

    Args:
        pairs: Of places.
        first: (n,) int rows.
        other: (m,) int rows.

    Returns:
        Pairs of rows.
    """
    return [(int(first[a]), int(other[b])) for a, b in pairs]


def pairs_between(first: Descriptors, other: Descriptors) -> list[Pair]:
    """Near copies among descriptors.

    Args:
        first: Of the images here.
        other: Of the images there; the same descriptors give pairs (earlier, later).

    Returns:
        Pairs (row here, row there).
    """
    pairs = []
    for some in candidates.find_candidates(first, other):
        a, b = some.first, some.other
        same = same_image(first.take(a), other.take(b), some.transform)
        pairs += zip(first.rows[a[same]].tolist(), other.rows[b[same]].tolist(), strict=True)
    return pairs

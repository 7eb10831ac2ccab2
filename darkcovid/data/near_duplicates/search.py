"""Which images are near copies of one another? Those that look alike in low frequencies and, once aligned, share their texture.

All pairs are compared by low frequencies under some transforms (`candidates`), and the few that pass are registered
(`registration`):
the order of copy detection, a cheap global descriptor and then a geometric check (Douze et al. 2009, "Evaluation of GIST
descriptors for web-scale image search"; Douze et al. 2021, "The 2021 Image Similarity Dataset and Challenge").
Whether a pair is found depends on its two images alone.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from darkcovid.core.array_cache import SHARD_ROWS, ShardedArray, cached_json, content_key
from darkcovid.data.near_duplicates import bands as structure
from darkcovid.data.near_duplicates import candidates as lookalikes
from darkcovid.data.near_duplicates import registration
from darkcovid.data.near_duplicates import transforms as moves
from darkcovid.data.near_duplicates.candidates import Views
from darkcovid.data.near_duplicates.registration import same_image
from darkcovid.data.resize import cached_whole_images

ALTERATIONS = (
    "resized",
    "recompressed",
    "changed in brightness, contrast or gamma",
    "mirrored",
    "inverted",
    "cropped by up to 5 % per side",
    "framed by a uniform border",
    "rotated by up to 5 degrees",
    "stamped with text in a corner",
)
SIZE = (128, 128)
AT_ONCE = 128  # pairs registered together

Pair = tuple[int, int]


def describe_alterations() -> str:
    """A sentence that says which copies are looked for."""
    return f"Looked for copies that are {', '.join(ALTERATIONS[:-1])} or {ALTERATIONS[-1]}."


def cached_near_duplicates(
    files: Sequence[Path],
    sha256: Sequence[str],
    cache_dir: Path,
    search: Callable[[np.ndarray | ShardedArray], Sequence[Pair]] | None = None,
) -> list[Pair]:
    """Pairs (first, later) of rows that are near copies of one another, identical files left out; remembered in the cache.

    search: what finds them instead of `find_near_duplicates`, with the same answer.
    """

    def find() -> Sequence[Pair]:
        return (search or find_near_duplicates)(cached_whole_images(files, sha256, SIZE, cache_dir).array)

    key = content_key(kind="near copies", images=list(sha256), rules=rules())
    return [(a, b) for a, b in cached_json(cache_dir / "findings", key, find) if sha256[a] != sha256[b]]


def rules() -> dict[str, object]:
    """Every number that decides whether a pair is found, JSON-able."""
    numbers = {
        f"{module.__name__.rpartition('.')[2]}.{name}": value
        for module in (structure, moves, lookalikes, registration)
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, (int, float, tuple))
    }
    return numbers | {"size": SIZE}


def find_near_duplicates(pixels: np.ndarray | ShardedArray) -> list[Pair]:
    """Pairs (first, later) of rows of (n, 128, 128) uint8 that are near copies, sorted.

    Compares every pair, 2,048 rows with 2,048 at once, which takes up to 0.8 GB.
    """
    shards = [range(start, min(start + SHARD_ROWS, len(pixels))) for start in range(0, len(pixels), SHARD_ROWS)]
    pairs = []
    for number, rows in enumerate(shards):
        views = Views.of(pixels[rows.start : rows.stop])
        for later in shards[number:]:
            others = views if later is rows else Views.of(pixels[later.start : later.stop])
            pairs += [(rows.start + a, later.start + b) for a, b in pairs_between(views, others)]
    return sorted(pairs)


def pairs_between(first: Views, other: Views) -> list[Pair]:
    """Pairs (row here, row there) that are near copies; of the same views, (earlier, later)."""
    alike = lookalikes.find_candidates(first, other)
    pairs = []
    for start in range(0, len(alike.first), AT_ONCE):
        some = slice(start, start + AT_ONCE)
        a, b = alike.first[some], alike.other[some]
        same = same_image(first.shown[a], other.shown[b], (first.thumbs[a], other.thumbs[b]), alike.move[some])
        pairs += zip(first.rows[a[same]].tolist(), other.rows[b[same]].tolist(), strict=True)
    return pairs

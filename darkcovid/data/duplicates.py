"""Which images are the same picture? Identical files by checksum; near copies by a perceptual hash, then by correlation.

The hash is the 64-bit pHash of the picture's low frequencies (Zauner 2010), which survives rescaling and recompression.
Candidates are compared pixel by pixel, because lungs look alike and hashes of different patients collide.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from scipy.fft import dctn

from darkcovid.data.pixels import whole_pixels
from darkcovid.data.store import Sharded, content_key, stored_finding

SIZE = (64, 64)
LOW = 8
NEAR_BITS = 10
CORRELATION = 0.97
AT_ONCE = 512

Pair = tuple[int, int]


def exact_duplicates(sha256: Sequence[str]) -> list[Pair]:
    """Pairs (first, later) of rows whose files are identical. sha256: (n) digests, '' where unknown."""
    rows = defaultdict(list)
    for row, digest in enumerate(sha256):
        if digest:
            rows[digest].append(row)
    return [(same[0], other) for same in rows.values() for other in same[1:]]


def near_duplicates(
    files: Sequence[Path],
    sha256: Sequence[str],
    cache_dir: Path,
    search: Callable[[np.ndarray | Sharded], Sequence[Pair]] | None = None,
) -> list[Pair]:
    """Pairs (first, later) of rows that show almost the same picture, identical files left out; remembered in the cache.

    search: what finds them instead of `near_pairs`, with the same answer.
    """

    def find() -> Sequence[Pair]:
        return (search or near_pairs)(whole_pixels(files, sha256, SIZE, cache_dir).array)

    key = content_key(kind="near copies", images=list(sha256), rules=[NEAR_BITS, CORRELATION])
    return [(a, b) for a, b in stored_finding(cache_dir / "findings", key, find) if sha256[a] != sha256[b]]


def near_pairs(pixels: np.ndarray) -> list[Pair]:
    """Pairs of rows of (n, 64, 64) uint8 whose hashes differ in at most 10 bits and whose pixels correlate above 0.97."""
    hashes, found = perceptual_hashes(pixels), []
    for start in range(0, len(pixels), AT_ONCE):
        block = hashes[start : start + AT_ONCE]
        differing = LOW * LOW - (block @ hashes.T + (1 - block) @ (1 - hashes).T)
        rows, others = np.nonzero(differing <= NEAR_BITS)
        later = start + rows < others
        found += alike(pixels, start + rows[later], others[later])
    return found


def alike(pixels: np.ndarray, first: np.ndarray, other: np.ndarray) -> list[Pair]:
    """Of the pairs (first, other) those whose pixels correlate. pixels: (n, h, w) uint8; first, other: (m,) rows."""
    found = []
    for start in range(0, len(first), AT_ONCE):
        a, b = first[start : start + AT_ONCE], other[start : start + AT_ONCE]
        close = (standardised(pixels[a]) * standardised(pixels[b])).sum(1) >= CORRELATION
        found += list(zip(a[close].tolist(), b[close].tolist(), strict=True))
    return found


def perceptual_hashes(pixels: np.ndarray) -> np.ndarray:
    """(n, 64, 64) uint8 to (n, 64) float32 of 0 and 1: which low frequencies are above their median."""
    low = np.stack([dctn(picture.astype(np.float32), norm="ortho")[:LOW, :LOW].ravel() for picture in pixels])
    return (low > np.median(low[:, 1:], axis=1, keepdims=True)).astype(np.float32)


def standardised(pixels: np.ndarray) -> np.ndarray:
    """(n, h, w) to (n, h * w) float32 of mean 0 and length 1, so that a product is a correlation."""
    flat = pixels.reshape(len(pixels), -1).astype(np.float32)
    flat -= flat.mean(1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)

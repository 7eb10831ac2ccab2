"""Which images are almost the same picture? Those of similar perceptual hash whose pixels correlate.

The hash is the 64-bit pHash of the picture's low frequencies (Zauner 2010), which survives rescaling and recompression.
Candidates are also compared pixel by pixel, because lungs look alike and hashes of different patients collide.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from scipy.fft import dct

from darkcovid.data.pixels import whole_pixels
from darkcovid.data.store import Sharded, content_key, stored_finding

SIZE = (64, 64)
LOW, FINE = 8, 16
NEAR_BITS = 10
CORRELATION = 0.97
AT_ONCE, TILE = 1024, 8192
APART = 1 - CORRELATION + 1e-4  # half the squared distance of standardised pictures, and room for rounding

Pair = tuple[int, int]


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


def near_pairs(pixels: np.ndarray | Sharded) -> list[Pair]:
    """Pairs of rows of (n, 64, 64) uint8 whose hashes differ in at most 10 bits and whose pixels correlate above 0.97.

    All pairs are compared by few low frequencies, and those that pass by more of them. No pair whose pixels correlate so well can
    fail: leaving out frequencies only brings two pictures closer.
    """
    fine = low_frequencies(pixels, FINE)
    low = np.ascontiguousarray(fine[:, :LOW, :LOW]).reshape(len(fine), -1)
    fine, found = fine.reshape(len(fine), -1), []
    half, hashes = (low**2).sum(1) / 2, hashed(low)
    for start in range(0, len(low), AT_ONCE):
        for other in range(start, len(low), TILE):
            rows, columns = slice(start, start + AT_ONCE), slice(other, other + TILE)
            first, later = np.nonzero(half[rows, None] + half[None, columns] - low[rows] @ low[columns].T <= APART)
            first, later = first + start, later + other
            for passes in (
                lambda a, b: a < b,
                lambda a, b: (hashes[a] != hashes[b]).sum(1) <= NEAR_BITS,
                lambda a, b: ((fine[a] - fine[b]) ** 2).sum(1) / 2 <= APART,
            ):
                kept = passes(first, later)
                first, later = first[kept], later[kept]
            found += alike(pixels, first, later)
    return found


def alike(pixels: np.ndarray | Sharded, first: np.ndarray, other: np.ndarray) -> list[Pair]:
    """Of the pairs (first, other) those whose pixels correlate. pixels: (n, h, w) uint8; first, other: (m,) rows."""
    found = []
    for start in range(0, len(first), AT_ONCE):
        a, b = first[start : start + AT_ONCE], other[start : start + AT_ONCE]
        close = (standardised(pixels[a]) * standardised(pixels[b])).sum(1) >= CORRELATION
        found += list(zip(a[close].tolist(), b[close].tolist(), strict=True))
    return found


def low_frequencies(pixels: np.ndarray | Sharded, side: int = LOW) -> np.ndarray:
    """(n, 64, 64) uint8 to (n, side, side) float32: the lowest coefficients of the `standardised` picture's cosine transform."""
    basis = dct(np.eye(SIZE[0]), norm="ortho", axis=0)[:side].astype(np.float32)
    parts = [
        basis @ standardised(pixels[start : start + AT_ONCE]).reshape(-1, *SIZE) @ basis.T
        for start in range(0, len(pixels), AT_ONCE)
    ]
    return np.concatenate(parts)


def hashed(low: np.ndarray) -> np.ndarray:
    """`low_frequencies` of n pictures to (n, 64) bool, the hash: which are above their median."""
    low = low.reshape(len(low), -1)
    return low > np.median(low[:, 1:], axis=1, keepdims=True)


def standardised(pixels: np.ndarray) -> np.ndarray:
    """(n, h, w) to (n, h * w) float32 of mean 0 and length 1, so that a product is a correlation."""
    flat = pixels.reshape(len(pixels), -1).astype(np.float32)
    flat -= flat.mean(1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)

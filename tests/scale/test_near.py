"""Near copies by hash bands are those of comparing every pair."""

import shutil
from itertools import combinations

import numpy as np
import pytest

from darkcovid.data.duplicates import NEAR_BITS, alike, hashed, low_frequencies, near_pairs
from darkcovid.data.store import Sharded
from darkcovid.scale.near import BAND_BITS, BANDS, MASKS, near_pairs_on_spark, packed
from darkcovid.scale.spark import start_spark


def test_bands_find_whatever_differs_in_ten_bits():
    random = np.random.RandomState(0)
    for _ in range(2000):
        first = random.randint(0, 2, 64)
        other = first.copy()
        other[random.choice(64, 10, replace=False)] ^= 1
        codes = packed(np.stack([first, other]))
        bands = [[(int(code) >> (BAND_BITS * band)) & (2**BAND_BITS - 1) for band in range(BANDS)] for code in codes]
        assert any(a ^ b in MASKS for a, b in zip(*bands, strict=True))


def brute(pictures):
    """Every pair, one by one."""
    hashes = hashed(low_frequencies(pictures))
    pairs = [(a, b) for a, b in combinations(range(len(pictures)), 2) if (hashes[a] != hashes[b]).sum() <= NEAR_BITS]
    return alike(pictures, *np.array(pairs).T)


def test_packed_hashes_keep_their_distances():
    bits = np.random.RandomState(1).randint(0, 2, (50, 64)).astype(np.float32)
    codes = packed(bits)
    for a in range(50):
        assert bin((int(codes[0]) ^ int(codes[a])) & (2**64 - 1)).count("1") == int((bits[0] != bits[a]).sum())


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("java") is None, reason="no Java on this machine; Spark needs 17 or 21")
def test_spark_gives_the_answer_of_every_pair(pixels, tmp_path, monkeypatch):
    monkeypatch.setattr("darkcovid.scale.near.SHARD_ROWS", 64)
    random, copies = np.random.RandomState(0), [np.array(pixels)]
    for shift in range(6):  # lighter, darker, noisy and shifted copies
        altered = np.clip(pixels.astype(int) + 8 * shift - 16 + random.randint(-4, 5, pixels.shape), 0, 255)
        copies.append(np.roll(altered.astype(np.uint8), shift, axis=2))
    every = np.concatenate(copies)
    shards = []
    for number, start in enumerate(range(0, len(every), 64)):
        np.save(tmp_path / f"{number}.npy", every[start : start + 64])
        shards.append(np.load(tmp_path / f"{number}.npy", mmap_mode="r"))
    wanted = sorted(near_pairs(every))
    assert wanted == brute(every) and len(wanted) > len(pixels)
    session = start_spark("local[2]", {"spark.sql.shuffle.partitions": "4"})
    try:
        assert near_pairs_on_spark(session, Sharded(shards)) == wanted
    finally:
        session.stop()

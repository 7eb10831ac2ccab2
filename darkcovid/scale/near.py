"""Near copies among more images than one machine can compare pair by pair: hash bands on Spark, with the local answers.

Two hashes of 64 bits that differ in at most 10 differ in at most 2 bits of one of their four bands of 16 (pigeonhole), so it is
enough to compare images that share a band but for two bits. Norouzi et al. 2012, "Fast search in Hamming space".
"""

from collections.abc import Iterator
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from darkcovid.data.duplicates import NEAR_BITS, Pair, alike, hashed, low_frequencies
from darkcovid.data.store import SHARD_ROWS, Sharded

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

BANDS, BAND_BITS = 4, 16
FLIPS = NEAR_BITS // BANDS
MASKS = [0, *(sum(1 << bit for bit in bits) for count in range(1, FLIPS + 1) for bits in combinations(range(BAND_BITS), count))]


def near_pairs_on_spark(session: "SparkSession", pixels: np.ndarray | Sharded) -> list[Pair]:
    """What `near_pairs` finds. pixels: (n, 64, 64) uint8 from the cache, which every worker can read."""
    from pyspark.sql import functions as f

    shards = pixels.shards if isinstance(pixels, Sharded) else [pixels]
    files = [str(shard.filename) for shard in shards]
    numbers = session.sparkContext.parallelize([(number,) for number in range(len(files))], len(files))
    hashed = session.createDataFrame(numbers, "shard long").mapInPandas(_hashes(files), "row long, hash long").cache()
    bands = f.explode(f.sequence(f.lit(0), f.lit(BANDS - 1))).alias("band")
    kept = hashed.select("row", "hash", bands).withColumn("key", _band())
    asked = kept.select("row", "hash", "band", f.explode(f.array(*map(f.lit, MASKS))).alias("flipped"), "key")
    asked = asked.select("row", "hash", "band", f.col("key").bitwiseXOR(f.col("flipped")).alias("key"))
    first, other = kept.alias("first"), asked.alias("other")
    near = (
        first.join(other, ["band", "key"])
        .where("first.row < other.row")
        .where(f"bit_count(first.hash ^ other.hash) <= {NEAR_BITS}")
        .select(f.col("first.row").alias("first"), f.col("other.row").alias("other"))
        .distinct()
    )
    found = near.mapInPandas(_alike(files), "first long, other long").collect()
    hashed.unpersist()
    return sorted((int(row["first"]), int(row["other"])) for row in found)


def _band() -> Any:
    from pyspark.sql import functions as f

    return f.expr(f"shiftrightunsigned(hash, band * {BAND_BITS}) & {2**BAND_BITS - 1}").cast("int")


def packed(hashes: np.ndarray) -> np.ndarray:
    """(n, 64) of 0 and 1 to (n,) int64, a bit each."""
    return np.packbits(hashes.astype(np.uint8), axis=1).view(np.int64)[:, 0]


def _hashes(files: list[str]) -> Any:
    def work(tables: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for table in tables:
            for number in table.shard:
                pixels = np.load(files[number], mmap_mode="r")
                rows = np.arange(len(pixels)) + number * SHARD_ROWS
                yield pd.DataFrame({"row": rows, "hash": packed(hashed(low_frequencies(pixels)))})

    return work


def _alike(files: list[str]) -> Any:
    def work(tables: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        pixels = Sharded([np.load(file, mmap_mode="r") for file in files])
        for table in tables:
            found = alike(pixels, table["first"].to_numpy(), table["other"].to_numpy())
            yield pd.DataFrame(found, columns=["first", "other"])

    return work

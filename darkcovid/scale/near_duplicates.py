"""Near copies by Spark: a task compares the images of one shard of the cache with those of another, as one machine does.

Every pair of shards is a task of its own, so the work is quadratic, needs no shuffle, and takes as many cores as there are pairs.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from darkcovid.core.array_cache import ShardedArray
from darkcovid.data.near_duplicates.candidates import Descriptors
from darkcovid.data.near_duplicates.search import Pair, pairs_between, renumbered

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def near_pairs_on_spark(
    session: "SparkSession", pixels: np.ndarray | ShardedArray, rows: Sequence[int] | None = None
) -> list[Pair]:
    """What `find_near_duplicates` finds.

    Args:
        session: Spark's.
        pixels: (n, 128, 128) uint8 from the cache, which every worker can read.
        rows: Those that are compared; None: all.

    Returns:
        Pairs (first, later) of rows, sorted.
    """
    shards = pixels.shards if isinstance(pixels, ShardedArray) else [pixels]
    files = [str(shard.filename) for shard in shards if isinstance(shard, np.memmap)]
    starts = np.cumsum([0, *map(len, shards)])
    asked = np.arange(len(pixels)) if rows is None else np.asarray(rows)
    some = [asked[(asked >= start) & (asked < stop)] for start, stop in pairwise(starts)]
    work = _compare(files, starts.tolist(), some)
    numbers = [(first, other) for first in range(len(shards)) for other in range(first, len(shards))]
    tasks = session.createDataFrame(session.sparkContext.parallelize(numbers, len(numbers)), "one long, other long")
    pairs = tasks.mapInPandas(work, "first long, later long").collect()
    return sorted((int(row["first"]), int(row["later"])) for row in pairs)


def _compare(files: list[str], starts: list[int], rows: list[np.ndarray]) -> Any:
    """rows: those of each file that are compared."""

    def descriptors(number: int) -> Descriptors:
        return Descriptors.of(np.load(files[number], mmap_mode="r")[rows[number] - starts[number]])

    def work(tables: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for table in tables:
            for here, other in table.itertuples(index=False):
                first = descriptors(here)
                pairs = pairs_between(first, first if other == here else descriptors(other))
                yield pd.DataFrame(renumbered(pairs, rows[here], rows[other]), columns=["first", "later"], dtype=np.int64)

    return work

"""Near copies by Spark: a task compares the images of one shard of the cache with those of another, as one machine does.

Every pair of shards is a task of its own, so the work is quadratic, needs no shuffle, and takes as many cores as there are pairs.
"""

from collections.abc import Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from darkcovid.core.array_cache import ShardedArray
from darkcovid.data.near_duplicates.candidates import Views
from darkcovid.data.near_duplicates.search import Pair, pairs_between

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def near_pairs_on_spark(session: "SparkSession", pixels: np.ndarray | ShardedArray) -> list[Pair]:
    """What `find_near_duplicates` finds. pixels: (n, 128, 128) uint8 from the cache, which every worker can read."""
    shards = pixels.shards if isinstance(pixels, ShardedArray) else [pixels]
    files, starts = [str(shard.filename) for shard in shards], [0, *accumulate(map(len, shards))]
    numbers = [(one, other) for one in range(len(files)) for other in range(one, len(files))]
    tasks = session.createDataFrame(session.sparkContext.parallelize(numbers, len(numbers)), "one long, other long")
    rows = tasks.mapInPandas(_compare(files, starts), "first long, later long").collect()
    return sorted((int(row["first"]), int(row["later"])) for row in rows)


def _compare(files: list[str], starts: list[int]) -> Any:
    def views(number: int) -> Views:
        return Views.of(np.load(files[number], mmap_mode="r"))

    def work(tables: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for table in tables:
            for one, other in table.itertuples(index=False):
                first = views(one)
                pairs = pairs_between(first, first if other == one else views(other))
                rows = [(starts[one] + a, starts[other] + b) for a, b in pairs]
                yield pd.DataFrame(rows, columns=["first", "later"], dtype=np.int64)

    return work

"""The engine of many machines: a block a task of Spark, which schedules them, tries them again, and forgets nothing.

All machines must see the images and the cache folder under the same paths (a shared file system). Shards are written whole or not
at all and named after their content, so a task may fail, be killed or run twice at once.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from darkcovid.core.array_cache import ShardedArray
from darkcovid.core.errors import DarkCovidError, UsageError, one_line
from darkcovid.data.near_duplicates.search import Pair
from darkcovid.scale.near_duplicates import near_pairs_on_spark
from darkcovid.scale.shards import Shard, ShardJob, ShardResult, process_shard

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

TRIES = 4
SCHEMA = "number long, images long, seconds double, fresh boolean"
BLOCK = "number long, names array<string>, sha256 array<string>, sizes array<array<int>>"


@dataclass(frozen=True)
class SparkEngine:
    """A Spark session."""

    session: "SparkSession"

    def do(self, job: ShardJob, blocks: Sequence[Shard]) -> Iterable[ShardResult]:
        """Every block's work on Spark's workers.

        Args:
            job: What every block needs to know.
            blocks: Of images.

        Returns:
            Results, in order.

        Raises:
            DarkCovidError: A block failed; what is done is kept.
        """
        if not blocks:
            return []
        rows = [(block.number, list(block.names), list(block.sha256), list(map(list, block.sizes))) for block in blocks]
        spread = self.session.sparkContext.parallelize(rows, len(rows))  # a task a block
        table = self.session.createDataFrame(spread, BLOCK)
        try:
            done = table.mapInPandas(_work_of(job), SCHEMA).collect()
        except Exception as error:  # noqa: BLE001 (Spark wraps whatever happened on a worker)
            raise DarkCovidError(f"spark: {job.stage} failed: {root_cause(error)}; run it again, what is done is kept") from None
        return sorted((ShardResult(**row.asDict()) for row in done), key=lambda result: result.number)

    def near_pairs(self, pixels: np.ndarray | ShardedArray, rows: Sequence[int]) -> list[Pair]:
        """The pairs of some rows that are near copies.

        Args:
            pixels: (n, 128, 128) uint8.
            rows: Those that are compared.

        Returns:
            Pairs (first, later) of rows.

        Raises:
            DarkCovidError: Spark failed.
        """
        try:
            return near_pairs_on_spark(self.session, pixels, rows)
        except Exception as error:  # noqa: BLE001
            raise DarkCovidError(f"spark: looking for near copies failed: {root_cause(error)}") from None


def start_spark(master: str | None, settings: Mapping[str, str]) -> "SparkSession":
    """A session: the one that spark-submit set up, or a new one.

    Args:
        master: Spark's; None: all cores of this machine.
        settings: Of Spark.

    Returns:
        The session.

    Raises:
        DarkCovidError: pyspark is not installed, or Spark does not start.
    """
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    try:
        from pyspark import SparkConf
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise DarkCovidError(f"--engine spark needs {error.name}; install `darkcovid[spark]`") from None
    conf = SparkConf()
    if master or not conf.contains("spark.master"):
        conf.setMaster(master or f"local[*,{TRIES}]")
    if (conf.get("spark.master") or "").startswith("local"):
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    conf.setIfMissing("spark.app.name", "darkcovid data prepare")
    conf.setIfMissing("spark.ui.enabled", "false")
    conf.setIfMissing("spark.executorEnv.OMP_NUM_THREADS", conf.get("spark.task.cpus", "1"))
    conf.setIfMissing("spark.ui.showConsoleProgress", "false")
    conf.set("spark.sql.caseSensitive", "true")  # columns `Label` and `label` of one manifest are two
    for key, value in settings.items():
        conf.set(key, value)
    try:
        session = SparkSession.builder.config(conf=conf).getOrCreate()
    except Exception as error:  # noqa: BLE001 (whatever Java says)
        raise DarkCovidError(f"spark does not start: {root_cause(error)}; Spark 4 needs Java 17 or 21") from None
    session.sparkContext.setLogLevel("ERROR")
    return session


def parse_conf(settings: Sequence[str]) -> dict[str, str]:
    """KEY=VALUE as a mapping.

    Raises:
        UsageError: One has no `=`.
    """
    for word in settings:
        if "=" not in word:
            raise UsageError(f"--spark-conf {word}: give KEY=VALUE, such as spark.executor.memory=8g")
    return dict(word.split("=", 1) for word in settings)


def _work_of(job: ShardJob) -> Any:
    def work(tables: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        import torch

        from darkcovid.core.warnings import silence_known_warnings

        silence_known_warnings()
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        for table in tables:
            done = [astuple(process_shard(job, _block(row))) for row in table.itertuples(index=False)]
            yield pd.DataFrame(done, columns=[field.name for field in fields(ShardResult)])

    return work


def _block(row: Any) -> Shard:
    sizes = tuple((int(width), int(height)) for width, height in row.sizes)
    return Shard(int(row.number), tuple(row.names), tuple(row.sha256), sizes)


def root_cause(error: Exception) -> str:
    """The line of Spark's message that tells the most."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    errors = [line for line in lines if ("Error" in line or "Exception" in line) and not line.startswith("at ")]
    return one_line((errors or lines or [type(error).__name__])[-1])[:200]

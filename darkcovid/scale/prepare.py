"""Everything a recipe needs of its images, made ahead of a run: verified, decoded, segmented, cropped, resized, in the cache."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

import numpy as np

from darkcovid.core.array_cache import ShardedArray
from darkcovid.core.device import get_device
from darkcovid.core.errors import UsageError
from darkcovid.core.log import logger
from darkcovid.data.cohort import load_classification_cohort, select_rows
from darkcovid.data.near_duplicates.search import Pair, cached_near_duplicates, find_near_duplicates
from darkcovid.recipe import Recipe
from darkcovid.scale.shards import Shard, ShardJob, ShardResult, Stage, get_segmenter, iter_shards, lung_weights, process_shard
from darkcovid.vision.arm_inputs import InputBuilder


class Engine(Protocol):
    """Who does the work."""

    def do(self, job: ShardJob, blocks: Sequence[Shard]) -> Iterable[ShardResult]:
        """Every block's work, each as soon as it is done.

        Args:
            job: What every block needs to know.
            blocks: Of images.

        Returns:
            Results, in any order.
        """
        ...

    def near_pairs(self, pixels: np.ndarray | ShardedArray, rows: Sequence[int]) -> list[Pair]:
        """The pairs of some rows that are near copies.

        Args:
            pixels: (n, 128, 128) uint8.
            rows: Those that are compared.

        Returns:
            Pairs (first, later) of rows.
        """
        ...


class LocalEngine:
    """This process, block after block."""

    def do(self, job: ShardJob, blocks: Sequence[Shard]) -> Iterable[ShardResult]:
        """Every block's work in this process.

        Args:
            job: What every block needs to know.
            blocks: Of images.

        Returns:
            Results, in order.
        """
        return (process_shard(job, block) for block in blocks)

    def near_pairs(self, pixels: np.ndarray | ShardedArray, rows: Sequence[int]) -> list[Pair]:
        """The pairs of some rows that are near copies.

        Args:
            pixels: (n, 128, 128) uint8.
            rows: Those that are compared.

        Returns:
            Pairs (first, later) of rows.
        """
        return find_near_duplicates(pixels, rows)


def prepare_recipe(recipe: Recipe, cache_dir: Path, engine: Engine) -> dict[str, Any]:
    """Fill the cache with what a recipe's arms need.

    Args:
        recipe: Of a run.
        cache_dir: The cache.
        engine: This process, or Spark.

    Returns:
        images, bad_images, image_size, seconds, and of each stage blocks, how many of them had shards to make (None where
        none are
        kept), and seconds.

    Raises:
        UsageError: Not a recipe of classifiers; and as `load_classification_cohort` does, once all images were looked at.
    """
    if recipe.task != "classification":
        raise UsageError(f"task: {recipe.task} has nothing to prepare; it reads its masks at once")
    started, stages = perf_counter(), {}

    def carry_out(stage: Stage, blocks: Sequence[Shard], **more: Any) -> None:
        logger.info(f"{stage}: {sum(len(block.names) for block in blocks)} images in {len(blocks)} blocks")
        began = perf_counter()
        done = []
        for result in engine.do(ShardJob(stage, recipe, cache_dir, **more), blocks):
            done.append(result)
            logger.info(f"{stage}: {len(done)}/{len(blocks)} blocks, {result.images} images in {result.seconds:.1f} s")
        stages[stage] = {
            "blocks": len(blocks),
            "blocks_made": None if stage == "intake" else sum(result.fresh for result in done),
            "seconds": perf_counter() - began,
        }

    manifest, *_ = select_rows(recipe.data, cache_dir)
    carry_out("intake", list(iter_shards(manifest.rows.path, manifest.rows.sha256)), roots=manifest.roots)
    cohort = load_classification_cohort(recipe.data, cache_dir)
    blocks = list(iter_shards(cohort.files, cohort.sha256, cohort.sizes))
    maker = InputBuilder(recipe, cohort, get_device(recipe.training.device), cache_dir, get_segmenter)
    if lung_weights(recipe):
        carry_out("lungs", blocks)
    sizes = tuple((arm, maker.size(arm)) for arm in maker.arms)
    carry_out("pixels", blocks, sizes=sizes)
    if recipe.audit != "none":
        logger.info("near copies")
        began = perf_counter()
        cached_near_duplicates(cohort.files, cohort.sha256, cache_dir, engine.near_pairs)
        stages["near copies"] = {"blocks": len(blocks), "blocks_made": None, "seconds": perf_counter() - began}
    return {
        "images": len(cohort),
        "bad_images": len(cohort.bad),
        "image_size": {arm: list(size) for arm, size in sizes},
        "seconds": perf_counter() - started,
        "stages": stages,
    }

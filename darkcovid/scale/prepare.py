"""Everything a recipe needs of its images, made ahead of a run: verified, decoded, segmented, cropped, resized, in the cache."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

import numpy as np

from darkcovid.compute import pick_compute
from darkcovid.data.cohort import chosen_rows, classification_cohort
from darkcovid.data.duplicates import Pair, near_duplicates, near_pairs
from darkcovid.data.store import Sharded
from darkcovid.errors import RequestError
from darkcovid.inputs import InputMaker
from darkcovid.recipe import Recipe
from darkcovid.scale.blocks import Block, Done, Job, Stage, blocks_of, lung_weights, make_block, segmenter_of


class Engine(Protocol):
    """Who does the work."""

    def do(self, job: Job, blocks: Sequence[Block]) -> Iterable[Done]:
        """Every block's work, each as soon as it is done."""

    def near_pairs(self, pixels: np.ndarray | Sharded) -> list[Pair]:
        """The pairs of rows of (n, 128, 128) uint8 pixels that are near copies."""


class Here:
    """This process, block after block."""

    def do(self, job: Job, blocks: Sequence[Block]) -> Iterable[Done]:
        return (make_block(job, block) for block in blocks)

    def near_pairs(self, pixels: np.ndarray | Sharded) -> list[Pair]:
        return near_pairs(pixels)


def prepare_recipe(recipe: Recipe, cache_dir: Path, engine: Engine, say: Callable[[str], None]) -> dict[str, Any]:
    """Fill the cache with what a recipe's arms need. Returns images, bad_images, image_size, seconds, and of each stage
    blocks, how many of them had shards to make (None where none are kept), and seconds.

    Raises RequestError: not a recipe of classifiers; and as `classification_cohort` does, once all images were looked at.
    """
    if recipe.task != "classification":
        raise RequestError(f"task: {recipe.task} has nothing to prepare; it reads its masks at once")
    started, stages = perf_counter(), {}

    def carry_out(stage: Stage, blocks: Sequence[Block], **more: Any) -> None:
        say(f"{stage}: {sum(len(block.names) for block in blocks)} images in {len(blocks)} blocks")
        began = perf_counter()
        done = []
        for one in engine.do(Job(stage, recipe, cache_dir, **more), blocks):
            done.append(one)
            say(f"{stage}: {len(done)}/{len(blocks)} blocks, {one.images} images in {one.seconds:.1f} s")
        stages[stage] = {
            "blocks": len(blocks),
            "blocks_made": None if stage == "intake" else sum(one.fresh for one in done),
            "seconds": perf_counter() - began,
        }

    manifest, *_ = chosen_rows(recipe.data, cache_dir)
    carry_out("intake", list(blocks_of(manifest.rows.path, manifest.rows.sha256)), roots=manifest.roots)
    cohort = classification_cohort(recipe.data, cache_dir)
    blocks = list(blocks_of(cohort.files, cohort.sha256, cohort.sizes))
    maker = InputMaker(recipe, cohort, pick_compute(recipe.training.device), cache_dir, segmenter_of)
    if lung_weights(recipe):
        carry_out("lungs", blocks)
    sizes = tuple((arm, maker.size(arm)) for arm in maker.arms)
    carry_out("pixels", blocks, sizes=sizes)
    if recipe.audit != "none":
        say("near copies")
        began = perf_counter()
        near_duplicates(cohort.files, cohort.sha256, cache_dir, engine.near_pairs)
        stages["near copies"] = {"blocks": len(blocks), "blocks_made": None, "seconds": perf_counter() - began}
    return {
        "images": len(cohort),
        "bad_images": len(cohort.bad),
        "image_size": {arm: list(size) for arm, size in sizes},
        "seconds": perf_counter() - started,
        "stages": stages,
    }

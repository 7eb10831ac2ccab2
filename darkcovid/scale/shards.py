"""Preparing in pieces: which blocks of images there are, and the work on one, the same on whatever machine does it.

A block is as long as a shard of the cache, so each block's work fills whole shards: two blocks never write one file, and a block
that was done before, here or elsewhere, is skipped.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from time import perf_counter
from typing import Literal

import numpy as np
import pandas as pd

from darkcovid.core.array_cache import shard_ranges
from darkcovid.core.device import get_device
from darkcovid.data.check_files import validate_files
from darkcovid.data.cohort import Cohort
from darkcovid.data.manifest import Manifest
from darkcovid.data.near_duplicates.search import SIZE
from darkcovid.lungs.unet import LungUNet, load_segmenter
from darkcovid.recipe import Lungs, Recipe
from darkcovid.vision.arm_inputs import InputBuilder

Stage = Literal["intake", "lungs", "pixels"]


@dataclass(frozen=True)
class ShardJob:
    """What every block of a stage needs to know.

    Attributes:
        stage: Its name.
        recipe: Of the run.
        cache_dir: The cache.
        roots: Folders of images.
        sizes: (height, width) of each arm's input, for the stage `pixels`.
    """

    stage: Stage
    recipe: Recipe
    cache_dir: Path
    roots: tuple[Path, ...] = ()
    sizes: tuple[tuple[str, tuple[int, int]], ...] = ()


@dataclass(frozen=True)
class Shard:
    """Consecutive images.

    Attributes:
        number: Of the block.
        names: For the stage `intake` the manifest's paths, else the files.
        sha256: Their checksums, '' where none is known.
        sizes: Width and height of each in pixels; none before intake.
    """

    number: int
    names: tuple[str, ...]
    sha256: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class ShardResult:
    """What became of a block: how many images, seconds, and whether any shard had to be made."""

    number: int
    images: int
    seconds: float
    fresh: bool


def iter_shards(
    names: Sequence[str | Path], sha256: Sequence[str], sizes: Sequence[Sequence[int]] | np.ndarray = ()
) -> Iterator[Shard]:
    """The blocks of n images.

    Args:
        names: (n) paths.
        sha256: (n) their checksums.
        sizes: (n, 2) width and height in pixels; empty: not known.

    Yields:
        Blocks.
    """
    for number, shard in enumerate(shard_ranges(len(names))):
        rows = slice(shard.start, shard.stop)
        pixels = tuple((int(width), int(height)) for width, height in sizes[rows])
        yield Shard(number, tuple(map(str, names[rows])), tuple(sha256[rows]), pixels)


def process_shard(job: ShardJob, block: Shard) -> ShardResult:
    """Do one block's work: verify and decode its files, find its lungs, or write its inputs of every arm.

    Args:
        job: What every block needs to know.
        block: Of images.

    Returns:
        What was done.
    """
    started = perf_counter()
    if job.stage == "intake":
        rows = pd.DataFrame({"path": block.names, "sha256": block.sha256})
        validate_files(Manifest(rows, job.roots), job.cache_dir)
        fresh = False
    else:
        fresh = _make_inputs(job, _unlabeled_cohort(block))
    return ShardResult(block.number, len(block.names), perf_counter() - started, fresh)


def _make_inputs(job: ShardJob, cohort: Cohort) -> bool:
    recipe = job.recipe
    maker = InputBuilder(recipe, cohort, get_device(recipe.training.device), job.cache_dir, get_segmenter)
    audited = [SIZE] * (recipe.audit != "none")
    arrays_made = [maker.decode_whole(maker.arms, audited)] if job.stage == "lungs" else []
    for weights in lung_weights(recipe):
        arrays_made.append(maker.lungs(Lungs(weights=weights)).fresh)
    if job.stage == "pixels":
        arrays_made.append(maker.decode_together([(maker.arms[arm], size) for arm, size in job.sizes], audited))
    for arm, size in job.sizes:
        arrays_made += [stored.fresh for stored in maker.everything(arm, size)]
    return any(arrays_made)


def lung_weights(recipe: Recipe) -> list[str | None]:
    """The lung segmenters that the recipe's arms need, None for the shipped one."""
    weights_files: list[str | None] = []
    for arm in recipe.arm_recipes().values():
        if arm.lungs is not None or arm.locates_lungs:
            weights = arm.lungs.weights if arm.lungs else None
            weights_files += [weights] if weights not in weights_files else []
    return weights_files


@lru_cache(maxsize=2)
def get_segmenter(weights: str | None) -> LungUNet:
    """The lung segmenter, loaded once per process."""
    return load_segmenter(weights)


def _unlabeled_cohort(block: Shard) -> Cohort:
    """Images without labels or sides: inputs do not depend on them."""
    count = len(block.names)
    none = np.zeros(count, bool)
    return Cohort(
        rows=pd.DataFrame({"path": block.names}),
        classes=(),
        labels=np.zeros(count, np.int64),
        valid=none,
        test=none,
        files=tuple(map(Path, block.names)),
        sha256=block.sha256,
        sizes=np.array(block.sizes, int).reshape(-1, 2),
        bad=(),
        manifest=Manifest(pd.DataFrame(), ()),
    )

"""Near copies by Spark are those that one process finds."""

import shutil

import numpy as np
import pytest
from PIL import ImageOps

from darkcovid.core.array_cache import ShardedArray
from darkcovid.data.near_duplicates.search import find_near_duplicates
from darkcovid.scale.near_duplicates import near_pairs_on_spark

from ..data.alterations import cropped, rotated
from ..data.test_near_duplicates import phantom_images, squashed


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("java") is None, reason="no Java on this machine; Spark needs 17 or 21")
def test_spark_gives_the_answer_of_one_process(session, cache_dir, tmp_path):
    images = phantom_images(cache_dir, patients=12, image_size=192)
    altered = [alter(image) for alter in (ImageOps.mirror, rotated(4), cropped(0.05, 0, 0, 0.05)) for image in images]
    pixels, shards = squashed([*images, *altered]), []
    for number, start in enumerate(range(0, len(pixels), 32)):
        np.save(tmp_path / f"{number}.npy", pixels[start : start + 32])
        shards.append(np.load(tmp_path / f"{number}.npy", mmap_mode="r"))
    assert len(shards) > 2
    pairs = find_near_duplicates(ShardedArray(shards))
    assert pairs == find_near_duplicates(pixels)
    assert len(pairs) >= len(altered)
    assert near_pairs_on_spark(session, ShardedArray(shards)) == pairs

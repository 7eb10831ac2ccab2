"""Near copies by Spark are those that one process finds."""

import shutil

import numpy as np
import pytest
from PIL import ImageOps

from darkcovid.data.duplicates import near_pairs
from darkcovid.data.store import Sharded
from darkcovid.scale.near import near_pairs_on_spark

from ..data.alterations import cropped, rotated
from ..data.test_duplicates import phantom_images, squashed


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
    pairs = near_pairs(Sharded(shards))
    assert pairs == near_pairs(pixels)
    assert len(pairs) >= len(altered)
    assert near_pairs_on_spark(session, Sharded(shards)) == pairs

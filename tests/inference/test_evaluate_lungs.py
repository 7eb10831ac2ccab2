"""Scores of lung masks, of more images than one file of the cache holds."""

import numpy as np
import pytest

from darkcovid.core import array_cache
from darkcovid.inference.evaluate_lungs import evaluate_lungs
from darkcovid.lungs.unet import load_segmenter


def test_masks_in_several_files_of_the_cache_are_scored_as_in_one(phantom_data, cpu, tmp_path, monkeypatch):
    segmenter, names = load_segmenter(None), ("one", "several")
    summaries = []
    for name, rows in zip(names, (2048, 10), strict=True):
        monkeypatch.setattr(array_cache, "SHARD_ROWS", rows)
        summaries.append(evaluate_lungs(phantom_data, segmenter, cpu, 0.05, tmp_path / name / "cache", tmp_path / name))
    one, several = summaries
    assert one["images"] == several["images"] > 2 * 10
    assert several["dice"]["mean"] == pytest.approx(one["dice"]["mean"])
    assert np.isfinite(several["box_iou_mean"])

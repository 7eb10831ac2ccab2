"""Preparing in blocks, here and on a real Spark: the same bytes, done once, whatever is killed on the way."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from darkcovid.core.errors import UsageError
from darkcovid.experiment.runner import RunPaths, run
from darkcovid.recipe import load_recipe
from darkcovid.report.progress import null_progress
from darkcovid.scale.prepare import LocalEngine, prepare_recipe
from darkcovid.scale.spark import parse_conf

from ..commands import error_of
from ..conftest import RECIPES

SETS = ["data.manifest=phantom", "data.dataset=null", "data.phantom.patients=40", "data.phantom.image_size=96"]
SETS += ["data.image_size=96", "lungs.crop_size=64", "training.precision=fp32", "training.device=cpu"]
WORDS = [word for key in SETS for word in ("--set", key)]
ROWS = 16  # images of a shard, so that there are several

needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="no Java on this machine; Spark needs 17 or 21")


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr("darkcovid.core.array_cache.SHARD_ROWS", ROWS)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The phantoms' files, drawn once."""
    from darkcovid.data.phantom import phantom_manifest

    folder = tmp_path_factory.mktemp("drawn")
    phantom_manifest(load_recipe(RECIPES / "segmented.yaml", SETS).data.phantom, folder)
    return folder


@pytest.fixture
def cache(drawn, tmp_path):
    shutil.copytree(drawn, tmp_path / "cache")
    return tmp_path / "cache"


def prepared(cache):
    return prepare_recipe(load_recipe(RECIPES / "segmented.yaml", SETS), cache, LocalEngine())


def contents(cache):
    return {path.relative_to(cache): path.read_bytes() for kind in ("pixels", "masks") for path in (cache / kind).glob("*.npy")}


def on_spark(cache, rows=ROWS, **options):
    """`data prepare --engine spark` in a process of its own, whose shards have so many rows."""
    code = f"import darkcovid.core.array_cache as s; s.SHARD_ROWS = {rows}; from darkcovid.cli import main; main()"
    words = ["data", "prepare", str(RECIPES / "segmented.yaml"), *WORDS, "--cache-dir", str(cache)]
    words += ["--engine", "spark", "--master", "local[2,4]", "--json"]
    return subprocess.Popen([sys.executable, "-c", code, *words], stdout=subprocess.PIPE, text=True, **options)


def test_a_second_run_makes_only_what_is_missing(cache, small_shards):
    first = prepared(cache)
    assert first["stages"]["lungs"]["blocks"] == first["stages"]["lungs"]["blocks_made"] == -(-first["images"] // ROWS)
    assert prepared(cache)["stages"]["pixels"]["blocks_made"] == 0
    before = contents(cache)
    sorted((cache / "masks").glob("*.npy"))[0].unlink()
    next(path for path in (cache / "pixels").glob("*.npy") if path.stat().st_size == ROWS * 2 * 64 * 64 + 128).unlink()
    again = prepared(cache)["stages"]
    assert again["lungs"]["blocks_made"] == again["pixels"]["blocks_made"] == 1
    assert contents(cache) == before


def test_a_run_finds_everything_that_was_prepared(cache, small_shards):
    from darkcovid.core.device import get_device
    from darkcovid.data.cohort import load_classification_cohort
    from darkcovid.vision.arm_inputs import InputBuilder

    found = prepared(cache)
    recipe = load_recipe(RECIPES / "segmented.yaml", SETS)
    maker = InputBuilder(recipe, load_classification_cohort(recipe.data, cache), get_device("cpu"), cache)
    for arm, size in found["image_size"].items():
        inputs = maker.make(arm)
        assert not inputs.fresh and list(inputs.size) == size and len(inputs.pixels) == found["images"]


@pytest.mark.slow
def test_a_whole_run_on_shards_is_the_run_on_one_array(cache, tmp_path, monkeypatch):
    """Audits and Grad-CAM included, with lungs in the crop and in the audit."""
    recipe = load_recipe(RECIPES / "segmented.yaml", [*SETS, "training.epochs=1", "training.batch_size=8"])
    run(recipe, RunPaths(tmp_path / "whole", cache), null_progress(), ["small", "segmented"])
    for kind in ("pixels", "masks", "intake", "findings"):
        shutil.rmtree(cache / kind)
    monkeypatch.setattr("darkcovid.core.array_cache.SHARD_ROWS", ROWS)
    run(recipe, RunPaths(tmp_path / "shards", cache), null_progress(), ["small", "segmented"])
    (whole,), (shards,) = (tmp_path / "whole").iterdir(), (tmp_path / "shards").iterdir()
    for name in ("predictions.csv", "split.csv", "gradcam.csv"):
        for arm in ("small", "segmented"):
            assert (shards / arm / name).read_text() == (whole / arm / name).read_text()
    audits = [json.loads((folder / "audit.json").read_text()) | {"seconds": 0} for folder in (whole, shards)]
    assert audits[0] == audits[1]


def test_one_bad_image_is_counted_and_does_not_end_it(cache, small_shards):
    image = next(cache.glob("phantom/*/images/*.png"))
    image.write_bytes(b"broken")
    found = prepare_recipe(load_recipe(RECIPES / "segmented.yaml", [*SETS, "data.max_bad=0.05"]), cache, LocalEngine())
    assert found["bad_images"] == 1


@pytest.mark.slow
@needs_java
def test_spark_writes_the_same_bytes_and_goes_on_after_a_killed_worker_and_a_killed_driver(cache, tmp_path, drawn, small_shards):
    shutil.copytree(drawn, tmp_path / "other")
    prepared(cache)
    process = on_spark(tmp_path / "other")
    wait_for_shards(tmp_path / "other", 1)
    workers = [child for child in psutil.Process(process.pid).children(recursive=True) if is_worker(child)]
    assert workers
    workers[0].kill()
    wait_for_shards(tmp_path / "other", 2)
    found = json.loads(process.communicate(timeout=300)[0])
    assert found["stages"]["pixels"]["blocks"] == -(-found["images"] // ROWS) > 2
    assert contents(tmp_path / "other") == contents(cache)

    assert len(crops(tmp_path / "other")) > 2
    for path in crops(tmp_path / "other"):
        path.unlink()
    process = on_spark(tmp_path / "other", start_new_session=True)
    wait_for(lambda: any(crops(tmp_path / "other")))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert on_spark(tmp_path / "other").communicate(timeout=300)
    assert contents(tmp_path / "other") == contents(cache)


def crops(cache):
    return [path for path in (cache / "pixels").glob("*.npy") if np.load(path, mmap_mode="r").shape[-1] == 64]


def wait_for_shards(cache, count):
    wait_for(lambda: len(list((cache / "masks").glob("*.npy"))) >= count)


def wait_for(happened):
    until = time.monotonic() + 300
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.02)


def is_worker(process):
    try:
        return "pyspark.daemon" in " ".join(process.cmdline()) and not process.children()
    except psutil.Error:
        return False


def test_wrong_requests(darkcovid, cache):
    recipe = RECIPES / "segmented.yaml"
    assert "'dask' is not one of 'local', 'spark'" in error_of(darkcovid("data", "prepare", recipe, "--engine", "dask", code=2))
    lungs = RECIPES / "lung_unet.yaml"
    assert "has nothing to prepare" in error_of(darkcovid("data", "prepare", lungs, "--phantom", code=2))
    with pytest.raises(UsageError, match="--spark-conf x: give KEY=VALUE"):
        parse_conf(["x"])

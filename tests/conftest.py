"""Shared truths: a small phantom cohort, a cache for the session, and the real radiographs where they are there."""

import gc
import os
from collections import Counter
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: OpenMP threads that spin starve one another beside other work

import pytest
import torch
from PIL import Image

from darkcovid.core.device import Device
from darkcovid.core.io import save_png
from darkcovid.data.cohort import load_classification_cohort
from darkcovid.data.resize import cached_whole_images
from darkcovid.recipe import Data, Phantom, Recipe, Training
from darkcovid.report import plots

from .commands import command

REAL = Path(__file__).parents[1] / ".." / "shared" / "data"
RECIPES = Path(__file__).parents[1] / "recipes"

SMALL = Phantom(patients=24, image_size=64, signal=1.0)


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def private_cache(cache_dir, monkeypatch):
    monkeypatch.setenv("DARKCOVID_CACHE", str(cache_dir))
    monkeypatch.delenv("DARKCOVID_DATA", raising=False)


@pytest.fixture(scope="module")
def quick_plots():
    """Every plot is one gray pixel: drawing takes a third of a run this short."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "save", lambda figure, path: save_png(Image.new("L", (1, 1)), path))
        yield


@pytest.fixture
def darkcovid(tmp_path):
    """Runs `darkcovid WORDS` in a folder of its own, and wants this exit code and no traceback."""

    def call(*words, code=0):
        done = command(words, tmp_path)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done

    return call


@pytest.fixture
def darkcovid_raw(tmp_path):
    """Runs `darkcovid WORDS` in a folder of its own, whatever becomes of it."""
    return lambda *words: command(words, tmp_path)


@pytest.fixture
def folders(tmp_path, cache_dir):
    from darkcovid.experiment.runner import RunPaths

    return RunPaths(tmp_path / "runs", cache_dir)


@pytest.fixture
def phantom_data():
    return Data(manifest="phantom", image_size=64, phantom=SMALL, augment="none")


@pytest.fixture
def cohort(phantom_data, cache_dir):
    return load_classification_cohort(phantom_data, cache_dir)


@pytest.fixture
def pixels(cohort, cache_dir):
    return cached_whole_images(cohort.files, cohort.sha256, (64, 64), cache_dir).array


@pytest.fixture
def tiny_recipe(phantom_data):
    training = Training(epochs=3, batch_size=8, precision="fp32", device="cpu")
    return Recipe(name="tiny", data=phantom_data.model_copy(update={"augment": "fastai_default"}), training=training)


@pytest.fixture
def cpu():
    return Device(torch.device("cpu"), "fp32")


@pytest.fixture
def real_data():
    if not (REAL / "ozturk512" / "manifest.csv").is_file():
        pytest.skip("the real radiographs are not in ../shared/data")
    return REAL.resolve()


def pytest_collection_modifyitems(items):
    """Files with the most slow tests first, so that no worker is left with one at the end."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


def pytest_collection_finish():
    """What has been imported stays, and no collection of garbage looks through it again."""
    gc.collect()
    gc.freeze()


def pytest_report_header():
    there = (REAL / "ozturk512" / "manifest.csv").is_file()
    return [f"real radiographs: {'found' if there else 'NOT found, their tests are skipped'}; {os.cpu_count()} cores"]

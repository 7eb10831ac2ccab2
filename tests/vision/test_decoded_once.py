"""An image is decoded a fixed number of times, however many arms, masks and audits look at it."""

from collections import Counter

import pytest

import darkcovid.data.decode
from darkcovid.experiment.runner import RunPaths, prepare
from darkcovid.recipe import load_recipe
from darkcovid.report.progress import null_progress
from darkcovid.scale.prepare import LocalEngine, prepare_recipe

from ..conftest import RECIPES

SETS = ["data.manifest=phantom", "data.dataset=null", "data.phantom.patients=18", "data.phantom.image_size=96"]
SETS += ["data.image_size=64", "lungs.crop_size=32", "data.split.valid=0.3"]
MANY_ARMS = {
    "wide": {"lungs.margin": 0.2},
    "masked": {"lungs.mode": "mask", "lungs.context_channel": False},
    "erased": {"lungs.mode": "outside", "lungs.context_channel": False},
    "letterbox": {"lungs": None, "data.letterbox": True},
    "clahe": {"data.contrast": "clahe"},
    "tiny": {"lungs": None, "data.image_size": 32},
}


@pytest.fixture
def decoded(monkeypatch):
    """How often each file was decoded."""
    counts: Counter[str] = Counter()
    decode = darkcovid.data.decode._decoded

    def counting(file, name, most_pixels):
        counts[name] += 1
        return decode(file, name, most_pixels)

    monkeypatch.setattr(darkcovid.data.decode, "_decoded", counting)
    return counts


@pytest.fixture(scope="module")
def recipe():
    plain = load_recipe(RECIPES / "segmented.yaml", SETS)
    return plain.model_copy(update={"arms": plain.arms | MANY_ARMS})


def test_a_run_decodes_an_image_to_check_it_once_whole_and_once_for_crops(recipe, decoded, tmp_path):
    names = list(recipe.arm_recipes())
    prepared = prepare(recipe, names, RunPaths(tmp_path / "runs", tmp_path / "cache"), null_progress())
    assert len(names) == 9 and set(prepared.inputs) == set(names)
    assert all(prepared.inputs[name].fresh for name in names)
    (cohort,) = prepared.cohorts.values()
    assert len(decoded) == len(cohort) > 20
    assert max(decoded.values()) <= 3

    decoded.clear()
    again = prepare(recipe, names, RunPaths(tmp_path / "runs", tmp_path / "cache"), null_progress())
    assert not decoded and not any(again.inputs[name].fresh for name in names)
    for name in names:
        assert (again.inputs[name].pixels == prepared.inputs[name].pixels).all()


def test_so_does_data_prepare_and_a_run_then_decodes_nothing(recipe, decoded, tmp_path):
    about = prepare_recipe(recipe, tmp_path, LocalEngine())
    assert len(decoded) == about["images"] and max(decoded.values()) <= 3
    assert about["stages"]["lungs"]["blocks_made"] == about["stages"]["pixels"]["blocks_made"] == 1
    decoded.clear()
    prepare(recipe, list(recipe.arm_recipes()), RunPaths(tmp_path / "runs", tmp_path), null_progress())
    assert not decoded
    assert prepare_recipe(recipe, tmp_path, LocalEngine())["stages"]["pixels"]["blocks_made"] == 0

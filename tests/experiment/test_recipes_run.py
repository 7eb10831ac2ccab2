"""Every recipe that ships, for one epoch on a few phantoms."""

import json

import pytest

from darkcovid.experiment.runner import run
from darkcovid.recipe import load_recipe

from ..conftest import RECIPES
from ..data.sources import write_two_hospitals
from .test_runner import Watched

pytestmark = pytest.mark.usefixtures("quick_plots")

FEW = ["data.manifest=phantom", "data.dataset=null", "data.phantom.patients=24", "data.phantom.image_size=64"]
FEW += ["data.max_per_class=null", "training.epochs=1", "training.batch_size=8", "data.split.valid=0.25"]
OWN = {
    "external": ["data.external=[{manifest: phantom, shared_patient_ids: false, phantom: {seed: 8, patients: 12}}]"],
    "transfer": ["training.folds=2", "arms.darkcovidnet.training.epochs=1"],
    "lung_unet_folds": ["training.folds=2"],
    "multi_source": ["training.folds=2"],
    "remedies": ["training.folds=null", "data.split.held_out=north"],
    "unseen_hospitals": ["training.folds=null", "data.split.held_out=north"],
}
LARGER = [
    *(RECIPES / "systems").rglob("*.yaml"),
    RECIPES / "zoo.yaml",
    RECIPES / "transfer.yaml",
    RECIPES / "remedies.yaml",
    RECIPES / "crops.yaml",
    RECIPES / "unseen_hospitals.yaml",
]
REBUILT = RECIPES / "systems" / "radiography2020"  # the same systems on other images, which tests/models/test_systems.py holds
PATHS = sorted(
    {*RECIPES.rglob("*.yaml")} - {*REBUILT.glob("*.yaml")} | {REBUILT / "cnn13.yaml", REBUILT / "vgg16_four_class.yaml"}
)


def overrides(path):
    """Small pictures where the recipe names a size, few held out, and no weights from outside."""
    plain = load_recipe(path)
    sets = [*FEW, *OWN.get(path.stem, [])]
    if "radiography2020" in path.as_posix():
        sets.append("data.phantom.patients=48")  # of its pneumonias only half are viral
    if plain.task == "classification":
        sets.append(f"data.image_size={128 if path.stem == 'basic_cnn_4' else 96 if path in LARGER else 64}")
        sets.append("model.weights=none")
        sets += ["audit=none"] if path in LARGER else []  # audits are the other recipes' business
        sets += [f"arms.{arm}.model.weights=none" for arm in plain.arms]
    if plain.data.split.test is not None:
        sets.append("data.split.test=2")
    if plain.lungs is not None:
        sets.append("lungs.crop_size=64")
    return sets


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS, ids=[path.relative_to(RECIPES).with_suffix("").as_posix() for path in PATHS])
def test_one_epoch(path, folders, tmp_path):
    sets = overrides(path)
    if load_recipe(path).data.split.method == "leave_source_out":
        sets.append(f"data.manifest={write_two_hospitals(tmp_path / 'hospitals', patients=30)}")
    recipe = load_recipe(path, sets)
    comparison = run(recipe, folders, Watched())
    assert comparison["arms"].keys() == recipe.arm_recipes().keys() | recipe.ensemble.keys()
    for arm in comparison["arms"].values():
        assert arm["epochs"] >= 1
        held_out = recipe.data.split.test or recipe.data.split.method == "leave_source_out"
        sides = {"train", "valid", "test"} if held_out else {"train", "valid"}
        assert set(arm["images"]) == sides
        assert ("test" in arm) == ("test" in sides)
    json.dumps(comparison)


def test_each_published_system_names_its_reference():
    for path in (RECIPES / "systems").rglob("*.yaml"):
        assert load_recipe(path).reported_results, path

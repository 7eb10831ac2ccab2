"""A network that cannot be fitted is told before images are prepared, with its arm."""

import re

import pytest
import torch

from darkcovid.core.errors import DarkCovidError, UsageError
from darkcovid.experiment import runner
from darkcovid.experiment.dry_run import dry_run
from darkcovid.experiment.runner import prepare
from darkcovid.models import pretrained
from darkcovid.recipe.recipe import validate
from darkcovid.report.progress import null_progress

DATA = {"manifest": "phantom", "image_size": 64, "phantom": {"patients": 30, "image_size": 64}}
RECIPE = {"name": "wrong", "data": DATA, "model": {"arch": "darkcovidnet"}, "training": {"epochs": 1}, "audit": "data"}


@pytest.fixture
def nothing_prepared(monkeypatch):
    def refuse(*_):
        raise AssertionError("images were audited or prepared")

    for name in ("audit_cohort", "build_inputs", "external_sets"):
        monkeypatch.setattr(runner, name, refuse)


@pytest.fixture
def offline(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *_, **__: (_ for _ in ()).throw(OSError("no network")))
    monkeypatch.setattr(pretrained, "_check_hub_reachable", lambda: (_ for _ in ()).throw(OSError("no network")))


WRONG = {
    "unknown network": ({"model.arch": "resnet81"}, "model.arch: no architecture is called 'resnet81'; did you mean 'resnet18'?"),
    "a head it does not have": ({"model.head": "concat-pool"}, "model.head: darkcovidnet has no head 'concat-pool'"),
    "no mean of ImageNet": ({"data.normalize": "pretrained"}, "data.normalize: darkcovidnet has no ImageNet weights"),
    "no ImageNet weights": ({"model.weights": "imagenet"}, "model.weights: there are no ImageNet weights for darkcovidnet"),
    "no file": ({"model.weights": "absent.pth"}, "model.weights: absent.pth: no such file"),
    "not to be fetched": (
        {"model": {"arch": "resnet18", "weights": "imagenet"}},
        "model.weights: the ImageNet weights of resnet18 are not in the cache and could not be fetched (no network)",
    ),
    "too small an image": (
        {"data.image_size": 32, "model.arch": "basic_cnn_1"},
        "data.image_size: 32x32 does not fit basic_cnn_1",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_network_is_told_with_its_arm_before_images_are_prepared(wrong, folders, nothing_prepared, offline):
    change, said = WRONG[wrong]
    recipe = validate(RECIPE | {"arms": {"right": {}, "wrong": change}}, where="")
    with pytest.raises(DarkCovidError, match=f"^arms\\.wrong\\.{re.escape(said)}"):
        prepare(recipe, ["right", "wrong"], folders, null_progress())
    with pytest.raises(AssertionError, match="prepared"):
        prepare(recipe, ["right"], folders, null_progress())


def test_a_recipe_without_arms_names_the_key_alone(folders, nothing_prepared):
    with pytest.raises(UsageError, match=r"^model\.head: darkcovidnet has no head"):
        prepare(validate(RECIPE | {"model": {"head": "concat-pool"}}, where=""), ["wrong"], folders, null_progress())


def test_a_dry_run_says_which_weights_a_run_would_fetch(folders, offline):
    lite = {"model": {"arch": "timm/tf_efficientnet_lite0", "weights": "imagenet"}}
    arms = {"scratch": {}, "lite0": lite, "resnet18": WRONG["not to be fetched"][0]}
    recipe = validate(RECIPE | {"arms": arms}, where="")
    assert dry_run(recipe, folders.cache, []).absent_weights == ["resnet18"]
    assert dry_run(recipe, folders.cache, ["scratch", "lite0"]).absent_weights == []


def test_networks_whose_weights_a_package_holds_are_suggested(offline):
    for name in ("efficientnet_lite0", "lite0", "tf_efficientnet_lite0"):
        with pytest.raises(UsageError, match="did you mean 'timm/tf_efficientnet_lite0'"):
            pretrained.get_architecture(name)
    with pytest.raises(DarkCovidError, match="timm/tf_efficientnet_lite0 has weights in a package, `darkcovid"):
        pretrained.fetch_pretrained("timm/efficientnet_lite0")

"""BatchNorm of pretrained backbones: measured again where a file has no statistics, or kept out of training."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from darkcovid.core.device import get_device
from darkcovid.core.errors import UsageError
from darkcovid.data.normalize import Normalize
from darkcovid.recipe.recipe import validate
from darkcovid.training.batch_norm import reestimate_batch_norm
from darkcovid.training.classifier import build_model
from darkcovid.vision.learner import classifier_learner

CPU = get_device("cpu", "fp32")


def recipe(weights="none", **training):
    model = {"arch": "resnet18", "head": "avgpool-dense", "weights": weights}
    data = {"manifest": "phantom", "image_size": 64, "augment": "none"}
    return validate(
        {"name": "a", "data": data, "model": model, "training": {"epochs": 1, "precision": "fp32", **training}}, where=""
    )


def statistics(network):
    return {name: value.clone() for name, value in network.body.state_dict().items() if "running" in name}


@pytest.fixture
def without_statistics(tmp_path):
    from torchvision.models import resnet18

    torch.manual_seed(2)
    tensors = {name: value for name, value in resnet18().state_dict().items() if "running" not in name}
    save_file(tensors, tmp_path / "w.safetensors")
    return str(tmp_path / "w.safetensors")


def test_the_statistics_of_a_layer_are_those_of_the_images():
    pixels = np.random.RandomState(0).randint(0, 256, (192, 8, 8)).astype(np.uint8)
    rows = np.arange(128)
    body = nn.Sequential(nn.BatchNorm2d(1))
    reestimate_batch_norm(body, pixels, rows, Normalize(0.2, 0.5), CPU)
    seen = (pixels[rows] / 255 - 0.2) / 0.5
    assert float(body[0].running_mean) == pytest.approx(seen.mean(), abs=1e-4)
    assert float(body[0].running_var) == pytest.approx(seen.var(), rel=1e-2)


def test_images_of_all_classes_are_in_every_batch():
    """A cohort is sorted by class, and the mean of the batches' variances lacks what differs between batches."""
    pixels = np.repeat(np.array([0, 255], np.uint8), 96)[:, None, None] * np.ones((1, 4, 4), np.uint8)
    body = nn.Sequential(nn.BatchNorm2d(1))
    reestimate_batch_norm(body, pixels, np.arange(192), Normalize(), CPU)
    assert float(body[0].running_var) == pytest.approx(0.25, rel=0.05)


@pytest.mark.parametrize("images", [65, 64, 2])
def test_no_batch_is_of_a_single_image(images):
    pixels = np.random.RandomState(0).randint(0, 256, (images, 4, 4)).astype(np.uint8)
    body = nn.Sequential(nn.Conv2d(1, 2, 4), nn.BatchNorm2d(2))
    reestimate_batch_norm(body, pixels, np.arange(images), Normalize(), CPU)
    assert float(body[1].running_var.max()) > 0


def test_nothing_is_dropped_while_statistics_are_measured():
    from torchvision.ops import StochasticDepth

    pixels = np.random.RandomState(0).randint(0, 256, (64, 4, 4)).astype(np.uint8)
    body = nn.Sequential(nn.Dropout(0.9), StochasticDepth(0.9, "row"), nn.BatchNorm2d(1))
    reestimate_batch_norm(body, pixels, np.arange(64), Normalize(), CPU)
    assert float(body[2].running_mean) == pytest.approx((pixels / 255).mean(), abs=1e-3)
    assert (body[0].p, body[1].p) == (0.9, 0.9)


@pytest.mark.parametrize("how", ["frozen", "reestimated"])
def test_frozen_batch_norm_stays_as_it_was_in_a_notebook_too(cohort, pixels, how):
    learner = classifier_learner(recipe(batch_norm=how), cohort, pixels, CPU)
    before = statistics(learner.model)
    with learner.no_bar(), learner.no_logging():
        learner.fit_one_cycle(1)
    assert all(torch.equal(value, before[name]) for name, value in statistics(learner.model).items())


def test_a_backbone_without_batch_norm_has_none_to_freeze():
    made = validate({"name": "a", "model": {"arch": "timm/convnext_atto"}, "training": {"batch_norm": "frozen"}}, where="")
    with pytest.raises(UsageError, match=r"^training\.batch_norm: this network has no backbone with BatchNorm"):
        build_model(made, 3, (64, 64))


def test_weights_without_statistics_get_those_of_the_training_images(cohort, pixels, without_statistics):
    learner = classifier_learner(recipe(without_statistics), cohort, pixels, CPU)
    measured = statistics(learner.model)
    assert any(bool((value != name.endswith("var")).any()) for name, value in measured.items())
    assert learner.model.initial_weights.batch_norm == "re-estimated"
    again = classifier_learner(recipe(without_statistics), cohort, pixels, CPU)
    assert all(torch.equal(value, measured[name]) for name, value in statistics(again.model).items())


@pytest.mark.parametrize("how", ["frozen", "reestimated"])
def test_frozen_batch_norm_stays_as_it_was_while_the_rest_trains(cohort, pixels, how):
    learner = classifier_learner(recipe(batch_norm=how), cohort, pixels, CPU)
    before, stem = statistics(learner.model), learner.model.body.layers[0].weight.clone()
    scale = learner.model.body.layers[1].weight.clone()
    fresh = all(bool((value == name.endswith("var")).all()) for name, value in before.items())
    assert fresh == (how == "frozen")
    learner.fit_recipe()
    assert all(torch.equal(value, before[name]) for name, value in statistics(learner.model).items())
    assert torch.equal(learner.model.body.layers[1].weight, scale)
    assert not torch.equal(learner.model.body.layers[0].weight, stem)


def test_batch_norm_that_trains_changes(cohort, pixels):
    learner = classifier_learner(recipe(), cohort, pixels, CPU)
    before = statistics(learner.model)
    learner.fit_recipe()
    assert not any(torch.equal(value, before[name]) for name, value in statistics(learner.model).items())


def test_a_network_without_a_backbone_is_refused():
    made = validate({"name": "a", "training": {"batch_norm": "frozen"}}, where="")
    with pytest.raises(UsageError, match=r"^training\.batch_norm: this network has no backbone"):
        build_model(made, 3, (64, 64))

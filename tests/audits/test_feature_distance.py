"""Images unlike the training images are told by the network's own features, in whichever batches they come."""

import numpy as np
import pytest
import torch
from torch import nn

from darkcovid.audits.feature_distance import (
    collect_features,
    fit_feature_distance,
    image_features,
    load_feature_distance,
)
from darkcovid.core.device import get_device
from darkcovid.models import create_model
from darkcovid.recipe import Model


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_by_hand():
    """Training images on a quarter circle; with fewer than ten of them the furthest counts."""
    angles = np.radians([0, 10, 20])
    training = np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)
    valid = np.column_stack([np.cos(angles[:1]), np.sin(angles[:1])])
    distance = fit_feature_distance(training, valid)
    assert distance.limit == pytest.approx(2 * np.sin(np.radians(10)), abs=1e-5)  # a chord of 20 degrees
    scores = distance.scores(np.array([[1.0, 0.0], [np.cos(np.radians(80)), np.sin(np.radians(80))]]))
    assert scores == pytest.approx([1, np.sin(np.radians(40)) / np.sin(np.radians(10))], abs=1e-4)


def test_one_in_twenty_of_the_validation_images_and_all_of_others_are_unlike():
    random = np.random.default_rng(0)
    center, other = np.eye(32)[0] * 4, np.eye(32)[1] * 4
    training, valid, new = (unit(center + random.normal(size=(count, 32))) for count in (300, 200, 400))
    distance = fit_feature_distance(training.astype(np.float32), valid)
    assert 0.03 <= (distance.scores(valid) > 1).mean() <= 0.05
    assert 0.01 < (distance.scores(new) > 1).mean() < 0.12
    assert (distance.scores(unit(other + random.normal(size=(100, 32)))) > 1).mean() > 0.95


def test_what_is_saved_gives_the_same_scores(tmp_path):
    random = np.random.default_rng(0)
    distance = fit_feature_distance(unit(random.normal(size=(40, 8))).astype(np.float32), unit(random.normal(size=(20, 8))))
    distance.save(tmp_path / "d.safetensors")
    new = unit(random.normal(size=(5, 8)))
    np.testing.assert_array_equal(load_feature_distance(tmp_path / "d.safetensors").scores(new), distance.scores(new))
    (tmp_path / "bad.safetensors").write_bytes(b"no")
    with pytest.raises(Exception):  # noqa: B017 (safetensors' own)
        load_feature_distance(tmp_path / "bad.safetensors")


@pytest.mark.parametrize(
    ("arch", "channels"), [("darkcovidnet", 256), ("resnet18", 512), ("cnn13", None), ("timm/vit_tiny_patch16_224", 192)]
)
def test_features_of_every_kind_of_network(arch, channels):
    side = 224 if "vit" in arch else 96
    network = create_model(Model(arch=arch), 3, (side, side)).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (3, side, side), np.uint8)
    compute = get_device("cpu", "fp32")
    features = image_features(network, nn.Identity(), pixels, compute)
    assert features.shape == (3, channels or features.shape[1]) and features.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5)
    with collect_features(network) as collected, torch.inference_mode():
        for row in range(3):
            network(torch.from_numpy(pixels[row])[None, None].float() / 255)
    np.testing.assert_allclose(collected(), features, atol=1e-4)
    assert not any(layer._forward_hooks for layer in network.modules())


def test_a_network_without_convolutions_has_its_outputs_for_features():
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8), np.uint8)
    assert image_features(network, nn.Identity(), pixels, get_device("cpu", "fp32")).shape == (3, 5)


def test_features_that_are_almost_the_same_are_told_apart():
    near, far = np.array([[1.0, 1e-5]]), np.array([[1.0, 3e-5]])
    distance = fit_feature_distance(np.array([[1.0, 0.0]], np.float32), near)
    assert distance.scores(far) == pytest.approx([3], rel=0.05)

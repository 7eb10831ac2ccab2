import itertools

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from darkcovid.audits.explanations import (
    GRADCAM,
    GRADIENTS,
    OCCLUSION,
    RANDOM_WEIGHTS,
    RISE,
    agreement_warnings,
    agreement_words,
    agreements,
    explanation_maps,
    integrated_gradients,
    most_confident,
    rank_agreement,
)
from darkcovid.core.device import get_device

COMPUTE = get_device("cpu", "fp32")
SIZE, PLACE = 64, (slice(8, 24), slice(32, 56))  # what the network looks at


class Looking(nn.Module):
    """Class 1 by how bright PLACE is, and by nothing else."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 16, 1)
        mask = torch.zeros(SIZE, SIZE)
        mask[PLACE] = 1
        self.register_buffer("mask", mask / mask.sum())
        with torch.no_grad():
            self.conv.weight.fill_(1)
            self.conv.bias.zero_()

    def forward(self, images):
        seen = (self.conv(images).mean(1) * self.mask).sum((1, 2))
        return torch.stack([torch.zeros_like(seen), 8 * (seen - 0.5)], 1)


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(120, 256, (2, SIZE, SIZE), np.uint8)


def test_gradients_and_occlusion_find_what_the_network_looks_at(pixels):
    maps = explanation_maps(Looking(), nn.Identity(), pixels, np.array([1, 1]), 60, COMPUTE)
    assert list(maps) == [GRADCAM, OCCLUSION, RISE, GRADIENTS, RANDOM_WEIGHTS]
    for name in (OCCLUSION, GRADIENTS):
        assert maps[name].shape == pixels.shape and (maps[name] >= 0).all()
        np.testing.assert_allclose(maps[name][:, *PLACE].sum((1, 2)) / maps[name].sum((1, 2)), 1, atol=1e-6)
    inside = np.zeros(pixels.shape[1:], bool)
    inside[PLACE] = True
    assert (maps[RISE][:, inside].mean(1) > 4 * maps[RISE][:, ~inside].mean(1)).all()
    agreed = agreements({name: some[0] for name, some in maps.items()})
    assert agreed[f"{OCCLUSION}, {GRADIENTS}"] > 0.9


def test_integrated_gradients_add_up_to_the_change_of_the_probability(pixels):
    """Completeness (Sundararajan et al. 2017, proposition 1); here no pixel lowers the probability."""
    found = integrated_gradients(Looking(), nn.Identity(), pixels, np.array([1, 1]), 60, COMPUTE)
    images = torch.from_numpy(pixels[:, None]).float() / 255
    with torch.no_grad():
        changes = [Looking()(each).softmax(1)[:, 1] for each in (images, torch.full_like(images, 60 / 255))]
    np.testing.assert_allclose(found.sum((1, 2)), (changes[0] - changes[1]).numpy(), rtol=0.01)


def test_random_weights_leave_the_network_and_the_random_numbers_as_they_were(pixels):
    network, state = Looking(), torch.random.get_rng_state()
    explanation_maps(network, nn.Identity(), pixels[:1], np.array([1]), 60, COMPUTE)
    assert torch.equal(torch.random.get_rng_state(), state) and (network.conv.weight == 1).all()


def test_agreement_is_spearmans_over_patches():
    random = np.random.default_rng(1)
    coarse = random.random((2, 8, 8))
    first, second = (np.kron(each, np.ones((5, 3))) for each in coarse)
    assert rank_agreement(first, second) == pytest.approx(spearmanr(coarse[0].ravel(), coarse[1].ravel()).statistic)
    assert rank_agreement(first, first**3) == pytest.approx(1) and rank_agreement(first, 1 - first) == pytest.approx(-1)
    assert rank_agreement(first, np.zeros_like(first)) is None
    assert rank_agreement(random.random((5, 9)), random.random((5, 9))) is not None  # smaller than the grid


@pytest.mark.parametrize(
    ("values", "random", "said"),
    [
        ((0.8, 0.7, 0.9), 0.1, []),
        ((0.1, 0.2, 0.3), 0.1, ["the explanations disagree (mean rank correlation 0.20)"]),
        ((0.8, 0.7, 0.9), 0.9, ["Grad-CAM looks the same with random weights (rank correlation 0.90)"]),
        ((None, None, None), None, ["the explanations disagree (a map has one value everywhere)"]),
    ],
)
def test_what_a_reader_is_told(values, random, said):
    pairs = [f"{GRADCAM}, {OCCLUSION}", f"{GRADCAM}, {GRADIENTS}", f"{OCCLUSION}, {GRADIENTS}"]
    found = agreement_warnings(dict(zip(pairs, values, strict=True)) | {f"{GRADCAM}, {RANDOM_WEIGHTS}": random})
    assert len(found) == len(said) and all(text.startswith(start) for text, start in zip(found, said, strict=True))


def test_what_a_page_says_of_agreement_follows_the_same_limits():
    pairs = [f"{first}, {second}" for first, second in itertools.combinations((GRADCAM, OCCLUSION, RISE, GRADIENTS), 2)]
    random = f"{GRADCAM}, {RANDOM_WEIGHTS}"
    known = agreement_words(dict.fromkeys(pairs, 0.5) | {pairs[0]: None, random: 0.1})
    assert "agree with a mean rank correlation of 0.50" in known and "by 0.10: it changes with the weights" in known
    doubted = agreement_words(dict.fromkeys(pairs, 0.2) | {random: 0.9})
    assert "disagree (mean rank correlation 0.20" in doubted and "by 0.90: it says little of what was learned" in doubted
    assert agreement_words(dict.fromkeys([*pairs, random])).count("not known") == 2


def test_confident_answers_are_wrong_and_right_ones_of_different_classes():
    labels = np.array([0, 0, 0, 1, 1, 2, 2, 0])
    sure = np.array([0.9, 0.8, 0.99, 0.7, 0.6, 0.95, 0.5, 1.0])
    right = np.array([True, True, False, True, False, True, False, True])
    probabilities = np.array(
        [np.roll([s, 1 - s, 0], label + (not good)) for s, label, good in zip(sure, labels, right, strict=True)]
    )
    chosen = most_confident(probabilities, labels, np.arange(7))  # the last one is not among them
    assert chosen.tolist() == [2, 5, 4, 0]
    assert most_confident(probabilities, labels, np.array([0, 1])).tolist() == [0]
    assert most_confident(probabilities, labels, np.array([], int)).tolist() == []

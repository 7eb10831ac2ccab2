"""Styles are made random, anatomy stays where it is."""

import numpy as np
import pytest
import torch

from darkcovid.data.style import draw_frames, match_to_others, randomize_style, reduce_resolution
from darkcovid.recipe import AUGMENTATIONS, Augmentation

ALL = torch.arange(4)


@pytest.fixture
def images():
    torch.manual_seed(0)
    ramp = torch.linspace(0, 1, 48).view(1, 1, 1, 48).expand(4, 1, 32, 48).clone()
    return ramp ** torch.tensor([0.4, 1.0, 2.0, 3.0]).view(4, 1, 1, 1)


def test_a_matched_image_has_the_gray_levels_of_another_and_its_own_order(images):
    matched = match_to_others(images, ALL)
    for index in range(4):
        nearest = min(float((matched[index] - other).abs().mean()) for other in images)
        assert nearest < 0.03  # but for columns that share a level, the other ramp
        assert (matched[index, 0, :, 1:] >= matched[index, 0, :, :-1]).all()
    assert float((matched - images).abs().max()) > 0.1
    torch.testing.assert_close(match_to_others(images, ALL[:0]), images)


def test_channels_are_matched_each_by_itself():
    torch.manual_seed(1)
    two = torch.rand(3, 2, 16, 16)
    two[:, 1] *= 0.5
    matched = match_to_others(two, torch.arange(3))
    assert float(matched[:, 1].max()) <= 0.51 and float(matched[:, 0].max()) > 0.9


def test_frames_are_of_one_gray_and_small(images):
    torch.manual_seed(0)
    framed = draw_frames(images.clone(), ALL)
    changed = (framed != images)[:, 0]
    assert not changed[:, 5:-5, 7:-7].any()
    assert changed.any()
    for index in range(4):
        assert len(framed[index, 0][changed[index]].unique()) <= 1


def test_reduced_images_lose_detail_and_keep_their_means():
    checks = torch.from_numpy(np.indices((64, 64)).sum(0) % 2).float().expand(8, 1, 64, 64).clone()
    torch.manual_seed(0)
    reduced = reduce_resolution(checks, torch.tensor([0, 3]))
    assert float(reduced[[0, 3]].std()) < 0.3 * float(checks.std())
    torch.testing.assert_close(reduced.mean((1, 2, 3)), checks.mean((1, 2, 3)), atol=0.02, rtol=0)
    assert torch.equal(reduced[[1, 2, 4, 5, 6, 7]], checks[[1, 2, 4, 5, 6, 7]])


@pytest.mark.parametrize("channels", [1, 2])
def test_the_named_style_keeps_shape_and_range(channels):
    torch.manual_seed(0)
    images = torch.rand(16, channels, 40, 56)
    styled = randomize_style(images, AUGMENTATIONS["style"])
    assert styled.shape == images.shape and float(styled.min()) >= 0 and float(styled.max()) <= 1
    assert torch.isfinite(styled).all() and not torch.equal(styled, images)
    assert torch.equal(randomize_style(images, Augmentation()), images)

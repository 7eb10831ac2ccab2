import pytest
import torch

from darkcovid.data.synthetic_artifacts import (
    SIZES,
    TEXTS,
    burn_in_text,
    illumination_gradient,
    random_text,
    simulate_consolidation,
)


@pytest.fixture
def scene():
    """Four bright bodies with two dark lungs each, and the lungs' masks."""
    images, masks = torch.full((4, 1, 64, 64), 0.8), torch.zeros(4, 64, 64, dtype=torch.long)
    masks[:, 16:48, 10:28] = masks[:, 16:48, 36:54] = 1
    images[:, 0][masks == 1] = 0.2
    return images, masks


def test_white_lungs_rise_towards_their_surroundings_and_nothing_else_changes(scene):
    torch.manual_seed(0)
    images, masks = scene
    before = images.clone()
    after = simulate_consolidation(images, masks, 1.0)
    far = torch.nn.functional.max_pool2d(masks.float().unsqueeze(1), 11, stride=1, padding=5) == 0
    assert torch.equal(after[far], before[far])
    lungs = masks.unsqueeze(1) == 1
    assert (after[lungs] >= before[lungs] - 1e-6).all()
    assert after.max() <= 0.8 + 1e-6
    assert (after - before).amax((1, 2, 3)).min() > 0.1


def test_a_mask_without_lungs_is_left_alone(scene):
    images, masks = scene
    before = images.clone()
    assert torch.equal(simulate_consolidation(images, torch.zeros_like(masks), 1.0), before)
    assert torch.equal(simulate_consolidation(images, torch.ones_like(masks), 1.0), before)


def test_text_covers_little_and_stays_in_range(scene):
    torch.manual_seed(0)
    images, _ = scene
    before = images.clone()
    after = burn_in_text(images, 1.0)
    changed = (after != before).float().mean((1, 2, 3))
    assert (changed > 0).all()
    assert (changed < 0.5).all()
    assert after.min() >= 0
    assert after.max() <= 1


def test_every_word_can_be_drawn_in_every_size():
    for text in range(len(TEXTS)):
        for size in range(len(SIZES)):
            drawn = random_text(text, size)
            assert drawn.max() > 0.3
            assert drawn.shape[0] < 2.5 * SIZES[size]


def test_shading_darkens_one_side_smoothly(scene):
    torch.manual_seed(0)
    images = torch.full((8, 1, 32, 32), 0.5)
    after = illumination_gradient(images, 1.0)
    assert after.max() <= 0.5 + 1e-6
    assert after.min() >= 0.5 * 0.4 - 1e-6
    assert (after.amax((1, 2, 3)) - after.amin((1, 2, 3)) > 0.02).all()
    assert after.diff(dim=2).abs().max() < 0.02


def test_probability_zero_changes_nothing(scene):
    images, masks = scene
    before = images.clone()
    assert torch.equal(illumination_gradient(burn_in_text(simulate_consolidation(images, masks, 0.0), 0.0), 0.0), before)

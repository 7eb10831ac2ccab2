import numpy as np
import pytest

from darkcovid.audits.rise import random_masks, rise_maps


@pytest.mark.parametrize("shape", [(2, 30, 44), (1, 2, 21, 16)])
def test_a_map_is_the_answer_while_a_pixel_is_shown_less_that_while_it_is_hidden(shape):
    """By the definition, from the images that the network was asked about: white where shown, black where hidden."""
    asked = []

    def predict(images):
        asked.append((images if images.ndim == 3 else images[:, 0]) / 255)
        share = images[..., :10, :10].reshape(len(images), -1).mean(1) / 255
        return np.stack([1 - share, share], 1)

    white = np.full(shape, 255, np.uint8)
    found = rise_maps(predict, white, np.ones(len(white), int), 0, masks=70)
    masks = np.concatenate(asked[:: len(white)])
    answers = masks[:, :10, :10].mean((1, 2))
    weights = answers[:, None, None]
    expected = (weights * masks).sum(0) / masks.sum(0) - (weights * (1 - masks)).sum(0) / (1 - masks).sum(0)
    assert len(masks) == 70 and found.shape == (len(white), *shape[-2:])
    np.testing.assert_allclose(found, np.broadcast_to(expected.clip(0), found.shape), atol=0.005)  # pixels are whole numbers
    assert found[:, 2:8, 2:8].min() > 2 * found[:, 14:, 14:].mean()


def test_a_network_that_always_answers_the_same_has_an_empty_map():
    images = np.random.default_rng(0).integers(0, 256, (1, 20, 20), np.uint8)
    found = rise_maps(lambda asked: np.full((len(asked), 2), 0.5), images, np.array([0]), 100, masks=40)
    assert found.max() < 1e-6


@pytest.mark.parametrize("size", [(64, 64), (5, 40)])
def test_masks_show_half_of_each_pixel_and_differ(size):
    masks = random_masks(np.random.default_rng(1), 800, size)
    assert masks.shape == (800, *size) and masks.min() >= 0 and masks.max() <= 1
    np.testing.assert_allclose(masks.mean(0), 0.5, atol=0.08)
    assert masks.std(0).min() > 0.2

"""Test-time augmentation by hand."""

import numpy as np
import pytest

from darkcovid.training.test_time_augmentation import average_views

PLAIN = np.array([[0.9, 0.1], [0.6, 0.4], [0.5, 0.5]], np.float32)
PIXELS = np.arange(3, dtype=np.uint8)[:, None, None]
VIEWS = np.array([[0.1, 0.9], [0.0, 1.0], [1.0, 0.0]], np.float32)


def predict(pixels, augmentation):
    assert augmentation == "drawn"
    return VIEWS[pixels[:, 0, 0]]


@pytest.mark.parametrize(
    ("below", "expected"),
    [
        (None, [[0.5, 0.5], [0.3, 0.7], [0.75, 0.25]]),
        (0.55, [[0.9, 0.1], [0.6, 0.4], [0.75, 0.25]]),
        (0.1, [[0.9, 0.1], [0.6, 0.4], [0.5, 0.5]]),
    ],
)
def test_one_view_of_each_unsure_image_is_averaged(below, expected):
    averaged = average_views(PLAIN, predict, PIXELS, "drawn", 1, below)
    np.testing.assert_allclose(averaged, expected, atol=1e-6)


def test_of_three_views_each_counts_as_much_as_the_plain_image():
    averaged = average_views(PLAIN, predict, PIXELS, "drawn", 3)
    np.testing.assert_allclose(averaged, (PLAIN + 3 * VIEWS) / 4, atol=1e-6)

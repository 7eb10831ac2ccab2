import numpy as np
from PIL import Image

from darkcovid.data.resize import cached_whole_images, resize


def test_squashing_fills_the_input_and_keeping_the_aspect_leaves_bars():
    wide = Image.new("L", (80, 40), 200)
    assert (resize(wide, (40, 40)) == 200).all()
    boxed = resize(wide, (40, 40), keep_aspect=True)
    assert (boxed[10:30] == 200).all()
    assert (boxed[:10] == 0).all()
    assert (boxed[30:] == 0).all()


def test_a_box_is_what_is_shown():
    pixels = np.zeros((40, 80), np.uint8)
    pixels[:20, 40:] = 255
    image = Image.fromarray(pixels)
    inside = slice(1, -1)
    assert (resize(image, (10, 10), (0.0, 0.5, 0.5, 1.0))[inside, inside] == 255).all()
    assert (resize(image, (10, 10), (0.5, 0.0, 1.0, 0.5))[inside, inside] == 0).all()
    assert (resize(image, (10, 20), (0.0, 0.5, 0.5, 1.0), keep_aspect=True)[inside, inside] == 255).all()


def test_audit_views_of_whole_images(cohort, cache_dir):
    """16 pixels per side hold no more than 16 x 16 numbers; a border has a black middle and its own pixels around it."""
    plain = cached_whole_images(cohort.files, cohort.sha256, (64, 64), cache_dir).array[0]
    coarse = cached_whole_images(cohort.files, cohort.sha256, (64, 64), cache_dir, detail=16).array[0]
    assert np.corrcoef(plain.ravel(), coarse.ravel())[0, 1] > 0.8
    blocks = coarse.reshape(16, 4, 16, 4).astype(float)
    assert blocks.std((1, 3)).mean() < plain.reshape(16, 4, 16, 4).astype(float).std((1, 3)).mean()
    edge = cached_whole_images(cohort.files, cohort.sha256, (64, 64), cache_dir, border_only=True).array[0]
    assert not edge[6:-6, 6:-6].any()
    np.testing.assert_array_equal(edge[:6], plain[:6])

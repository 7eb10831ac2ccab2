"""Bars along the sides: found by hand-drawn truth, filled, and the same in training and in use."""

import numpy as np
import pytest
from PIL import Image

from darkcovid.data.bars import fill_bars, find_bars, mirror_mask
from darkcovid.data.decode import load_grayscale
from darkcovid.data.enhance import Enhancement
from darkcovid.data.resize import cached_whole_images, resize, resize_whole

RANDOM = np.random.default_rng(0)


def framed(top, left, bottom, right, level=0, size=(60, 80), noise=0):
    """Texture in bars of one gray level, with noise as of JPEG."""
    content = RANDOM.integers(40, 220, size).astype(np.uint8)
    pixels = np.pad(content, ((top, bottom), (left, right)), constant_values=level).astype(int)
    pixels[pixels == level] += RANDOM.integers(0, noise + 1, int((pixels == level).sum()))
    return pixels.clip(0, 255).astype(np.uint8), content


@pytest.mark.parametrize(
    "bars", [(0, 0, 0, 0), (7, 0, 0, 0), (0, 9, 0, 0), (0, 0, 5, 0), (0, 0, 0, 3), (10, 20, 0, 5), (4, 3, 2, 1)]
)
@pytest.mark.parametrize(("level", "noise"), [(0, 0), (0, 6), (7, 4)])
def test_bars_are_found_and_filled(bars, level, noise):
    pixels, content = framed(*bars, level=level, noise=noise)
    assert find_bars(pixels) == bars
    filled = np.asarray(fill_bars(Image.fromarray(pixels)))
    top, left, _, _ = bars
    assert filled.shape == pixels.shape
    np.testing.assert_array_equal(filled[top : top + 60, left : left + 80], content)
    assert find_bars(filled) == (0, 0, 0, 0)


def test_a_marker_in_a_bar_goes_with_it():
    pixels, _ = framed(0, 20, 0, 0)
    pixels[5:8, 5:15] = 255
    assert find_bars(pixels) == (0, 20, 0, 0)
    assert np.asarray(fill_bars(Image.fromarray(pixels)))[5:8, 5:15].max() < 220


@pytest.mark.parametrize("level", [40, 148, 255])
def test_even_parts_that_are_not_black_may_be_tissue_and_stay(level):
    pixels, _ = framed(0, 0, 20, 0, level=level)
    assert find_bars(pixels) == (0, 0, 0, 0)


def test_lungs_that_are_mirrored_into_a_bar_are_in_the_mask():
    """A bright square in a black bar's mirror image: the mask that is mirrored along covers both."""
    pixels, _ = framed(0, 20, 0, 0)
    pixels[20:30, 22:36] = 255
    image, mask = Image.fromarray(pixels), (pixels == 255).astype(np.uint8)
    filled = np.asarray(fill_bars(image)) == 255
    assert filled.sum() == 2 * mask.sum()
    np.testing.assert_array_equal(mirror_mask(mask, image), filled)
    small = np.asarray(Image.fromarray(mask * 255).resize((50, 30), Image.Resampling.BOX)) > 127
    assert mirror_mask(small, image).sum() == pytest.approx(2 * small.sum(), rel=0.2)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 3)])
def test_any_size_is_taken(size):
    for pixels in (np.zeros(size, np.uint8), RANDOM.integers(0, 256, size).astype(np.uint8)):
        assert fill_bars(Image.fromarray(pixels)).size == size[::-1]


@pytest.mark.parametrize("level", [0, 128, 255])
def test_an_even_image_and_one_that_is_nearly_all_bars_stay_as_they_are(level):
    even = np.full((40, 30), level, np.uint8)
    np.testing.assert_array_equal(np.asarray(fill_bars(Image.fromarray(even))), even)
    thin, _ = framed(300, 0, 300, 0, level=0)
    np.testing.assert_array_equal(np.asarray(fill_bars(Image.fromarray(thin))), thin)


def test_a_frame_says_nothing_of_the_shape():
    """The same image in three frames: what the network sees of them is as bright along the sides as inside."""
    for bars in ((0, 0, 0, 0), (0, 20, 0, 20), (15, 0, 15, 0)):
        pixels, content = framed(*bars)
        seen = resize_whole(Image.fromarray(pixels), (64, 64), keep_aspect=True, enhancement=Enhancement(fill_bars=True))
        border = np.concatenate([seen[:4].ravel(), seen[-4:].ravel(), seen[:, :4].ravel(), seen[:, -4:].ravel()])
        assert abs(border.mean() - content.mean()) < 8 and find_bars(seen) == (0, 0, 0, 0)
        black = resize_whole(Image.fromarray(pixels), (64, 64), keep_aspect=True)
        assert find_bars(black) != (0, 0, 0, 0)


def test_a_letterbox_is_filled_around_the_same_pixels():
    image = Image.fromarray(framed(0, 0, 0, 0)[0])
    black, filled = (resize(image, (64, 64), keep_aspect=True, fill_bars=fill) for fill in (False, True))
    np.testing.assert_array_equal(black[8:56], filled[8:56])
    assert black[:8].max() == 0 and filled[:8].min() > 0
    np.testing.assert_array_equal(filled[:8], filled[8:16][::-1])


def test_it_has_a_place_of_its_own_in_the_cache(cohort, tmp_path):
    plain = cached_whole_images(cohort.files, cohort.sha256, (64, 64), tmp_path)
    filled = cached_whole_images(cohort.files, cohort.sha256, (64, 64), tmp_path, enhancement=Enhancement(fill_bars=True))
    assert filled.fresh
    for row in range(3):
        image = load_grayscale(cohort.files[row])
        np.testing.assert_array_equal(filled.array[row], resize_whole(fill_bars(image), (64, 64)))
    assert plain.array.shape == filled.array.shape

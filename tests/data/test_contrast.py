import numpy as np
import pytest
from PIL import Image
from skimage.exposure import equalize_adapthist

from darkcovid.core.array_cache import content_key
from darkcovid.data.contrast import MAX_SIDE, enhance_contrast
from darkcovid.data.decode import load_grayscale
from darkcovid.data.enhance import Enhancement
from darkcovid.data.resize import cached_whole_images, resize_whole


def test_clahe_is_scikit_image_s(cohort):
    image = load_grayscale(cohort.files[0])
    levels = np.round(equalize_adapthist(np.asarray(image)) * 255)
    enhanced = enhance_contrast(image, "clahe")
    assert enhanced.mode == "L"
    np.testing.assert_array_equal(np.asarray(enhanced), levels)
    assert enhance_contrast(image, "none") is image


def test_faint_detail_becomes_visible():
    """A faint checkerboard beside a bright half is twice as strong afterwards."""
    pixels = np.full((128, 128), 90, np.uint8)
    pixels[:, :64] += (np.indices((128, 64)).sum(0) % 2).astype(np.uint8) * 2
    pixels[:, 64:] = 250
    before, after = pixels[:, :48].astype(float), np.asarray(enhance_contrast(Image.fromarray(pixels), "clahe"))[:, :48]
    assert after.std() == pytest.approx(2 * before.std())


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (300, 1), (1, 300), (9, 9), (3 * MAX_SIDE, 1), (MAX_SIDE + 1, 40)])
def test_any_size_stays_as_it_is(size):
    pixels = np.random.default_rng(0).integers(0, 256, size[::-1], np.uint8)
    enhanced = enhance_contrast(Image.fromarray(pixels), "clahe")
    assert (enhanced.size, enhanced.mode) == (size, "L")


@pytest.mark.parametrize("level", [0, 90, 255])
def test_an_even_image_stays_even(level):
    assert (np.asarray(enhance_contrast(Image.new("L", (40, 30), level), "clahe")) == level).all()


def test_off_keeps_the_cache_s_key_and_clahe_has_its_own(cohort, tmp_path):
    plain = cached_whole_images(cohort.files, cohort.sha256, (64, 64), tmp_path)
    key = content_key(images=list(cohort.sha256), kind="whole", size=[64, 64], keep_aspect=False)
    assert (tmp_path / "pixels" / f"{key}.npy").is_file()
    assert not cached_whole_images(cohort.files, cohort.sha256, (64, 64), tmp_path, enhancement=Enhancement("none")).fresh
    enhanced = cached_whole_images(cohort.files, cohort.sha256, (64, 64), tmp_path, enhancement=Enhancement("clahe"))
    assert enhanced.fresh and not np.array_equal(enhanced.array, plain.array)
    assert not cached_whole_images(cohort.files, cohort.sha256, (64, 64), tmp_path, enhancement=Enhancement("clahe")).fresh
    wanted = resize_whole(enhance_contrast(load_grayscale(cohort.files[5]), "clahe"), (64, 64))
    np.testing.assert_array_equal(enhanced.array[5], wanted)

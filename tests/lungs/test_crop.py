import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation

from darkcovid.data.pixels import WHOLE
from darkcovid.lungs.box import Box, lung_box
from darkcovid.lungs.crop import crop_box, crop_boxes, expanded, input_size, lung_pixels
from darkcovid.lungs.segment import LungMasks
from darkcovid.recipe import Lungs

from .test_trust import two_lungs


def test_the_box_holds_both_lungs_and_is_widened_and_clipped():
    mask = two_lungs(200)
    assert lung_box(mask, 0.0) == Box(40, 40, 160, 160)
    assert lung_box(mask, 0.05) == Box(34, 34, 166, 166)
    assert lung_box(mask, 1.0) == Box(0, 0, 200, 200)
    assert Box(34, 34, 166, 166).area == 132 * 132
    assert lung_box(mask, 0.0).fractions((200, 200)) == (0.2, 0.2, 0.8, 0.8)


def test_an_untrusted_mask_keeps_the_whole_image():
    assert crop_box(two_lungs(), "a test says so", 0.0) == WHOLE
    assert crop_box(two_lungs(200), None, 0.0) == (0.2, 0.2, 0.8, 0.8)


def test_the_input_size_keeps_the_lungs_scale_unless_told_otherwise():
    boxes = [(0.1, 0.1, 0.8, 0.9), (0.1, 0.1, 0.8, 0.9), (0.0, 0.0, 1.0, 1.0)]
    assert input_size(Lungs(), boxes, (256, 256)) == (160, 192)
    assert input_size(Lungs(), boxes, (512, 512)) == (352, 384)
    assert input_size(Lungs(crop_size=128), boxes, (256, 256)) == (128, 128)
    assert input_size(Lungs(crop_size=(96, 128)), boxes, (256, 256)) == (96, 128)
    assert input_size(Lungs(keep_lung_scale=False), boxes, (256, 256)) == (256, 256)
    assert input_size(Lungs(mode="mask"), boxes, (256, 224)) == (256, 224)
    assert input_size(Lungs(), [], (256, 256)) == (256, 256)


@pytest.fixture
def found(cohort):
    """Exact phantom masks for every image but the first, which is not trusted."""
    masks = []
    for path in cohort.rows.lung_mask:
        picture = Image.open(cohort.manifest.locate(path)).resize((256, 256), Image.Resampling.NEAREST)
        masks.append((np.asarray(picture) > 127).astype(np.uint8))
    reasons = ("a test says so", *(None,) * (len(cohort) - 1))
    return LungMasks(np.stack(masks), reasons, "truth", 0.0, True)


def make(cohort, found, cache_dir, **lungs):
    return lung_pixels(cohort, found, Lungs(**{"aspect": "squash"} | lungs), (64, 64), cache_dir).array


def true_mask(found, index):
    return np.asarray(Image.fromarray(found.masks[index] * 255).resize((64, 64))) > 127


def test_mask_hides_what_is_outside_and_outside_hides_the_lungs(cohort, pixels, found, cache_dir):
    masked = make(cohort, found, cache_dir, mode="mask", fill=7)
    outside = make(cohort, found, cache_dir, mode="outside", fill=7)
    lungs = true_mask(found, 3)
    assert (masked[3][~lungs] == 7).all()
    np.testing.assert_array_equal(masked[3][lungs], pixels[3][lungs])
    assert (outside[3][lungs] == 7).all()
    far = ~binary_dilation(lungs, np.ones((3, 3)), iterations=2 + round(0.05 * 64))
    assert far.mean() > 0.2
    np.testing.assert_array_equal(outside[3][far], pixels[3][far])


@pytest.mark.parametrize(
    ("box", "aspect", "grown"),
    [
        ((0.2, 0.4, 0.8, 0.6), 1.0, (0.2, 0.2, 0.8, 0.8)),
        ((0.4, 0.2, 0.6, 0.8), 1.0, (0.2, 0.2, 0.8, 0.8)),
        ((0.0, 0.1, 0.6, 0.3), 1.0, (0.0, 0.0, 0.6, 0.6)),
        ((0.1, 0.4, 0.9, 0.6), 2.0, (0.1, 0.0, 0.9, 1.0)),
    ],
)
def test_a_box_grows_to_the_inputs_shape_without_leaving_the_image(box, aspect, grown):
    assert expanded(box, aspect) == pytest.approx(grown)


@pytest.mark.parametrize("aspect", ["pad", "expand"])
def test_kept_aspect_never_stretches_the_lungs(cohort, found, cache_dir, aspect):
    """Box of phantom 5 alone in a tall input: padding leaves black bars, expanding shows more of the image instead."""
    lungs = Lungs(mode="crop", margin=0.0, aspect=aspect)
    tall = lung_pixels(cohort, found, lungs, (72, 64), cache_dir).array[5]
    top, left, bottom, right = crop_boxes(found, 0.0)[5]
    shown = round(64 * (bottom - top) / (right - left))
    black = int((tall.max(1) == 0).sum())
    if aspect == "pad":
        assert black == pytest.approx(72 - shown, abs=1)
    else:
        assert black <= 1


def test_a_thumbnail_of_the_whole_image_stands_beside_the_crop(cohort, pixels, found, cache_dir):
    both = make(cohort, found, cache_dir, mode="crop", margin=0.0, thumbnail=True)
    assert both.shape == (len(cohort), 2, 64, 64)
    np.testing.assert_array_equal(both[:, 0], make(cohort, found, cache_dir, mode="crop", margin=0.0))
    np.testing.assert_array_equal(both[:, 1], pixels)
    tall = lung_pixels(cohort, found, Lungs(thumbnail=True), (96, 64), cache_dir, letterbox=True).array
    assert (tall[5, 1].max(1) == 0).sum() == 32


def test_whole_images_keep_their_aspect_only_when_letterboxed(cohort, found, cache_dir):
    """Erasing lungs from whole images must not change how the images are brought to the input's shape."""
    erase = Lungs(mode="outside", aspect="expand")
    tall = lung_pixels(cohort, found, erase, (96, 64), cache_dir).array[5]
    boxed = lung_pixels(cohort, found, erase, (96, 64), cache_dir, letterbox=True).array[5]
    assert (tall.max(1) > 0).all()
    assert (boxed.max(1) == 0).sum() == 32


def test_untrusted_images_keep_every_pixel_in_every_mode(cohort, pixels, found, cache_dir):
    found.masks[0] = 0
    for mode in ("crop", "mask", "crop_mask", "outside"):
        np.testing.assert_array_equal(make(cohort, found, cache_dir, mode=mode)[0], pixels[0])


def test_a_crop_shows_the_lungs_larger(cohort, pixels, found, cache_dir):
    top, left, bottom, right = crop_boxes(found, 0.0)[5]
    rows, columns = slice(round(top * 64), round(bottom * 64)), slice(round(left * 64), round(right * 64))
    expected = np.asarray(Image.fromarray(pixels[5][rows, columns]).resize((64, 64), Image.Resampling.BILINEAR))
    cropped = make(cohort, found, cache_dir, mode="crop", margin=0.0)[5]
    assert np.corrcoef(cropped.ravel(), expected.ravel())[0, 1] > 0.98
    hidden = make(cohort, found, cache_dir, mode="crop_mask", margin=0.0, fill=0)[5]
    assert 0.05 < (hidden == 0).mean() < 0.6

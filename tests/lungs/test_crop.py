from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation

from darkcovid.core.array_cache import content_key
from darkcovid.data.contrast import enhance_contrast
from darkcovid.data.decode import load_grayscale
from darkcovid.data.enhance import Enhancement
from darkcovid.data.resize import FULL_IMAGE
from darkcovid.lungs.box import Box, lung_box
from darkcovid.lungs.crop import (
    CropTransform,
    LungCropTransform,
    cached_lung_inputs,
    cached_lung_regions,
    crop_box,
    crop_boxes,
    crop_input_size,
    expand_to_aspect,
)
from darkcovid.lungs.segment import LungMasks
from darkcovid.recipe import Lungs

from .test_mask_quality import two_lungs


def test_the_box_holds_both_lungs_and_is_widened_and_clipped():
    mask = two_lungs(200)
    assert lung_box(mask, 0.0) == Box(40, 40, 160, 160)
    assert lung_box(mask, 0.05) == Box(34, 34, 166, 166)
    assert lung_box(mask, 1.0) == Box(0, 0, 200, 200)
    assert Box(34, 34, 166, 166).area == 132 * 132
    assert lung_box(mask, 0.0).fractions((200, 200)) == (0.2, 0.2, 0.8, 0.8)


def test_an_untrusted_mask_keeps_the_whole_image():
    assert crop_box(two_lungs(), "a test says so", 0.0) == FULL_IMAGE
    assert crop_box(two_lungs(200), None, 0.0) == (0.2, 0.2, 0.8, 0.8)


def test_the_input_size_keeps_the_lungs_scale_unless_told_otherwise():
    boxes = [(0.1, 0.1, 0.8, 0.9), (0.1, 0.1, 0.8, 0.9), (0.0, 0.0, 1.0, 1.0)]
    assert crop_input_size(Lungs(), boxes, (256, 256)) == (160, 192)
    assert crop_input_size(Lungs(), boxes, (512, 512)) == (352, 384)
    assert crop_input_size(Lungs(crop_size=128), boxes, (256, 256)) == (128, 128)
    assert crop_input_size(Lungs(crop_size=(96, 128)), boxes, (256, 256)) == (96, 128)
    assert crop_input_size(Lungs(keep_lung_scale=False), boxes, (256, 256)) == (256, 256)
    assert crop_input_size(Lungs(mode="mask"), boxes, (256, 224)) == (256, 224)
    assert crop_input_size(Lungs(), [], (256, 256)) == (256, 256)


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
    return cached_lung_inputs(cohort, found, Lungs(**{"resize": "squash"} | lungs), (64, 64), cache_dir).array


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
    ("box", "resize", "grown"),
    [
        ((0.2, 0.4, 0.8, 0.6), 1.0, (0.2, 0.2, 0.8, 0.8)),
        ((0.4, 0.2, 0.6, 0.8), 1.0, (0.2, 0.2, 0.8, 0.8)),
        ((0.0, 0.1, 0.6, 0.3), 1.0, (0.0, 0.0, 0.6, 0.6)),
        ((0.1, 0.4, 0.9, 0.6), 2.0, (0.1, 0.0, 0.9, 1.0)),
    ],
)
def test_a_box_grows_to_the_inputs_shape_without_leaving_the_image(box, resize, grown):
    assert expand_to_aspect(box, resize) == pytest.approx(grown)


@pytest.mark.parametrize("resize", ["letterbox", "expand"])
def test_kept_aspect_never_stretches_the_lungs(cohort, found, cache_dir, resize):
    """Box of phantom 5 alone in a tall input: padding leaves black bars, expanding shows more of the image instead."""
    lungs = Lungs(mode="crop", margin=0.0, resize=resize)
    tall = cached_lung_inputs(cohort, found, lungs, (72, 64), cache_dir).array[5]
    top, left, bottom, right = crop_boxes(found, 0.0)[5]
    shown = round(64 * (bottom - top) / (right - left))
    black = int((tall.max(1) == 0).sum())
    if resize == "letterbox":
        assert black == pytest.approx(72 - shown, abs=1)
    else:
        assert black <= 1


def test_a_thumbnail_of_the_whole_image_stands_beside_the_crop(cohort, pixels, found, cache_dir):
    both = make(cohort, found, cache_dir, mode="crop", margin=0.0, context_channel=True)
    assert both.shape == (len(cohort), 2, 64, 64)
    np.testing.assert_array_equal(both[:, 0], make(cohort, found, cache_dir, mode="crop", margin=0.0))
    np.testing.assert_array_equal(both[:, 1], pixels)
    tall = cached_lung_inputs(cohort, found, Lungs(context_channel=True), (96, 64), cache_dir, letterbox=True).array
    assert (tall[5, 1].max(1) == 0).sum() == 32


def test_whole_images_keep_their_aspect_only_when_letterboxed(cohort, found, cache_dir):
    """Erasing lungs from whole images must not change how the images are brought to the input's shape."""
    erase = Lungs(mode="outside", resize="expand")
    tall = cached_lung_inputs(cohort, found, erase, (96, 64), cache_dir).array[5]
    boxed = cached_lung_inputs(cohort, found, erase, (96, 64), cache_dir, letterbox=True).array[5]
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


def test_every_part_of_the_policy_has_pixels_of_its_own_in_the_cache(cohort, found, tmp_path):
    ways = [{}, {"margin": 0.3}, {"mode": "mask"}, {"mode": "mask", "fill": 9}, {"mode": "mask", "letterbox": True}]
    ways += [
        {"resize": "letterbox"},
        {"resize": "squash"},
        {"context_channel": True},
        {"context_channel": True, "letterbox": True},
    ]
    ways += [{"mode": "crop_mask"}, {"mode": "outside"}, {"mode": "outside", "margin": 0.2}]
    for way in ways:
        letterbox = way.get("letterbox", False)
        lungs = Lungs(**{key: value for key, value in way.items() if key != "letterbox"})
        assert cached_lung_inputs(cohort, found, lungs, (64, 48), tmp_path, letterbox).fresh
        assert not cached_lung_inputs(cohort, found, lungs, (64, 48), tmp_path, letterbox).fresh
    assert cached_lung_inputs(cohort, found, Lungs(), (48, 64), tmp_path).fresh
    other_masks = replace(found, masks=np.roll(found.masks, 1, axis=1))
    assert cached_lung_inputs(cohort, other_masks, Lungs(), (64, 48), tmp_path).fresh
    alike = Lungs(crop_size=(64, 48), keep_lung_scale=False)  # these only say the size, which is given
    assert not cached_lung_inputs(cohort, found, alike, (64, 48), tmp_path).fresh


@pytest.mark.parametrize("margin", [0.0, 0.05, 0.1])
def test_erased_lungs_are_widened_by_the_margin_and_never_by_nothing(margin):
    mask = np.zeros((100, 60), np.uint8)
    mask[50, 30] = 1
    image = Image.new("L", (60, 100), 200)
    view = LungCropTransform(
        LungMasks(mask[None], (None,), "truth", 0.0, True), Lungs(mode="outside", margin=margin), (100, 60), False
    )
    rows, columns = np.nonzero(view.picture(0, image) == 0)
    reach = max(1, round(100 * margin))
    assert (rows.min(), rows.max()) == (50 - reach, 50 + reach)
    assert (columns.min(), columns.max()) == (30 - reach, 30 + reach)


@pytest.mark.parametrize("resize", ["squash", "letterbox", "expand"])
def test_a_mask_lies_on_the_picture_and_a_map_finds_its_way_back(resize):
    """A bright block of a dark, wide image: its mask covers it in the crop, and the crop's own pixels go back to its place."""
    image = np.full((200, 400), 20, np.uint8)
    image[80:120, 150:250] = 220
    mask = np.zeros((256, 256), np.uint8)
    mask[round(80 * 1.28) : round(120 * 1.28), round(150 * 0.64) : round(250 * 0.64)] = 1
    frame = CropTransform([(0.25, 0.25, 0.75, 0.75)], (64, 64), resize)
    picture = frame.picture(0, Image.fromarray(image))
    inside = frame.mask(0, mask, (400, 200))
    assert ((picture > 120) == inside).mean() > 0.97
    assert inside.sum() == pytest.approx(
        {"squash": 40 * 64 / 100, "letterbox": 40 * 0.32, "expand": 40 * 0.32}[resize] * 32, rel=0.15
    )
    back = frame.over_image(0, picture.astype(np.float32), (400, 200))
    assert back.shape == (200, 400) and back.dtype == np.float32
    assert ((back > 120) == (image > 120)).mean() > 0.98
    assert back[100, 200] == pytest.approx(220, abs=1)
    outside = {"squash": back[:49], "letterbox": back[:49], "expand": back[:, :99]}[resize]
    assert (outside == 0).all()


def test_crops_in_the_cache_are_those_of_these_masks(cohort, found, tmp_path):
    """Masks of the same weights differ where rules or precision changed: neither their crops nor their areas are served."""
    shifted = replace(found, masks=np.roll(found.masks, 9, axis=2))
    doubted = replace(found, reasons=("not lungs",) * len(cohort))
    for mode in ("crop", "mask", "outside", "crop_mask"):
        lungs, size = Lungs(mode=mode), (64, 64)
        kept = cached_lung_inputs(cohort, found, lungs, size, tmp_path)
        for other in (shifted, doubted):
            made = cached_lung_inputs(cohort, other, lungs, size, tmp_path)
            assert made.fresh and not np.array_equal(made.array, kept.array)
        assert not cached_lung_inputs(cohort, found, lungs, size, tmp_path).fresh
    kept, made = (cached_lung_regions(cohort, masks, None, (64, 64), False, tmp_path) for masks in (found, shifted))
    assert made.fresh and not np.array_equal(made.array, kept.array)


def test_areas_are_the_masks_in_the_arm_s_own_frame(cohort, found, tmp_path):
    whole = cached_lung_regions(cohort, found, None, (64, 64), False, tmp_path).array
    assert set(np.unique(whole)) == {0, 1}
    np.testing.assert_allclose(whole.mean((1, 2)), found.masks.mean((1, 2)), atol=0.02)
    crop = cached_lung_regions(
        cohort, found, Lungs(margin=0.0, context_channel=True, resize="squash"), (64, 64), False, tmp_path
    ).array
    assert crop.shape == (len(cohort), 2, 64, 64)
    np.testing.assert_array_equal(crop[:, 1], whole)
    assert crop[5, 0].mean() > whole[5].mean() and crop[5, 0].any(1).all() and crop[5, 0].any(0)[[0, -1]].all()
    np.testing.assert_array_equal(crop[0, 0], whole[0])  # it is not trusted, so the whole of it is seen
    tall = cached_lung_regions(cohort, found, None, (96, 64), True, tmp_path).array
    assert not tall[:, :16].any() and not tall[:, -16:].any() and tall.any()
    assert not cached_lung_regions(cohort, found, None, (96, 64), True, tmp_path).fresh
    assert cached_lung_regions(cohort, found, None, (96, 64), False, tmp_path).fresh


def test_inputs_in_shards_are_those_of_one_array(cohort, found, tmp_path, monkeypatch):
    def both(folder):
        about = {"cohort": cohort, "masks": found, "size": (64, 64), "cache_dir": tmp_path / folder}
        crops = cached_lung_inputs(lungs=Lungs(mode="crop_mask"), letterbox=False, **about)
        return crops.array, cached_lung_regions(lungs=Lungs(context_channel=True), letterbox=True, **about).array

    whole = both("one")
    monkeypatch.setattr("darkcovid.core.array_cache.SHARD_ROWS", 16)
    for one, many in zip(whole, both("many"), strict=True):
        assert len(many.shards) > 2
        np.testing.assert_array_equal(np.asarray(many), one)
    assert [path.name for path in (tmp_path / "many").iterdir()] == ["pixels"]


@pytest.mark.parametrize(
    "lungs", [Lungs(context_channel=True), Lungs(mode="mask", fill=7), Lungs(mode="outside"), Lungs(margin=0.3)]
)
def test_contrast_is_enhanced_before_anything_is_cropped_or_erased(cohort, found, tmp_path, lungs):
    plain = cached_lung_inputs(cohort, found, lungs, (64, 64), tmp_path)
    assert not cached_lung_inputs(cohort, found, lungs, (64, 64), tmp_path, enhancement=Enhancement("none")).fresh
    enhanced = cached_lung_inputs(cohort, found, lungs, (64, 64), tmp_path, enhancement=Enhancement("clahe"))
    assert enhanced.fresh and not np.array_equal(enhanced.array, plain.array)
    view = LungCropTransform(found, lungs, (64, 64), False)
    for index in (0, 5):
        image = enhance_contrast(load_grayscale(cohort.files[index]), "clahe")
        np.testing.assert_array_equal(enhanced.array[index], view.picture(index, image))


def test_without_contrast_the_cache_s_key_is_as_before(cohort, found, tmp_path):
    cached_lung_inputs(cohort, found, Lungs(), (64, 64), tmp_path)
    policy = {"mode": "crop", "margin": 0.05, "fill": 0, "thumbnail": False, "aspect": ["expand", "squash"]}
    images = [f"{sha256} {digest}" for sha256, digest in zip(cohort.sha256, found.digests, strict=True)]
    key = content_key(images=images, kind="lungs", size=[64, 64], policy=policy)
    assert (tmp_path / "pixels" / f"{key}.npy").is_file()

import numpy as np
import pytest
from PIL import Image
from skimage.segmentation import find_boundaries

from darkcovid.report.overlays import CAPTION, CROP, PREDICTED, contact_sheet, heat_share, lung_overlay, mask_outline


def square(side=64):
    mask = np.zeros((side, side), bool)
    mask[16:48, 16:48] = True
    return mask


def test_an_outline_is_the_inner_edge_of_the_mask():
    edge = mask_outline(square(), (64, 64), width=2)
    assert edge.sum() == 32 * 32 - 28 * 28
    assert not edge[:15].any()
    assert not edge[20:44, 20:44].any()


@pytest.mark.parametrize("width", [1, 2, 3])
def test_an_outline_is_scikit_image_s_boundaries_layer_by_layer(width):
    for seed in range(10):
        mask = np.kron(np.random.default_rng(seed).random((8, 8)) < 0.6, np.ones((8, 8), bool))
        inside = padded = np.pad(mask, 1)  # beyond the image is background, which find_boundaries does not assume
        for _ in range(width):
            inside = inside & ~find_boundaries(inside, connectivity=1, mode="inner")
        np.testing.assert_array_equal(mask_outline(mask, (64, 64), width), (padded & ~inside)[1:-1, 1:-1])


def test_an_overlay_shows_the_image_the_outline_and_the_box():
    picture = lung_overlay(Image.new("L", (256, 128), 90), [(square(), PREDICTED)], (0.125, 0.125, 0.875, 0.875))
    assert picture.size == (512, 256)
    colors = {color for _, color in picture.getcolors(1 << 20)}
    for wanted in (PREDICTED, CROP):
        assert Image.new("RGB", (1, 1), wanted).getpixel((0, 0)) in colors
    assert picture.getpixel((256, 128)) == (90, 90, 90)


def test_a_gallery_places_every_picture_over_its_caption():
    pictures = [Image.new("L", (100, 50), shade) for shade in (40, 80, 120, 160, 200)]
    sheet = contact_sheet(pictures, ["a reason that is rather long and wraps"] * 5, columns=4, side=128)
    assert sheet.size == (4 * 128, 2 * (128 + CAPTION))
    for index, shade in enumerate((40, 80, 120, 160, 200)):
        middle = (index % 4 * 128 + 64, index // 4 * (128 + CAPTION) + 64)
        assert sheet.getpixel(middle) == (shade,) * 3
    assert min(sheet.crop((0, 128, 128, 128 + CAPTION)).convert("L").getextrema()) < 80


def test_one_hot_pixel_does_not_hide_the_others():
    heat = np.zeros((40, 40), np.float32)
    heat[10:20, 10:20], heat[0, 0] = 1, 100
    share = heat_share(heat)
    assert share[10:20, 10:20].min() == share[0, 0] == 1 and share[30:].max() == 0
    assert heat_share(np.zeros((4, 4))).max() == 0
    lonely = np.zeros((40, 40))
    lonely[5, 5] = 3
    assert heat_share(lonely)[5, 5] == 1

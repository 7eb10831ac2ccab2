"""Masks and pictures that must not be believed, and those that must."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter
from sklearn.datasets import load_sample_images

from darkcovid.data.decode import load_grayscale
from darkcovid.data.resize import resize
from darkcovid.lungs.mask_quality import postprocess_mask, rejection_reason, shape_rejection_reason
from darkcovid.lungs.segment import segment_lungs
from darkcovid.lungs.unet import INPUT_SIZE, load_segmenter


def two_lungs(side=256):
    """Two rectangles: rows 20 % to 80 %, columns 20 % to 45 % and 55 % to 80 %."""
    mask = np.zeros((side, side), bool)
    rows = slice(side // 5, side * 4 // 5)
    mask[rows, side // 5 : side * 9 // 20] = mask[rows, side * 11 // 20 : side * 4 // 5] = True
    return mask


@pytest.mark.parametrize(
    ("rows", "columns", "reason"),
    [
        ((0, 0), (0, 0), "only 0%"),
        ((0, 256), (0, 256), "100%"),
        ((100, 150), (30, 220), "high"),
        ((20, 220), (100, 160), "wide"),
        ((60, 200), (0, 90), "middle"),
    ],
)
def test_implausible_masks_are_refused_with_the_reason(rows, columns, reason):
    mask = np.zeros((256, 256), bool)
    mask[slice(*rows), slice(*columns)] = True
    assert reason in shape_rejection_reason(mask)


def test_a_single_lung_is_not_trusted():
    mask = two_lungs()
    mask[:, 130:] = False
    mask[120:124, 150:205] = True
    assert shape_rejection_reason(mask) == "one lung is missing"


def test_cleaning_keeps_two_parts_fills_holes_and_drops_specks():
    mask = two_lungs()
    speckled = mask.copy()
    speckled[5:8, 5:8] = True
    speckled[100:105, 70:75] = False
    np.testing.assert_array_equal(postprocess_mask(speckled), mask)
    assert shape_rejection_reason(mask) is None
    assert not postprocess_mask(np.zeros((8, 8), bool)).any()


def test_lungs_that_touch_in_most_rows_are_a_lateral_view():
    mask = two_lungs()
    assert shape_rejection_reason(mask) is None
    mask[120:204, 52:204] = True
    assert "lateral" in shape_rejection_reason(mask)


def axial_slice():
    """A body in black air, with two dark lungs and a bright spine: (256, 256) uint8."""
    y, x = np.mgrid[-1:1:256j, -1:1:256j]
    body = (x / 0.9) ** 2 + (y / 0.65) ** 2 < 1
    lungs = ((np.abs(x) - 0.42) / 0.3) ** 2 + (y / 0.45) ** 2 < 1
    spine = x**2 + (y - 0.35) ** 2 < 0.015
    return gaussian_filter(np.select([spine, lungs, body], [230, 40, 150], 0).astype(float), 1).astype(np.uint8)


def test_the_picture_and_the_mirror_image_must_speak_for_the_mask(cohort):
    mask, radiograph = two_lungs(), resize(load_grayscale(cohort.files[0]), INPUT_SIZE)
    assert rejection_reason(radiograph, mask, 1.0) is None
    assert "mirror image gave another mask (Dice 0.60)" in rejection_reason(radiograph, mask, 0.6)
    assert "CT slice" in rejection_reason(axial_slice(), mask, 1.0)
    assert "no contrast" in rejection_reason(np.full(INPUT_SIZE, 90, np.uint8), mask, 1.0)
    framed = np.pad(radiograph, 30)
    assert rejection_reason(framed, np.pad(mask, 30), 1.0) is None


def test_photographs_and_ct_slices_are_not_trusted(cpu):
    photographs = [Image.fromarray(photograph).convert("L") for photograph in load_sample_images().images]
    pictures = np.stack([resize(photograph, INPUT_SIZE) for photograph in photographs] + [axial_slice()])
    assert all(reason for _, reason in segment_lungs(pictures, load_segmenter(), cpu))


@pytest.mark.slow
def test_frontal_views_are_trusted_and_most_lateral_ones_are_not(real_data, cpu):
    rows = pd.read_csv(real_data / "ieee512" / "manifest.csv", keep_default_na=False)
    shares = {}
    for name, views, least in (("lateral", ("L",), 54), ("frontal", ("PA", "AP", "AP Supine"), 60)):
        files = [real_data / "ieee512" / path for path in rows.path[rows["view"].isin(views)][-least:]]
        pixels = np.stack([resize(load_grayscale(file), INPUT_SIZE) for file in files])
        shares[name] = np.mean([reason is None for _, reason in segment_lungs(pixels, load_segmenter(), cpu)])
    assert shares["lateral"] < 0.2
    assert shares["frontal"] > 0.9

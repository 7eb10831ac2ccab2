"""Masks in every form in which people keep them."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from darkcovid.core.errors import DataError
from darkcovid.data.cohort import load_mask_evaluation_cohort
from darkcovid.lungs.masks import load_ground_truth_masks, read_lung_mask

from .test_mask_quality import two_lungs

TRUTH = two_lungs(200).astype(bool)
LEFT = TRUTH & (np.arange(200) >= 100)
GRAY = np.where(TRUTH, 255, 0).astype(np.uint8)


def labels(left, right, dtype=np.uint8):
    return Image.fromarray(np.where(LEFT, left, np.where(TRUTH, right, 0)).astype(dtype))


def palette(colors):
    image = labels(1, 2).convert("P")  # the gray values 0, 1, 2 become the indices
    image.putpalette([value for color in colors for value in color])
    return image


def color(left, right):
    array = np.zeros((200, 200, 3), np.uint8)
    array[LEFT], array[TRUTH & ~LEFT] = left, right
    return Image.fromarray(array)


def cut_out():
    """White everywhere, transparent where there is no lung."""
    return Image.fromarray(np.dstack([np.full((200, 200, 3), 255, np.uint8), GRAY]))


def jpeg(quality):
    file = io.BytesIO()
    Image.fromarray(GRAY).save(file, "JPEG", quality=quality)
    return Image.open(file)


FORMS = {
    "0 and 255": labels(255, 255),
    "0 and 1": labels(1, 1),
    "left 1, right 2": labels(1, 2),
    "0 and 127": labels(127, 127),
    "85 and 170": labels(85, 170),
    "16 bit of 1": labels(1, 1, np.uint16),
    "16 bit of 65535": labels(65535, 65535, np.uint16),
    "one bit": Image.fromarray(GRAY).convert("1"),
    "red": color((255, 0, 0), (255, 0, 0)),
    "red and green": color((255, 0, 0), (0, 255, 0)),
    "dark blue": color((0, 0, 9), (0, 0, 9)),
    "cut out": cut_out(),
    "palette of colors": palette([(0, 0, 0), (250, 10, 10), (10, 10, 250)]),
    "palette all black": palette([(0, 0, 0)] * 3),
}


@pytest.mark.parametrize("form", FORMS)
def test_whatever_is_not_0_is_lung(tmp_path, form):
    FORMS[form].save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_lung_mask(tmp_path / "mask.png"), TRUTH)


def dice(mask):
    return 2 * (mask & TRUTH).sum() / (mask.sum() + TRUTH.sum())


@pytest.mark.parametrize("quality", [10, 50, 95])
def test_compression_and_soft_edges_do_not_grow_a_mask(tmp_path, quality):
    jpeg(quality).save(tmp_path / "a.png")
    Image.fromarray(GRAY).save(tmp_path / "b.jpg", quality=quality)
    Image.fromarray(GRAY).filter(ImageFilter.GaussianBlur(2)).save(tmp_path / "c.png")
    assert all(dice(read_lung_mask(tmp_path / name)) > 0.99 for name in ("a.png", "b.jpg", "c.png"))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (Image.new("L", (64, 64)), "this lung mask is empty"),
        (Image.new("L", (64, 64), 1), "this lung mask marks every pixel as lung"),
        (Image.linear_gradient("L"), "not a lung mask: it holds 256 values from 0 to 255"),
    ],
)
def test_what_is_no_mask_is_named_before_anything_is_trained(phantom_data, cache_dir, tmp_path, image, message):
    image.save(tmp_path / "bad.png")
    with pytest.raises(DataError, match=f"bad.png: {message}"):
        read_lung_mask(tmp_path / "bad.png")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(DataError, match=r"text.png: this lung mask cannot be read"):
        read_lung_mask(tmp_path / "text.png")
    cohort = load_mask_evaluation_cohort(phantom_data, cache_dir)
    image.save(cohort.manifest.roots[0] / "bad.png")
    rows = cohort.rows.assign(lung_mask=["bad.png", *cohort.rows.lung_mask[1:]])
    cohort.rows["lung_mask"] = rows.lung_mask
    with pytest.raises(DataError, match=message):
        load_ground_truth_masks(cohort, (64, 64), tmp_path / "cache")

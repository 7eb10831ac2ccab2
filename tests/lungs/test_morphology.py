"""scikit-image's components and holes, and the one dilation, give the bits that the functions before them gave."""

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation, binary_fill_holes, gaussian_filter, label
from skimage.morphology import diamond, dilation

from darkcovid.lungs.mask_quality import MAX_COMPONENTS, MIN_COMPONENT_RATIO, postprocess_mask
from darkcovid.lungs.morphology import dilate, fill_holes, largest_components
from darkcovid.lungs.unet import INPUT_SIZE

from .test_mask_quality import two_lungs


def former_postprocess_mask(mask):
    parts, count = label(mask)
    if count == 0:
        return np.zeros_like(mask, bool)
    areas = np.bincount(parts.ravel())[1:]
    order = np.argsort(areas)[::-1][:MAX_COMPONENTS]
    kept = [part + 1 for part in order if areas[part] >= MIN_COMPONENT_RATIO * areas[order[0]]]
    return binary_fill_holes(np.isin(parts, kept))


def former_crop_dilation(mask, margin):
    return binary_dilation(mask, iterations=max(1, round(margin * mask.shape[0])))


def former_audit_dilation(inside, fraction):
    around = np.zeros((1,) * (inside.ndim - 2) + (3, 3), bool)
    around[..., 1, :] = around[..., :, 1] = True
    return binary_dilation(inside, around, iterations=max(1, round(fraction * inside.shape[-2])))


def assert_same(found, wanted):
    assert found.dtype == wanted.dtype == bool
    np.testing.assert_array_equal(found, wanted)


def grid_of_squares(count, side=40):
    """`count` x `count` squares of 2x2 pixels, all of one size, none touching another."""
    mask = np.zeros((side, side), bool)
    for row in range(count):
        for column in range(count):
            mask[4 * row + 1 : 4 * row + 3, 4 * column + 1 : 4 * column + 3] = True
    return mask


def drawn(*blocks, shape=(24, 20)):
    """Rectangles (top, bottom, left, right), each turning what it covers."""
    mask = np.zeros(shape, bool)
    for top, bottom, left, right in blocks:
        mask[top:bottom, left:right] ^= True
    return mask


EDGE_CASES = {
    "empty": np.zeros((8, 8), bool),
    "full": np.ones((8, 8), bool),
    "one pixel": drawn((5, 6, 7, 8)),
    "one pixel in a corner": drawn((0, 1, 0, 1)),
    "an image of one pixel": np.ones((1, 1), bool),
    "one row": np.array([[True, False, True, True, False]]),
    "all sides touched": drawn((0, 24, 0, 20), (5, 9, 4, 12)),
    "a bay at the border is no hole": drawn((0, 10, 0, 20), (0, 6, 5, 15)),
    "a ring": drawn((2, 20, 2, 18), (6, 16, 6, 14)),
    "a part inside another's hole": drawn((1, 22, 1, 19), (4, 18, 4, 16), (8, 14, 8, 12)),
    "parts that touch at a corner": drawn((2, 8, 2, 8), (8, 14, 8, 14)),
    "a hole closed by corners only": drawn((5, 6, 6, 7), (6, 7, 5, 6), (6, 7, 7, 8), (7, 8, 6, 7)),
    "two of one size": drawn((2, 8, 2, 6), (2, 8, 10, 14)),
    "three of one size": drawn((2, 8, 1, 5), (2, 8, 7, 11), (2, 8, 13, 17)),
    "many of one size": grid_of_squares(9),
    "a tenth and just below": drawn((0, 10, 0, 10), (15, 17, 0, 5), (20, 21, 0, 9)),
    "two lungs": two_lungs(64),
}


def random_masks():
    """Noise of several densities and smooth blobs: 60 masks, (48, 40) bool."""
    for seed in range(60):
        noise = np.random.default_rng(seed).random((48, 40))
        level = (0.05, 0.3, 0.5, 0.6, 0.7, 0.95)[seed % 6]
        yield noise < level if seed < 36 else gaussian_filter(noise, 1 + seed % 3) > 0.5


@pytest.mark.parametrize("mask", EDGE_CASES.values(), ids=EDGE_CASES)
def test_edge_cases_keep_their_bits(mask):
    assert_same(postprocess_mask(mask), former_postprocess_mask(mask))
    assert_same(fill_holes(mask), binary_fill_holes(mask))
    for fraction in (0.0, 0.05, 0.2):
        assert_same(dilate(mask, fraction), former_crop_dilation(mask, fraction))
        assert_same(dilate(mask, fraction), former_audit_dilation(mask, fraction))


def test_random_masks_keep_their_bits():
    for mask in random_masks():
        assert_same(postprocess_mask(mask), former_postprocess_mask(mask))
        assert_same(fill_holes(mask), binary_fill_holes(mask))


def test_phantoms_keep_their_bits(cohort):
    random = np.random.default_rng(0)
    for path in cohort.rows.lung_mask:
        mask = np.asarray(Image.open(cohort.manifest.locate(path))) > 127
        speckled = mask ^ (random.random(mask.shape) < 0.02)
        for one in (mask, speckled, mask[:, ::-1]):
            assert_same(postprocess_mask(one), former_postprocess_mask(one))


@pytest.mark.slow
@pytest.mark.real_data
def test_real_masks_keep_their_bits(real_data):
    """The 323 lung masks of the collection, as they are and with squares turned over."""
    files = sorted((real_data / "ieee512" / "lung_masks").iterdir())
    assert len(files) == 323
    random = np.random.default_rng(0)
    for file in files:
        mask = np.asarray(Image.open(file).convert("L").resize(INPUT_SIZE)) > 127
        speckled = mask.copy()
        for top, left, side in zip(*random.integers(0, 240, (2, 5)), random.integers(1, 9, 5), strict=True):
            speckled[top : top + side, left : left + side] ^= True
        for one in (mask, speckled):
            assert_same(postprocess_mask(one), former_postprocess_mask(one))
        assert_same(dilate(mask, 0.03), former_audit_dilation(mask, 0.03))


def test_a_stack_is_dilated_image_by_image():
    stack = np.stack(list(random_masks()))[:, None] & (np.random.default_rng(1).random((60, 1, 48, 40)) < 0.02)
    assert_same(dilate(stack, 0.05), former_audit_dilation(stack, 0.05))
    assert_same(dilate(stack, 0.05)[7, 0], former_crop_dilation(stack[7, 0], 0.05))
    assert_same(dilate(stack[7, 0].astype(np.uint8), 0.05), former_crop_dilation(stack[7, 0].astype(np.uint8), 0.05))


@pytest.mark.parametrize("radius", [1, 2, 5])
def test_dilation_is_by_a_diamond(radius):
    """As scikit-image's, which takes 5 to 10 times as long."""
    for mask in random_masks():
        sparse = mask & (np.random.default_rng(radius).random(mask.shape) < 0.01)
        wanted = dilation(sparse, diamond(radius, decomposition="sequence"))
        assert_same(dilate(sparse, radius / 48), wanted)


def test_components_are_counted_by_area():
    mask = drawn((0, 10, 0, 10), (12, 20, 0, 10), (22, 24, 0, 10))
    assert largest_components(mask, 1, 0.0).sum() == 100
    assert largest_components(mask, 2, 0.0).sum() == 180
    assert largest_components(mask, 3, 0.2).sum() == 200
    assert largest_components(mask, 3, 0.21).sum() == 180

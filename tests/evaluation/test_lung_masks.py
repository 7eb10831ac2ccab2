import numpy as np
import pytest

from darkcovid.evaluation.lung_masks import score_lungs, summarize_masks


def lungs(top, bottom):
    mask = np.zeros((100, 100), bool)
    mask[top:bottom, 20:45] = mask[top:bottom, 55:80] = True
    return mask


def test_a_perfect_mask_scores_one_everywhere_and_crops_its_box():
    truth = np.stack([lungs(20, 80)])
    (score,) = score_lungs(truth, [None], truth, 0.0)
    assert (score.dice, score.iou, score.lung_kept, score.box_iou, score.untrusted) == (1, 1, 1, 1, None)
    assert score.crop_area == pytest.approx(0.6 * 0.6)


def test_a_mask_that_misses_the_bases_loses_lung_unless_the_margin_gives_it_back():
    truth, short = np.stack([lungs(20, 80)]), np.stack([lungs(20, 65)])
    (tight,), (wide,) = score_lungs(short, [None], truth, 0.0), score_lungs(short, [None], truth, 0.5)
    assert tight.dice == pytest.approx(2 * 45 / (45 + 60))
    assert tight.lung_kept == pytest.approx(0.75)
    assert tight.box_iou == wide.box_iou == pytest.approx(0.75)
    assert wide.lung_kept == 1
    assert wide.crop_area > tight.crop_area


def test_an_untrusted_mask_keeps_the_whole_image():
    truth = np.stack([lungs(20, 80)])
    (score,) = score_lungs(np.zeros_like(truth), ["nothing there"], truth, 0.05)
    assert (score.dice, score.lung_kept, score.crop_area) == (0, 1, 1)
    assert score.box_iou == pytest.approx(0.36)
    assert score.untrusted == "nothing there"


def test_the_summary_of_two_images_by_hand():
    truth = np.stack([lungs(20, 80)] * 2)
    predicted = np.stack([lungs(20, 80), lungs(20, 65)])
    summary = summarize_masks(score_lungs(predicted, [None, None], truth, 0.0))
    assert summary.dice.mean == summary.dice.median == pytest.approx((1 + 90 / 105) / 2)
    assert summary.dice.min == pytest.approx(90 / 105)
    assert (summary.lung_kept.mean, summary.lung_kept.share_at_95) == (pytest.approx(0.875), 0.5)
    assert summary.untrusted == 0

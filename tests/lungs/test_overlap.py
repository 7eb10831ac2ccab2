import numpy as np
import pytest

from darkcovid.lungs.box import Box
from darkcovid.lungs.overlap import box_iou, dice_to_iou, fraction_inside, mask_dice


def test_dice_and_iou_by_hand():
    truth = np.zeros((2, 4, 4), bool)
    truth[0, :2] = True
    predicted = np.zeros_like(truth)
    predicted[0, :, :2] = True
    np.testing.assert_allclose(mask_dice(predicted, truth), [0.5, 1.0])
    shared, either = (predicted[0] & truth[0]).sum(), (predicted[0] | truth[0]).sum()
    np.testing.assert_allclose(dice_to_iou(mask_dice(predicted, truth)), [shared / either, 1.0])


@pytest.mark.parametrize(
    ("other", "iou"),
    [(Box(0, 0, 4, 4), 1.0), (Box(2, 2, 6, 6), 4 / 28), (Box(4, 0, 8, 4), 0.0), (Box(10, 10, 12, 12), 0.0)],
)
def test_box_iou_by_hand(other, iou):
    assert box_iou(Box(0, 0, 4, 4), other) == pytest.approx(iou)
    assert box_iou(other, Box(0, 0, 4, 4)) == pytest.approx(iou)


def test_a_crop_keeps_what_is_inside_it():
    mask = np.zeros((8, 8), bool)
    mask[2:6, 2:6] = True
    assert fraction_inside(mask, Box(0, 0, 8, 8)) == 1.0
    assert fraction_inside(mask, Box(4, 0, 8, 8)) == 0.5
    assert fraction_inside(mask, Box(6, 6, 8, 8)) == 0.0

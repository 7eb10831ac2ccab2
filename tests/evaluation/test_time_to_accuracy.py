"""Curves of accuracy over seconds, by hand."""

import pytest

from darkcovid.evaluation.time_to_accuracy import AccuracyCurve, TimeToAccuracy

SLOW = AccuracyCurve.of([10.0] * 6, [0.2, 0.9, 0.4, 0.8, 0.9, 0.7], 6)
QUICK = AccuracyCurve.of([1.0, 2.0, 1.0, 1.0], [0.8, 0.8, 0.8, 0.1], 8)


def test_one_lucky_epoch_does_not_reach_the_target():
    assert SLOW.seconds == [10, 20, 30, 40, 50, 60]
    assert SLOW.smoothed == [None, None, pytest.approx(0.5), pytest.approx(0.7), pytest.approx(0.7), pytest.approx(0.8)]
    assert SLOW.reached(0.69) == 40 and SLOW.reached(0.79) == 60 and SLOW.reached(0.9) is None
    assert QUICK.reached(0.79) == 4


@pytest.mark.parametrize("epochs", [0, 1, 2])
def test_fewer_epochs_than_are_smoothed_reach_nothing(epochs):
    curve = AccuracyCurve.of([1.0] * epochs, [1.0] * epochs, 9)
    assert curve.smoothed == [None] * epochs and curve.reached(0.1) is None


def test_ratios_are_of_seconds_and_unknown_where_one_did_not_arrive():
    result = TimeToAccuracy(0.79, {"stock": SLOW, "whole": SLOW, "crop": QUICK})
    assert result.ratio("crop") == 15 and result.ratio("whole") == 1
    said = result.as_dict()
    assert said["ratio_crop"] == 15 and said["crop"]["seconds_to_target"] == 4 and said["stock"]["epochs"] == 6
    never = TimeToAccuracy(0.85, {"stock": SLOW, "whole": SLOW, "crop": QUICK})
    assert never.ratio("crop") is None and never.as_dict()["stock"]["seconds_to_target"] is None

import numpy as np
import pytest

from darkcovid.evaluation.pairs import Predictions, compare_to, holm, mcnemar


def test_mcnemar_by_hand():
    """10 discordant images, 1 of them for one side: 2 * (1 + 10) / 2^10."""
    assert mcnemar(1, 9) == pytest.approx(2 * 11 / 1024)
    assert mcnemar(9, 1) == mcnemar(1, 9)
    assert mcnemar(5, 5) == 1.0
    assert mcnemar(0, 0) == 1.0


def test_holm_by_hand():
    """Sorted 0.01, 0.02, 0.04 times 3, 2, 1: 0.03, 0.04, 0.04; what has no p is no test."""
    assert holm({"a": 0.04, "b": 0.01, "c": 0.02, "d": None}) == {"a": 0.04, "b": 0.03, "c": 0.04, "d": None}
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}


def arm(right, several=False):
    labels = np.arange(len(right)) % 2
    predicted = np.where(right, labels, 1 - labels)
    names = [f"{i}.png" for i in range(len(right))]
    return Predictions(names, [f"p{i // 2}" for i in range(len(right))], labels, np.eye(2)[predicted] * 0.8 + 0.1, several)


def test_a_clear_difference_is_said_and_a_small_one_is_not():
    random = np.random.default_rng(0)
    base = random.random(400) < 0.9
    worse, same = base & (random.random(400) < 0.8), base.copy()
    same[:3] = ~same[:3]
    far, near = compare_to("base", {"base": arm(base), "worse": arm(worse), "same": arm(same)}, ("x", "y"))
    assert (far.arm, far.only_reference, far.only_arm) == ("worse", int((base & ~worse).sum()), 0)
    assert far.differences["accuracy"].difference == pytest.approx(worse.mean() - base.mean())
    assert far.differences["accuracy"].low < far.differences["accuracy"].difference < far.differences["accuracy"].high < 0
    assert far.p < far.p_holm < 0.001
    assert far.sentence.startswith("worse was less accurate than base: -0.")
    assert near.sentence.startswith("No difference in accuracy between same and base could be shown: ")


def test_images_predicted_several_times_are_not_counted_as_independent():
    base = np.arange(40) % 3 > 0
    (pair,) = compare_to("a", {"a": arm(base, True), "b": arm(~base, True)}, ("x", "y"))
    assert pair.p is pair.p_holm is None
    assert pair.differences["accuracy"].low <= pair.differences["accuracy"].difference <= pair.differences["accuracy"].high

import numpy as np
import pytest

from darkcovid.metrics.p_values import holm
from darkcovid.metrics.paired_tests import Predictions, compare_arms, mcnemar


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
    far, near = compare_arms("base", {"base": arm(base), "worse": arm(worse), "same": arm(same)}, ("x", "y"))
    assert (far.arm, far.only_reference, far.only_arm) == ("worse", int((base & ~worse).sum()), 0)
    assert far.differences["accuracy"].difference == pytest.approx(worse.mean() - base.mean())
    assert far.differences["accuracy"].low < far.differences["accuracy"].difference < far.differences["accuracy"].high < 0
    assert far.p < far.p_holm < 0.001
    assert far.sentence.startswith("worse was less accurate than base: -0.")
    assert near.sentence.startswith("No difference in accuracy between same and base could be shown: ")


def test_an_arm_that_may_have_learned_nothing_is_named():
    random = np.random.default_rng(0)
    good, guess = random.random(200) < 0.9, random.random(200) < 0.5
    (pair,) = compare_arms("good", {"good": arm(good), "guess": arm(guess)}, ("x", "y"))
    assert pair.sentence.startswith("guess was less accurate than good: ")
    assert pair.sentence.endswith(". guess is not shown to be more accurate than the majority class (0.500).")
    (pair,) = compare_arms("a", {"a": arm(guess), "b": arm(~guess)}, ("x", "y"))
    assert pair.sentence.endswith(" b and a are not shown to be more accurate than the majority class (0.500).")
    (pair,) = compare_arms("a", {"a": arm(good), "b": arm(good)}, ("x", "y"))
    assert "majority" not in pair.sentence


def test_images_predicted_several_times_are_not_counted_as_independent():
    base = np.arange(40) % 3 > 0
    (pair,) = compare_arms("a", {"a": arm(base, True), "b": arm(~base, True)}, ("x", "y"))
    assert pair.p is pair.p_holm is None
    assert pair.differences["accuracy"].low <= pair.differences["accuracy"].difference <= pair.differences["accuracy"].high


def test_two_perfect_arms_are_not_known_to_be_alike():
    right = np.ones(40, bool)
    (pair,) = compare_arms("a", {"a": arm(right), "b": arm(right)}, ("x", "y"))
    span = pair.differences["accuracy"]
    assert (span.difference, span.low, span.high) == pytest.approx((0.0, -0.168, 0.168), abs=1e-3)
    assert all(one.low < 0 < one.high for one in pair.differences.values())
    assert pair.sentence.startswith("No difference in accuracy between b and a could be shown")


def test_mcnemar_is_of_patients():
    """Ten patients of four images each whose images agree: ten witnesses, not forty."""
    labels, patients = np.zeros(40, int), np.repeat(np.arange(10), 4).astype(str)
    right = np.repeat(np.arange(10) < 2, 4)
    arms = {
        name: Predictions(list(map(str, range(40))), patients, labels, np.eye(2)[np.where(good, 0, 1)])
        for name, good in (("a", right), ("b", ~right))
    }
    (pair,) = compare_arms("a", arms, ("x", "y"))
    assert (pair.only_reference, pair.only_arm) == (8, 32)
    assert pair.p == mcnemar(2, 8) > 0.1

import numpy as np
import pytest

from darkcovid.evaluation.metrics import score


def test_figures_counted_by_hand():
    labels = np.array([0, 0, 0, 1, 1, 2])
    predicted = np.array([0, 0, 1, 1, 2, 2])
    scores = score(labels, np.eye(3)[predicted], ("a", "b", "c"))
    assert scores.accuracy == pytest.approx(4 / 6)
    assert scores.balanced_accuracy == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert scores.confusion_matrix == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]
    a, b, c = (scores.per_class[name] for name in "abc")
    assert (a.precision, a.recall, a.f1, a.support) == (1.0, pytest.approx(2 / 3), pytest.approx(0.8), 3)
    assert (b.precision, b.recall, b.support) == (0.5, 0.5, 2)
    assert (c.precision, c.recall, c.support) == (0.5, 1.0, 1)


def test_a_class_never_predicted_scores_nothing_and_one_never_seen_is_still_listed():
    scores = score(np.array([0, 0, 1]), np.eye(3)[[0, 0, 0]], ("a", "b", "c"))
    assert scores.per_class["b"].precision == scores.per_class["b"].f1 == 0
    assert scores.per_class["c"].support == 0
    assert scores.as_dict()["per_class"]["a"]["recall"] == 1.0

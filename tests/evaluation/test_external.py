import numpy as np
import pytest

from darkcovid.evaluation.external import ScoredSet, performance_drop

CLASSES = ("a", "b", "c")


def answers(labels, predicted):
    return np.eye(3)[predicted] * 0.7 + 0.1, np.array(labels)


def test_only_classes_of_both_sets_count():
    """Inside: a and b 3 of 4 right, c all wrong. Outside: a and b 1 of 4 right, no c."""
    probabilities, labels = answers([0, 0, 1, 1, 2, 2], [0, 0, 1, 0, 0, 0])
    inside = ScoredSet(labels, probabilities, list("pqrstu"))
    probabilities, labels = answers([0, 0, 1, 1], [0, 2, 0, 0])
    found = performance_drop(inside, ScoredSet(labels, probabilities, list("pqrs")), CLASSES)
    assert found.classes == ["a", "b"]
    assert (found.metrics["accuracy"].inside, found.metrics["accuracy"].outside) == (0.75, 0.25)
    assert found.metrics["accuracy"].fall == 0.5
    assert found.metrics["balanced_accuracy"].fall == pytest.approx(0.75 - 0.25)
    recall = found.metrics["a.recall"]
    assert (recall.inside, recall.outside, recall.fall) == (1.0, 0.5, 0.5)
    assert "c.recall" not in found.metrics


def test_one_class_alone_has_no_roc_curve():
    probabilities, labels = answers([0, 0, 1, 1], [0, 0, 1, 0])
    inside = ScoredSet(labels, probabilities, list("pqrs"))
    found = performance_drop(inside, ScoredSet(np.zeros(4, int), probabilities, list("pqrs")), CLASSES)
    assert found.classes == ["a"]
    assert "a.roc_auc" not in found.metrics


def test_the_interval_covers_a_known_fall():
    """True accuracies 0.9 and 0.7, 80 patients of two images each whose answers agree: near 95 of 100 intervals hold 0.2."""
    random = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        sets = []
        for rate in (0.9, 0.7):
            right = np.repeat(random.random(80) < rate, 2)
            labels = np.tile([0, 1], 80)
            probabilities, labels = answers(labels, np.where(right, labels, 1 - labels))
            sets.append(ScoredSet(labels, probabilities, np.repeat(np.arange(80), 2).astype(str)))
        low, high = performance_drop(*sets, CLASSES).metrics["accuracy"].interval
        held += low <= 0.2 <= high
    assert 0.90 <= held / 200 <= 0.985

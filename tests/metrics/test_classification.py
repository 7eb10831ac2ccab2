import numpy as np
import pytest
from sklearn import metrics as theirs

from darkcovid.metrics.calibration import expected_calibration_error, reliability
from darkcovid.metrics.classification import classification_metrics

RANDOM = np.random.default_rng(0)
LABELS = RANDOM.integers(0, 3, 200)
LOGITS = RANDOM.normal(size=(200, 3)) + 1.5 * np.eye(3)[LABELS]
PROBABILITIES = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)


def test_figures_counted_by_hand():
    labels = np.array([0, 0, 0, 1, 1, 2])
    predicted = np.array([0, 0, 1, 1, 2, 2])
    scores = classification_metrics(labels, np.eye(3)[predicted], ("a", "b", "c"))
    assert scores.accuracy == pytest.approx(4 / 6)
    assert scores.balanced_accuracy == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert scores.confusion_matrix == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]
    a, b, c = (scores.per_class[name] for name in "abc")
    assert (a.precision, a.recall, a.f1, a.support) == (1.0, pytest.approx(2 / 3), pytest.approx(0.8), 3)
    assert (b.precision, b.recall, b.support) == (0.5, 0.5, 2)
    assert (c.precision, c.recall, c.support) == (0.5, 1.0, 1)
    assert (a.specificity, b.specificity, c.specificity) == (1.0, pytest.approx(3 / 4), pytest.approx(4 / 5))


def test_a_class_never_predicted_scores_nothing_and_one_never_seen_is_still_listed():
    scores = classification_metrics(np.array([0, 0, 1]), np.eye(3)[[0, 0, 0]], ("a", "b", "c"))
    assert scores.per_class["b"].precision == scores.per_class["b"].f1 == 0
    assert scores.per_class["c"].support == 0
    assert scores.per_class["c"].roc_auc is None
    assert scores.as_dict()["per_class"]["a"]["recall"] == 1.0


def test_every_figure_is_scikit_learns():
    scores, predicted = classification_metrics(LABELS, PROBABILITIES, ("a", "b", "c")), PROBABILITIES.argmax(1)
    assert scores.kappa == pytest.approx(theirs.cohen_kappa_score(LABELS, predicted))
    assert scores.mcc == pytest.approx(theirs.matthews_corrcoef(LABELS, predicted))
    assert scores.macro["f1"] == pytest.approx(theirs.f1_score(LABELS, predicted, average="macro"))
    assert scores.macro["precision"] == pytest.approx(theirs.precision_score(LABELS, predicted, average="macro"))
    assert scores.macro["recall"] == pytest.approx(scores.balanced_accuracy)
    assert scores.macro["roc_auc"] == pytest.approx(theirs.roc_auc_score(LABELS, PROBABILITIES, multi_class="ovr"))
    assert scores.log_loss == pytest.approx(theirs.log_loss(LABELS, PROBABILITIES), rel=1e-5)
    assert scores.brier == pytest.approx(theirs.brier_score_loss(np.eye(3)[LABELS].argmax(1), PROBABILITIES, scale_by_half=False))
    for code, name in enumerate("abc"):
        truth = code == LABELS
        assert scores.per_class[name].average_precision == pytest.approx(
            theirs.average_precision_score(truth, PROBABILITIES[:, code])
        )
        assert scores.per_class[name].specificity == pytest.approx(theirs.recall_score(~truth, predicted != code))


def test_a_certainty_that_is_wrong_costs_much_and_not_everything():
    """Its probability is taken as the smallest step of a float32, as scikit-learn does for float32."""
    scores = classification_metrics(np.array([0, 1]), np.array([[1.0, 0.0], [1.0, 0.0]]), ("a", "b"))
    assert scores.log_loss == pytest.approx(-np.log(np.finfo(np.float32).eps) / 2)
    assert scores.ece == expected_calibration_error(np.array([0, 1]), np.array([[1.0, 0.0], [1.0, 0.0]])) == pytest.approx(0.5)


def test_a_class_alone_has_no_area_and_nothing_to_be_specific_about():
    scores = classification_metrics(np.array([0, 0, 0]), np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]]), ("a", "b"))
    alone, absent = scores.per_class["a"], scores.per_class["b"]
    assert (alone.roc_auc, alone.average_precision, alone.specificity) == (None, None, 0.0)
    assert (absent.roc_auc, absent.average_precision, absent.specificity) == (None, None, pytest.approx(2 / 3))
    assert scores.macro["roc_auc"] is None and scores.macro["recall"] == pytest.approx(2 / 3)
    assert scores.kappa == 0.0


def test_one_image_of_a_class_is_enough_for_its_area():
    scores = classification_metrics(np.array([0, 1, 1]), np.array([[0.6, 0.4], [0.7, 0.3], [0.1, 0.9]]), ("a", "b"))
    assert scores.per_class["a"].roc_auc == 0.5
    assert scores.per_class["a"].average_precision == 0.5


def test_the_calibration_error_by_hand():
    """Four images at 0.95, of which three right; two at 0.55, of which both right."""
    sure, unsure = [0.95, 0.05], [0.55, 0.45]
    labels = np.array([0, 0, 0, 1, 0, 0])
    probabilities = np.array([sure] * 4 + [unsure] * 2)
    assert [part.images for part in reliability(labels, probabilities)] == [2, 4]
    assert expected_calibration_error(labels, probabilities) == pytest.approx((4 * 0.20 + 2 * 0.45) / 6)


def test_areas_of_several_fits_are_the_mean_of_their_own():
    """Each fit ranks well on a scale of its own: pooled, the scales are what is ranked."""
    fits, scale = np.arange(200) % 4, (1 + np.arange(200) % 4)[:, None]
    shifted = PROBABILITIES ** (1 / scale)
    pooled, each = (
        classification_metrics(LABELS, shifted, ("a", "b", "c")),
        classification_metrics(LABELS, shifted, ("a", "b", "c"), fits),
    )
    for code, name in enumerate("abc"):
        areas = [theirs.roc_auc_score(LABELS[fits == fit] == code, shifted[fits == fit, code]) for fit in range(4)]
        assert each.per_class[name].roc_auc == pytest.approx(np.mean(areas))
        assert each.per_class[name].recall == pooled.per_class[name].recall
    assert each.macro["roc_auc"] > pooled.macro["roc_auc"]

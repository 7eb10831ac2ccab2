import numpy as np
import pytest
from sklearn import metrics as theirs

from darkcovid.evaluation.intervals import figures, interval, intervals, patient_weights, weighted_roc_auc
from darkcovid.evaluation.metrics import score

from .test_metrics import LABELS, PROBABILITIES

CLASSES = ("a", "b", "c")


def test_patients_are_drawn_with_all_their_images():
    patients = ["p", "q", "q", "r", "r", "r"]
    weights = patient_weights(patients, draws=500)
    assert weights.shape == (500, 6)
    assert (weights[:, 1] == weights[:, 2]).all()
    assert (weights[:, [0, 1, 3]].sum(1) == 3).all()
    np.testing.assert_array_equal(weights, patient_weights(patients, draws=500))


def test_figures_of_draws_are_those_of_images_repeated():
    weights = patient_weights([str(i // 2) for i in range(200)], draws=5)
    drawn = figures(LABELS, PROBABILITIES, CLASSES, weights)
    for draw, weight in enumerate(weights):
        rows = np.repeat(np.arange(200), weight)
        plain = score(LABELS[rows], PROBABILITIES[rows], CLASSES)
        assert drawn["accuracy"][draw] == pytest.approx(plain.accuracy, abs=1e-5)
        assert drawn["balanced_accuracy"][draw] == pytest.approx(plain.balanced_accuracy, abs=1e-5)
        assert drawn["macro.f1"][draw] == pytest.approx(plain.macro["f1"], abs=1e-5)
        for name in CLASSES:
            for figure in ("precision", "recall", "specificity", "f1", "roc_auc"):
                assert drawn[f"{name}.{figure}"][draw] == pytest.approx(getattr(plain.per_class[name], figure), abs=1e-5)


def test_the_weighted_roc_auc_is_scikit_learns_ties_included():
    random = np.random.default_rng(1)
    truth, scores = random.random(80) < 0.4, random.integers(0, 6, 80) / 6
    weights = random.integers(0, 4, (10, 80))
    expected = [theirs.roc_auc_score(truth, scores, sample_weight=weight) for weight in weights]
    np.testing.assert_allclose(weighted_roc_auc(truth, scores, weights), expected, atol=1e-9)
    assert np.isnan(weighted_roc_auc(np.ones(3, bool), np.arange(3.0), np.ones((1, 3), int))).all()


def test_a_figure_that_no_draw_has_has_no_interval():
    assert interval(np.array([np.nan, np.nan])) is None
    found = intervals(np.zeros(4, int), np.eye(2)[[0, 0, 1, 0]], ("a", "b"), ["1", "2", "3", "4"])
    assert found["b.recall"] is None
    assert found["accuracy"][0] < 0.75 < found["accuracy"][1] <= 1


@pytest.mark.slow
def test_intervals_cover_the_truth_as_often_as_they_say():
    """Simulated cohorts of 120 patients with one to four images, whose patients differ in how hard they are: the mean
    accuracy is known, and 95 % intervals over patients hold it in 93 to 97 % of 1,000 cohorts. Over images they do not."""
    random = np.random.default_rng(0)
    easy, hard, share = 0.95, 0.45, 0.7
    truth = share * easy + (1 - share) * hard
    held = {"patients": 0, "images": 0}
    for trial in range(1000):
        chance = np.where(random.random(120) < share, easy, hard)
        patients = np.repeat(np.arange(120), random.integers(1, 5, 120))
        right = random.random(len(patients)) < chance[patients]
        for unit, names in (("patients", patients), ("images", np.arange(len(patients)))):
            weights = patient_weights(names, draws=400, seed=trial)
            low, high = interval((weights * right).sum(1) / weights.sum(1))
            held[unit] += low <= truth <= high
    assert 930 <= held["patients"] <= 970
    assert held["images"] < held["patients"] - 10

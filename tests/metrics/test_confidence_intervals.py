"""Intervals against exact ones, against a bootstrap over patients where that is right, and against known truths."""

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn import metrics as theirs

from darkcovid.metrics.confidence_intervals import Estimate, difference, f1, mean, placements, proportion, roc_auc
from darkcovid.metrics.metrics_with_intervals import estimates


def shares(good, images):
    """Patients of so many images each, of which so many are hits."""
    hits = np.concatenate([np.arange(count) < right for right, count in zip(good, images, strict=True)])
    return proportion(hits, np.ones(len(hits), bool), np.repeat(np.arange(len(images)), images))


@pytest.mark.parametrize("images", [1, 2, 4])
def test_all_right_is_clopper_and_pearsons_interval_of_the_patients(images):
    """20 of 20 patients: [.832, 1], however many images each of them has."""
    low, high = binomtest(20, 20).proportion_ci(method="exact")
    assert shares([images] * 20, [images] * 20).interval == pytest.approx((low, high))
    assert low == pytest.approx(0.832, abs=5e-4)
    assert shares([0] * 20, [images] * 20).interval == pytest.approx((1 - high, 1 - low))


def test_one_image_per_patient_lies_between_jeffreys_and_the_exact_interval():
    for right in range(1, 40):
        exact = binomtest(right, 40).proportion_ci(method="exact")
        low, high = shares([1] * right + [0] * (40 - right), [1] * 40).interval
        assert exact.low < low < right / 40 < high < exact.high


def test_images_of_one_patient_are_no_independent_witnesses():
    alike = shares([3] * 20 + [0] * 20, [3] * 40).interval
    single = shares([1] * 20 + [0] * 20, [1] * 40).interval
    apart = shares([1, 2] * 20, [3] * 40).interval
    assert np.diff(alike)[0] == pytest.approx(np.diff(single)[0], rel=0.06)
    assert np.diff(apart)[0] < 0.6 * np.diff(alike)[0]


def test_nothing_counted_is_no_metric_and_one_patient_says_nothing():
    assert proportion(np.ones(3, bool), np.zeros(3, bool), np.arange(3)) is None
    assert shares([3], [3]).interval == (0.0, 1.0)
    assert roc_auc(np.ones(3, bool), np.arange(3.0), np.arange(3), np.zeros(3, int)) is None


def cohort(random, patients=80, strength=1.5, spread=1.0):
    """Three classes by patient, one to four images each that share some of their difficulty."""
    classes, images = random.integers(0, 3, patients), random.integers(1, 5, patients)
    who = np.repeat(np.arange(patients), images)
    noise = random.normal(0, spread, (patients, 3))[who] + random.normal(0, 1, (len(who), 3))
    logits = strength * np.eye(3)[classes[who]] + noise
    powers = np.exp(logits)
    return classes[who], powers / powers.sum(1, keepdims=True), who


def test_influences_give_the_standard_errors_of_a_bootstrap_over_patients():
    """Where nothing is near 0 or 1, 600 draws of patients spread as the linearized variance says, for every metric, and for the
    difference of two arms."""
    random = np.random.default_rng(0)
    labels, probabilities, who = cohort(random)
    other = probabilities ** random.uniform(0.5, 2, (len(who), 1)) * random.uniform(0.5, 1.5, probabilities.shape)
    other /= other.sum(1, keepdims=True)
    whole = [estimates(labels, each, "abc", who) for each in (probabilities, other)]
    rows = [np.flatnonzero(who == patient) for patient in range(80)]
    drawn = {name: [] for name in whole[0]}
    for _ in range(600):
        chosen = [rows[patient] for patient in random.integers(0, 80, 80)]
        names, taken = np.repeat(np.arange(80), [len(part) for part in chosen]), np.concatenate(chosen)
        pair = [estimates(labels[taken], each[taken], "abc", names) for each in (probabilities, other)]
        for name in drawn:
            drawn[name].append([one[name].value for one in pair])
    for name, values in drawn.items():
        first, second = np.array(values).T
        errors = [np.sqrt((one[name].influence ** 2).sum()) for one in whole]
        assert errors == pytest.approx([first.std(), second.std()], rel=0.15), name
        apart = np.sqrt(((whole[0][name].influence - whole[1][name].influence) ** 2).sum())
        assert apart == pytest.approx((first - second).std(), rel=0.15), name


def test_values_are_scikit_learns_ties_included():
    random = np.random.default_rng(1)
    truth, called, scores = random.random(80) < 0.4, random.random(80) < 0.5, random.integers(0, 6, 80) / 6
    who = np.arange(80) // 2
    assert roc_auc(truth, scores, who, np.zeros(80, int)).value == pytest.approx(theirs.roc_auc_score(truth, scores))
    assert f1(truth, called, who).value == pytest.approx(theirs.f1_score(truth, called))
    assert placements(truth, scores)[truth].mean() == pytest.approx(placements(truth, scores)[~truth].mean())


def test_a_roc_curve_of_several_fits_is_the_mean_of_their_own():
    """Fits whose scores are shifted against one another rank alike, each by itself."""
    random = np.random.default_rng(2)
    truth, fits, who = random.random(200) < 0.5, np.arange(200) // 40, np.arange(200) // 2
    scores = random.normal(size=200) + 1.5 * truth
    plain = roc_auc(truth, scores, who, fits)
    shifted = roc_auc(truth, scores + 3 * fits, who, fits)
    assert (shifted.value, shifted.interval) == (plain.value, plain.interval)
    assert roc_auc(truth, scores + 3 * fits, who, np.zeros(200, int)).value < plain.value - 0.1
    apart = [theirs.roc_auc_score(truth[fits == fit], scores[fits == fit]) for fit in range(5)]
    assert plain.value == pytest.approx(np.mean(apart))


def test_the_same_images_by_five_fits_are_no_more_patients():
    random = np.random.default_rng(3)
    labels, probabilities, who = cohort(random, 40)
    once = estimates(labels, probabilities, "abc", who)
    five = estimates(
        np.tile(labels, 5), np.tile(probabilities, (5, 1)), "abc", np.tile(who, 5), np.repeat(np.arange(5), len(who))
    )
    for name, one in once.items():
        assert five[name].value == pytest.approx(one.value)
        assert np.diff(five[name].interval)[0] > 0.93 * np.diff(one.interval)[0], name


def test_a_class_without_images_has_no_part_in_the_means():
    labels, probabilities = np.array([0, 0, 1, 1, 1]), np.eye(3)[[0, 2, 1, 1, 0]]
    found = estimates(labels, probabilities, "abc", list("pqrst"))
    assert found["macro.f1"].value == pytest.approx((2 / 4 + 4 / 5) / 2)
    assert found["macro.f1"].interval[0] < found["macro.f1"].value < found["macro.f1"].interval[1]
    assert found["balanced_accuracy"].value == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert (found["c.recall"], found["c.roc_auc"], found["c.f1"].value) == (None, None, 0.0)


def perfect(patients):
    return Estimate(1.0, np.zeros(patients), float(patients), shares([1] * patients, [1] * patients).interval)


def test_a_mean_of_perfect_classes_is_no_surer_than_its_images():
    """Recalls of other patients: their mistakes add up as independent ones do. F1 of classes: one mistake is one in both."""
    low = perfect(20).interval[0]
    assert 1 - mean([perfect(20), perfect(20)]).interval[0] == pytest.approx((1 - low) / np.sqrt(2))
    assert 1 - mean([perfect(20), perfect(20)], together=True).interval[0] == pytest.approx(1 - low)


def test_two_perfect_arms_may_still_differ():
    down, up = difference(perfect(20), perfect(20), paired=True)
    assert (down, up) == pytest.approx((-0.168, 0.168), abs=1e-3)


COVERAGE = [("near", 5.0, 1.2), ("good", 3.4, 1.2), ("fair", 1.5, 0.5)]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "strength", "spread"), COVERAGE)
def test_intervals_cover_the_truth(name, strength, spread):
    """300 cohorts of 15, 30 and 60 patients: at least 93 % of the intervals hold the truth, of every metric, however near to 1;
    more than 97 % near to 1, where there are few mistakes to go by, and for ROC curves."""
    truth = {
        metric: one.value
        for metric, one in estimates(*with_names(cohort(np.random.default_rng(9), 60_000, strength, spread))).items()
    }
    for patients in (15, 30, 60):
        held, seen = dict.fromkeys(truth, 0), dict.fromkeys(truth, 0)
        random = np.random.default_rng(patients)
        for _ in range(300):
            for metric, one in estimates(*with_names(cohort(random, patients, strength, spread))).items():
                if one is not None:
                    seen[metric] += 1
                    held[metric] += one.interval[0] <= truth[metric] <= one.interval[1]
        covered = {metric: held[metric] / seen[metric] for metric in truth}
        assert min(covered.values()) >= 0.925, (patients, covered)
        if name == "fair" and patients == 60:
            assert covered["accuracy"] <= 0.985


def with_names(drawn):
    labels, probabilities, who = drawn
    return labels, probabilities, "abc", who


@pytest.mark.slow
@pytest.mark.parametrize("strength", [1.5, 3.4, 5.0])
def test_differences_of_equally_good_arms_cover_none(strength):
    """Two arms that share part of their noise: the interval of each difference holds 0 in at least 93 % of 300 pairs."""
    random, held, seen = np.random.default_rng(4), {}, {}
    for _ in range(300):
        labels, _, who = cohort(random, 40)
        shared = random.normal(0, 1, (40, 3))[who]
        arms = []
        for _ in range(2):
            powers = np.exp(strength * np.eye(3)[labels] + shared + random.normal(0, 1, (len(who), 3)))
            arms.append(estimates(labels, powers / powers.sum(1, keepdims=True), "abc", who))
        for metric in ("accuracy", "balanced_accuracy", "macro.f1", "a.recall", "a.f1", "a.roc_auc"):
            first, second = (arm[metric] for arm in arms)
            if first is not None and second is not None:
                low, high = difference(first, second, paired=True)
                seen[metric] = seen.get(metric, 0) + 1
                held[metric] = held.get(metric, 0) + (low <= 0 <= high)
                assert low < high
    assert all(held[metric] / seen[metric] >= 0.93 for metric in held), {metric: held[metric] / seen[metric] for metric in held}

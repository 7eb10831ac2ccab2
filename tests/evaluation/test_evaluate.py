import json

import numpy as np
import pandas as pd
import pytest

from darkcovid.evaluation.evaluate import evaluate
from darkcovid.evaluation.results import parse_metrics
from darkcovid.evaluation.subgroups import age_bands, subgroup_metrics
from darkcovid.metrics.calibration import fit_temperature
from darkcovid.metrics.thresholds import cross_fitted_points, operating_point, operating_points, predictive_values

from ..metrics.test_classification import LABELS, PROBABILITIES

NAMES = ["a", "b", "c"]


def table():
    frame = pd.DataFrame(PROBABILITIES, columns=[f"probability_{name}" for name in NAMES])
    return frame.assign(
        image=[f"{i}.png" for i in range(200)],
        patient=[f"p{i // 2}" for i in range(200)],
        side=["train"] * 40 + ["valid"] * 100 + ["test"] * 60,
        label=[NAMES[label] for label in LABELS],
        sex=["F", "M"] * 100,
        view="PA",
        age=[str(10 + i % 60) if i < 150 else "" for i in range(200)],
    )


def test_predictive_values_by_bayes():
    """Of 1,000 people at 5 %: 45 of 50 sick found, 95 of 950 healthy called sick."""
    positive, negative = predictive_values(0.9, 0.9, 0.05)
    assert positive == pytest.approx(45 / (45 + 95))
    assert negative == pytest.approx(855 / (855 + 5))
    assert predictive_values(0.0, 1.0, 0.1)[0] is None


def test_the_operating_point_is_the_highest_threshold_that_is_sensitive_enough():
    truth = np.array([True] * 10 + [False] * 10)
    scores = np.r_[np.arange(10) / 10 + 0.05, np.arange(10) / 20]
    nine, all_but_none = operating_points(truth, scores)
    assert (nine.threshold, nine.sensitivity) == (pytest.approx(0.15), 0.9)
    assert nine.specificity == pytest.approx((scores[10:] < nine.threshold).mean())
    assert all_but_none.sensitivity == 1.0
    assert operating_points(np.ones(3, bool), np.arange(3.0)) == []


def test_subgroups_are_counted_and_small_ones_refused():
    groups = {(group.variable, group.value): group for group in subgroup_metrics(table(), PROBABILITIES.argmax(1) == LABELS)}
    women = groups["sex", "F"]
    assert (women.images, women.patients) == (100, 100)
    assert women.interval[0] < women.accuracy < women.interval[1]
    assert groups["age", "unknown"].images == 50
    few = subgroup_metrics(table()[:12], np.ones(12, bool))
    assert all(group.accuracy is None for group in few)


def test_age_bands():
    assert age_bands(pd.Series(["17", "18", "59", "75", "", "x"])).tolist() == ["0-17", "18-39", "40-59", "75 and over", "", ""]


def test_each_side_has_its_own_figures_and_the_validation_sides_thresholds():
    found = evaluate(table(), NAMES)
    valid, test = slice(40, 140), slice(140, 200)
    right = PROBABILITIES.argmax(1) == LABELS
    assert found.valid.accuracy == pytest.approx(right[valid].mean())
    assert found.test.accuracy == pytest.approx(right[test].mean())
    assert found.test.calibration.temperature == found.valid.calibration.temperature
    for mine, theirs in zip(found.valid.operating_points["a"], found.test.operating_points["a"], strict=True):
        assert mine.threshold == theirs.threshold
    low, high = found.valid.interval("accuracy")
    assert low < found.valid.accuracy < high
    assert found.valid.calibration.judged_by == "cross-fitting over patients"
    assert found.test.calibration.judged_by == "images that it was not fitted to"
    assert found.valid.calibration.temperature == fit_temperature(LABELS[valid], PROBABILITIES[valid])


def test_the_headline_is_the_test_sets():
    found = evaluate(table(), NAMES)
    assert found.scored_on == "test"
    assert {n for n, span in found.test.intervals.items() if span} == {n for n, span in found.valid.intervals.items() if span}
    assert found.headline is found.test
    alone = evaluate(table()[table().side != "test"], NAMES)
    assert (alone.scored_on, alone.test) == ("validation", None)
    assert alone.headline.accuracy == found.valid.accuracy


def test_images_count_once_however_many_seeds_said_something_of_them():
    once = table()
    five = pd.concat([once.assign(fit=f"seed{seed}") for seed in range(5)], ignore_index=True)
    found, single = evaluate(five, NAMES).valid, evaluate(once, NAMES).valid
    for name in NAMES:
        assert found.per_class[name].support == single.per_class[name].support
    assert found.images_per_class == single.images_per_class
    assert [group.images for group in found.subgroups] == [group.images for group in single.subgroups]
    assert (found.predictions_per_image, single.predictions_per_image) == (5.0, 1.0)
    assert np.sum(found.confusion_matrix) == 5 * np.sum(single.confusion_matrix)


def test_thresholds_are_judged_on_other_patients():
    """Ten positives: the lowest of them sets the threshold for .95, so in the sample all are found, on fresh images .91."""
    random, inside, across, fresh = np.random.default_rng(0), [], [], []
    new = random.normal(1.5, 1, 4000)
    for _ in range(150):
        truth = np.arange(110) < 10
        scores = random.normal(0, 1, 110) + 1.5 * truth
        inside.append(operating_points(truth, scores)[1].sensitivity)
        (_, point) = cross_fitted_points(truth, scores, np.arange(110) % 5)
        across.append(point.sensitivity)
        fresh.append((new >= point.threshold).mean())
        assert point.threshold == operating_points(truth, scores)[1].threshold
    assert np.mean(inside) == 1.0
    assert np.mean(across) == pytest.approx(np.mean(fresh), abs=0.03)
    assert np.mean(across) < 0.94
    assert cross_fitted_points(truth, scores, np.zeros(110, int)) == []
    assert operating_point(truth, scores, -9.0, 0.9).specificity == 0.0


def test_an_external_set_stands_beside_the_test_set():
    frame = table()
    frame.loc[frame.index < 40, "side"] = "external:ward"
    found = evaluate(frame, NAMES)
    ward = found.external["ward"]
    assert (ward.images, ward.patients) == (40, 20)
    assert ward.fall.metrics["accuracy"].inside == pytest.approx(found.test.accuracy)
    assert ward.fall.metrics["accuracy"].outside == pytest.approx(ward.accuracy)
    assert ward.calibration.temperature == found.valid.calibration.temperature
    internal = evaluate(frame[frame.side != "test"], NAMES)
    assert internal.external["ward"].fall.metrics["accuracy"].inside == pytest.approx(internal.valid.accuracy)


def test_what_was_evaluated_is_read_back_from_its_json():
    frame = table()
    frame.loc[frame.index < 40, "side"] = "external:ward"
    metrics = evaluate(frame, NAMES)
    written = json.loads(json.dumps(metrics.as_dict()))
    assert list(written)[:2] == ["accuracy", "balanced_accuracy"]
    assert set(written) - {"test", "scored_on", "external", "untrusted_lungs"} == set(written["test"])
    assert parse_metrics(written) == metrics


def test_a_file_without_a_key_that_was_always_written_is_refused():
    written = evaluate(table(), NAMES).as_dict()
    with pytest.raises(ValueError, match="kappa"):
        parse_metrics({key: value for key, value in written.items() if key != "kappa"})

"""Sets hold the true class as often as they promise, class by class and patient by patient; elsewhere that is measured."""

import crepes
import numpy as np
import pandas as pd
import pytest

from darkcovid.evaluation.evaluate import evaluate
from darkcovid.inference.load import class_thresholds
from darkcovid.metrics.conformal import conformal_sets, conformal_thresholds, cross_fitted_sets
from darkcovid.metrics.cross_fitting import patient_parts

CLASSES = ["a", "b", "c"]


def drawn(random, counts, sharpness=1.5, images_each=1, shift=0.0):
    """Labels, probabilities and patients; all images of a patient are much alike."""
    labels = np.repeat(np.arange(len(counts)), counts)
    logits = random.normal(size=(len(labels), len(counts))) + sharpness * np.eye(len(counts))[labels] + shift
    labels, logits = np.repeat(labels, images_each), np.repeat(logits, images_each, axis=0)
    logits += 0.1 * random.normal(size=logits.shape)
    powers = np.exp(logits)
    return labels, powers / powers.sum(1, keepdims=True), np.repeat([f"p{i}" for i in range(sum(counts))], images_each)


def test_by_hand():
    """Nineteen patients: the threshold of 90 % is the 18th largest probability; nine can promise 90 %, eight cannot."""
    own = np.linspace(0.05, 0.95, 19)
    table = np.column_stack([own, 1 - own])
    names = [f"p{i}" for i in range(19)]
    assert conformal_thresholds(np.zeros(19, int), table, names)[0] == pytest.approx(np.sort(own)[::-1][17])
    assert conformal_thresholds(np.zeros(9, int), table[:9], names[:9])[0] == pytest.approx(own[0])
    assert conformal_thresholds(np.zeros(8, int), table[:8], names[:8])[0] == 0
    assert conformal_thresholds(np.zeros(9, int), table[:9], names[:9])[1] == 0  # a class without images is in every set
    once = conformal_thresholds(np.zeros(19, int), table, names)[0]
    again = np.concatenate([table, np.repeat(table[:1], 50, axis=0)])  # fifty more images of the hardest patient change nothing
    assert conformal_thresholds(np.zeros(69, int), again, names + ["p0"] * 50)[0] == pytest.approx(once)
    sets = conformal_sets(np.array([[0.7, 0.3], [0.5, 0.5], [0.2, 0.8]]), [0.4, 0.5])
    assert sets.tolist() == [[True, False], [True, True], [False, True]]


def test_the_thresholds_are_those_of_crepes():
    labels, probabilities, patients = drawn(np.random.default_rng(0), [40, 80, 25])
    thresholds = conformal_thresholds(labels, probabilities, patients)
    _, new, _ = drawn(np.random.default_rng(1), [30, 30, 30])
    other = crepes.ConformalClassifier()
    other.fit(1 - probabilities[np.arange(len(labels)), labels], bins=labels)
    theirs = [
        other.predict_set(1 - new, bins=np.full(len(new), code), confidence=0.9, smoothing=False)[:, code] for code in range(3)
    ]
    assert (conformal_sets(new, thresholds) == np.column_stack(theirs)).all()


@pytest.mark.parametrize("images_each", [1, 4])
def test_each_class_is_held_as_often_as_promised(images_each):
    covered = []
    for seed in range(200):
        random = np.random.default_rng(seed)
        thresholds = conformal_thresholds(*drawn(random, [30, 60, 120], images_each=images_each))
        labels, probabilities, _ = drawn(random, [100, 100, 100])
        sets = conformal_sets(probabilities, thresholds)
        covered.append([sets[labels == code, code].mean() for code in range(3)])
    assert ((np.mean(covered, axis=0) > 0.89) & (np.mean(covered, axis=0) < 0.94)).all()


def test_cross_fitted_coverage_is_that_of_new_patients():
    found = []
    for seed in range(60):
        labels, probabilities, patients = drawn(np.random.default_rng(seed), [60, 60, 60], images_each=2)
        sets = cross_fitted_sets(labels, probabilities, patients, patient_parts(labels, patients))
        found.append(sets[np.arange(len(labels)), labels].mean())
    assert 0.88 < np.mean(found) < 0.94


def table_of(labels, probabilities, patients, side, ood=None):
    table = pd.DataFrame(probabilities, columns=[f"probability_{name}" for name in CLASSES])
    names = np.array(CLASSES)[labels]
    about = {"image": [f"{side}{i}.png" for i in range(len(labels))], "patient": [f"{side}{name}" for name in patients]}
    table = table.assign(**about, side=side, label=names, sex="", view="", age="")
    return table if ood is None else table.assign(ood_score=ood)


def test_sets_for_new_sources_go_by_the_other_sources_held_out():
    """Sources in which the network is ever less sure: sets made inside break there, those of other sources hold more often."""
    random = np.random.default_rng(0)
    tables = [table_of(*drawn(random, [60, 60, 60], sharpness=2.5), "valid").assign(fit="fold1", source="s1")]
    for number, sharpness in enumerate((1.5, 0.8, 0.4), 1):
        table = table_of(*drawn(random, [60, 60, 60], sharpness=sharpness), "test")
        tables.append(table.assign(fit=f"fold{number}", source=f"s{number}", image=[f"s{number}-{i}" for i in range(180)]))
        tables[-1]["patient"] = f"s{number}" + tables[-1].patient
    metrics = evaluate(pd.concat(tables, ignore_index=True), CLASSES)
    assert metrics.valid.conformal.judged_by == "cross-fitting over patients"
    test = metrics.test.conformal
    assert test.judged_by == "that source"
    rows = pd.concat(tables[1:], ignore_index=True)
    labels = rows.label.map({name: code for code, name in enumerate(CLASSES)}).to_numpy()
    probabilities = rows[[f"probability_{name}" for name in CLASSES]].to_numpy()
    held = np.zeros(len(rows), bool)
    for source, of in metrics.sources.items():
        here = (rows.source == source).to_numpy()
        thresholds = conformal_thresholds(labels[~here], probabilities[~here], rows.patient[~here])
        assert list(of.conformal.thresholds.values()) == thresholds
        held[here] = conformal_sets(probabilities[here], thresholds)[np.arange(here.sum()), labels[here]]
        assert of.conformal.coverage == pytest.approx(held[here].mean())
    assert test.coverage == pytest.approx(held.mean())
    inside = conformal_sets(probabilities, list(metrics.valid.conformal.thresholds.values()))
    assert test.coverage > inside[np.arange(len(rows)), labels].mean() + 0.1
    assert list(test.thresholds.values()) == conformal_thresholds(labels, probabilities, rows.patient)
    assert class_thresholds(metrics) == test.thresholds
    one = evaluate(pd.concat(tables[:2], ignore_index=True), CLASSES)  # one source says nothing of others
    assert one.test.conformal.thresholds == one.valid.conformal.thresholds == class_thresholds(one)


def test_metrics_say_what_is_refused_and_what_is_still_wrong():
    random = np.random.default_rng(0)
    inside = table_of(*drawn(random, [80, 80, 80]), "valid", ood=0.5)
    labels, probabilities, patients = drawn(random, [90, 90, 90])
    turned = np.roll(probabilities, 1, axis=1)  # elsewhere the network is mostly wrong
    ood = np.where(np.arange(270) % 3 == 0, 1.5, 0.9)
    metrics = evaluate(pd.concat([inside, table_of(labels, turned, patients, "external:x", ood)]), CLASSES)
    here, there = metrics.valid.conformal, metrics.external["x"].conformal
    assert here.thresholds == there.thresholds and here.level == 0.9
    assert 0.85 < here.coverage < 0.96 and here.interval[0] < here.coverage < here.interval[1]
    sets = conformal_sets(turned, list(here.thresholds.values()))
    held = sets[np.arange(270), labels]
    answered = (sets.sum(1) == 1) & (ood <= 1)
    assert there.coverage == pytest.approx(held.mean()) and there.coverage < 0.7
    assert there.unlike == pytest.approx(1 / 3) and here.unlike == 0
    assert there.answered == pytest.approx(answered.mean())
    assert there.wrong_answers == pytest.approx((answered & ~held).mean())
    assert there.wrong_above_half == pytest.approx(((turned.argmax(1) != labels) & (turned.max(1) >= 0.5)).mean())
    assert there.wrong_answers < there.wrong_above_half
    assert sum(there.set_sizes) == pytest.approx(1) and len(there.set_sizes) == 4
    assert {name: round(value, 6) for name, value in there.per_class.items()} == {
        name: round(held[labels == code].mean(), 6) for code, name in enumerate(CLASSES)
    }
    unknown = evaluate(inside.drop(columns="ood_score"), CLASSES).valid.conformal
    assert unknown.unlike is None

"""Planted giveaways are caught from counts alone, and clean ones are not accused."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import mutual_info_score
from sklearn.tree import DecisionTreeClassifier

from darkcovid.audits import confounders as giveaways
from darkcovid.audits.confounders import confounders, missing_rate
from darkcovid.audits.data_audit import audit_rows
from darkcovid.audits.metadata import PandasMetadata, metadata_table
from darkcovid.data.manifest import OPTIONAL, read_manifest

from ..conftest import RECIPES
from .test_baselines import LABELS, rows


def counts_of(**columns):
    return PandasMetadata(metadata_table(rows(**columns), LABELS, "all")).counts()


def found_in(**columns):
    return {(one.variable, one.classes): one for one in confounders(counts_of(**columns))}


def test_a_planted_file_format_is_caught_and_a_random_one_is_not():
    jpg = [f"{i}.jpg" if i < 50 else f"{i}.png" for i in range(120)]
    one = found_in(path=jpg)[("extension", ("covid", "none"))]
    assert (one.accuracy, one.chance) == (pytest.approx(110 / 120), 0.5)
    assert (one.p, one.cramers_v > 0.8) == (pytest.approx(1 / 5000), True)
    assert one.p <= one.p_holm < 0.001
    mixed = [f"{i}.jpg" if i % 3 else f"{i}.png" for i in range(120)]
    clean = found_in(path=mixed)[("extension", ("covid", "none"))]
    assert clean.accuracy < 0.65
    assert clean.p > 0.05


def shuffled_p(values, labels, times=2000):
    random, seen = np.random.default_rng(1), mutual_info_score(values, labels)
    return np.mean([mutual_info_score(values, random.permutation(labels)) >= seen - 1e-12 for _ in range(times)])


def test_the_permutation_p_is_that_of_mutual_information_of_patients():
    """Two images per patient that share everything: the classes of 60 patients are dealt, not those of 120 images."""
    classes = np.array(LABELS[::2])
    strong = np.array(["F" if i % 9 else "M" for i in range(35)] + ["M" if i % 8 else "F" for i in range(25)])
    assert shuffled_p(strong, classes) < 0.001
    assert found_in(sex=np.repeat(strong, 2))[("sex", ("covid", "none"))].p < 0.001
    weak = np.array(["F" if i % 3 else "M" for i in range(30)] + ["F" if i % 2 else "M" for i in range(30)])
    assert 0.2 < shuffled_p(weak, classes) < 0.6
    assert found_in(sex=np.repeat(weak, 2))[("sex", ("covid", "none"))].p == pytest.approx(shuffled_p(weak, classes), abs=0.05)


def drawn_cohort(random, patients, most, relabeled=0.0):
    """Sex, source and age by patient, all independent of the class, which some images have another of."""
    names = ["covid", "none", "pneumonia"]
    who = np.repeat(np.arange(patients), random.integers(1, most + 1, patients))
    labels = random.choice(names, patients, p=[0.2, 0.4, 0.4])[who]
    changed = random.random(len(who)) < relabeled
    labels[changed] = random.choice(names, changed.sum())
    table = {"path": [f"{random.integers(2**40)}.png" for _ in who], "patient_id": who.astype(str)} | dict.fromkeys(OPTIONAL, "")
    table |= {"source": random.choice(list("wxyz"), patients)[who], "sex": random.choice(["M", "F"], patients)[who]}
    return pd.DataFrame(table | {"age": random.integers(20, 80, patients).astype(str)[who]}), labels.tolist()


@pytest.mark.slow
@pytest.mark.parametrize(("most", "relabeled"), [(1, 0.0), (4, 0.1)])
def test_clean_cohorts_are_accused_as_seldom_as_it_says(most, relabeled, monkeypatch):
    """120 patients of one, or of up to four images: p < .05 in 5 % of 60 cohorts, and after the correction for the four class
    sets and three variables together in at most that, so check 6 fails one in twenty. With images dealt, source was at 66 %."""
    monkeypatch.setattr(giveaways, "_cross_validated", lambda codes, counts: (0.5, 0.5))  # slow, and not what is asked
    random, low, any_low = np.random.default_rng(0), dict.fromkeys(("sex", "source", "age"), 0), 0
    for _ in range(60):
        rows, labels = drawn_cohort(random, 120, most, relabeled)
        found = confounders(PandasMetadata(metadata_table(rows, labels, "all")).counts())
        for one in found:
            low[one.variable] += len(one.classes) == 3 and one.p < 0.05
        any_low += any(one.p_holm < 0.05 for one in found)
    assert max(low.values()) <= 8  # 3 expected, more than 8 in one of 300
    assert any_low <= 8


def test_the_accuracy_is_that_of_a_tree_on_the_images_themselves():
    """Counts and weights instead of images, in the same folds of patients."""
    random = np.random.default_rng(3)
    ages = np.concatenate([random.integers(30, 90, 60), random.integers(20, 70, 60)])
    facts, right = metadata_table(rows(age=ages.astype(str)), LABELS, "all"), 0
    for fold in facts.fold.unique():
        held = facts.fold == fold
        tree = DecisionTreeClassifier(max_depth=4, min_samples_leaf=3, random_state=0)
        tree.fit(facts.loc[~held, ["age"]].to_numpy(), facts.label[~held])
        right += (tree.predict(facts.loc[held, ["age"]].to_numpy()) == facts.label[held]).sum()
    assert found_in(age=ages.astype(str))[("age", ("covid", "none"))].accuracy == pytest.approx(right / 120)


def test_a_number_and_what_is_missing_tell_too():
    ages = [str(20 + i % 30) for i in range(60)] + [""] * 60
    one = found_in(age=ages)[("age", ("covid", "none"))]
    assert one.accuracy == 1.0
    assert one.missing == 0.5


def test_a_number_that_is_mostly_one_value_is_that_value_against_the_others():
    heights = ["512"] * 100 + ["300"] * 20
    one = found_in(height=heights)[("height", ("covid", "none"))]
    assert one.cramers_v == pytest.approx((20 / 100) ** 0.5)
    assert one.p < 0.01


def test_a_clean_cohort_is_not_accused():
    random = np.random.default_rng(0)
    sexes, ages = random.choice(["M", "F"], 120), random.integers(20, 80, 120).astype(str)
    assert all(one.p > 0.01 for one in found_in(sex=sexes, age=ages, width="512", height="512").values())


def test_what_each_class_lacks():
    assert missing_rate(counts_of(sex=["M"] * 30 + [""] * 90), "sex") == {"covid": 0.5, "none": 1.0}
    assert missing_rate(counts_of(age=[""] * 30 + ["50"] * 90), "age") == {"covid": 0.5, "none": 0.0}


@pytest.mark.slow
def test_the_file_extension_of_the_published_images_gives_covid_away():
    """103 of 125 covid files are JPEG and none of the others: 603 of 625 right, without any image on disk."""
    found = audit_rows(read_manifest(RECIPES.parent / "data_manifest.csv").of_datasets(["ozturk"], "--dataset").rows)
    alone = {(one["variable"], tuple(one["classes"])): one["accuracy"] for one in found["confounding"]}
    assert alone["extension", ("covid", "no_finding")] == pytest.approx(603 / 625)
    assert alone["patient_prefix", ("covid", "no_finding")] == 1.0
    assert found["metadata_alone"]["accuracy"] > 0.85
    assert found["duplicates"]["near"] == 0

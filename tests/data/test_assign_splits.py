import numpy as np
import pandas as pd
import pytest

from darkcovid.core.errors import UsageError
from darkcovid.data.cohort import load_classification_cohort
from darkcovid.data.splits import assign_splits, image_ids, round_half_up
from darkcovid.recipe import Split

LABELS = pd.Series(["a"] * 146 + ["b"] * 146)
ROWS = pd.DataFrame({"dataset": "d", "path": [f"{i}.png" for i in range(292)], "patient_id": [f"p{i // 2}" for i in range(292)]})


def sides(rows=ROWS, labels=LABELS, **split):
    return assign_splits(rows, labels, Split(**split))


def test_the_sizes_of_system_c():
    """146 of each class: 16 and 16 held out, the rest 3:1, that is 194 and 66."""
    valid, test = sides(method="stratified_random", valid=0.25, test=16)
    assert (test.sum(), valid.sum(), (~valid & ~test).sum()) == (32, 66, 194)
    assert (test[:146].sum(), valid[:146].sum()) == (16, 33)


@pytest.mark.parametrize(("images", "valid"), [(1125, 225), (625, 125)])
def test_the_sizes_of_system_a(images, valid):
    rows = pd.DataFrame({"dataset": "d", "path": [f"{i}.png" for i in range(images)], "patient_id": ""})
    side, _ = sides(rows, pd.Series(["a"] * images), method="random", valid=0.2)
    assert side.sum() == valid


def test_halves_are_rounded_up():
    assert [round_half_up(number) for number in (32.5, 33.5, 32.4, 0.5)] == [33, 34, 32, 1]


def test_no_patient_is_on_two_sides_when_a_test_side_is_held_out():
    valid, test = sides(method="stratified_group", valid=0.25, test=0.1)
    patients = [set(ROWS.patient_id[where]) for where in (valid, test, ~valid & ~test)]
    assert sum(map(len, patients)) == len(set.union(*patients)) == 146
    assert test.sum() == pytest.approx(29, abs=3)
    assert test[:146].sum() == pytest.approx(15, abs=2)
    assert valid.sum() == pytest.approx(66, abs=3)


@pytest.mark.parametrize("method", ["random", "stratified_random", "stratified_group"])
def test_folds_cover_every_image_once(method):
    folds = np.stack([sides(method=method, folds=5, fold=fold)[0] for fold in range(1, 6)])
    assert (folds.sum(0) == 1).all()
    assert (abs(folds.sum(1) - 292 / 5) < 4).all()
    if method == "stratified_random":
        assert (abs(folds[:, :146].sum(1) - 146 / 5) < 1).all()


def test_folds_leave_the_test_side_out():
    tests = [sides(method="stratified_random", folds=5, fold=fold, test=10)[1] for fold in (1, 4)]
    np.testing.assert_array_equal(*tests)
    assert tests[0].sum() == 20


def test_a_column_may_say_the_side():
    rows = ROWS.assign(split=["train"] * 200 + ["valid"] * 60 + ["test"] * 32)
    valid, test = sides(rows, method="by_column")
    assert (valid.sum(), test.sum()) == (60, 32)
    with pytest.raises(UsageError, match=r"data\.split\.column: the manifest has no column 'spilt'; did you mean 'split'"):
        sides(rows, method="by_column", column="spilt")
    with pytest.raises(UsageError, match="holds 'dev'"):
        sides(rows.assign(split="dev"), method="by_column")


def test_names_tell_datasets_apart():
    assert image_ids(ROWS)[0] == "d/0.png"


def cohort_of(phantom_data, cache_dir, **data):
    return load_classification_cohort(phantom_data.model_copy(update=data), cache_dir)


def test_the_class_rest_is_everything_else(phantom_data, cache_dir):
    cohort = cohort_of(phantom_data, cache_dir, classes=("covid", "rest"))
    everyone = cohort_of(phantom_data, cache_dir)
    assert len(cohort) == len(everyone)
    assert (cohort.labels == 0).sum() == (everyone.labels == 0).sum()
    assert set(cohort.rows.label[cohort.labels == 1]) == {"no_finding", "pneumonia"}


def test_at_most_so_many_of_each_class(phantom_data, cache_dir):
    cohort = cohort_of(phantom_data, cache_dir, max_per_class=9)
    assert np.bincount(cohort.labels).tolist() == [9, 9, 9]


def test_so_many_of_the_classes_named(phantom_data, cache_dir):
    everyone = cohort_of(phantom_data, cache_dir)
    cohort = cohort_of(phantom_data, cache_dir, max_per_class={"covid": 9, "pneumonia": 12})
    assert np.bincount(cohort.labels).tolist() == [9, np.bincount(everyone.labels)[1], 12]


def test_only_rows_whose_columns_hold_what_is_wanted(phantom_data, cache_dir):
    everyone = cohort_of(phantom_data, cache_dir)
    few = tuple(everyone.rows.patient_id.unique()[:12])
    cohort = cohort_of(phantom_data, cache_dir, where={"patient_id": few, "view": ("PA", "AP")})
    assert set(cohort.patients) == set(few)
    assert len(cohort) == everyone.patients.isin(few).sum() < len(everyone)
    with pytest.raises(UsageError, match=r"data\.where\.veiw: the manifest has no such column; did you mean 'view'"):
        cohort_of(phantom_data, cache_dir, where={"veiw": ("PA",)})
    with pytest.raises(UsageError, match=r"data\.classes: no image is labeled 'covid' where"):
        cohort_of(phantom_data, cache_dir, where={"view": ("L",)})


def test_a_class_missing_from_a_fold_is_named(phantom_data, cache_dir):
    with pytest.raises(
        UsageError, match=r"data\.split: stratified_group with fold \d+ of 20 .* leaves no image of '\w+' in the validation"
    ):
        for fold in range(1, 21):
            cohort_of(phantom_data, cache_dir, split=Split(folds=20, fold=fold))


def test_the_test_side_is_counted(phantom_data, cache_dir):
    cohort = cohort_of(phantom_data, cache_dir, split=Split(test=0.2))
    assert list(cohort.counts()) == ["train", "valid", "test"]
    assert sum(sum(side.values()) for side in cohort.counts().values()) == len(cohort)
    assert set(cohort.side_names) == {"train", "valid", "test"}

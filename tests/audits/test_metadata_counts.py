import numpy as np
import pandas as pd
import pytest

from darkcovid.audits.metadata import PandasMetadata, count_values, metadata, metadata_table, rounded, stands_for_patient
from darkcovid.data.manifest import OPTIONAL
from darkcovid.data.table_cells import parse_age
from darkcovid.evaluation.subgroups import age_bands


@pytest.fixture
def table():
    random = np.random.default_rng(0)
    rows = {"path": [f"{i}.png" for i in range(300)], "patient_id": [f"x-{i // 3}" if i % 7 else "" for i in range(300)]}
    rows |= dict.fromkeys(OPTIONAL, "") | {
        "age": random.integers(1, 90, 300).astype(str),
        "sex": random.choice(["M", "F", ""], 300),
    }
    return metadata_table(pd.DataFrame(rows), random.choice(["a", "b"], 300), "all")


def test_numbers_keep_three_digits():
    found = rounded(pd.Series([123456.0, 0.0012345, -98765.0, 512.0, 0.0, np.nan]))
    assert found.tolist()[:5] == [123000.0, 0.00123, -98800.0, 512.0, 0.0] and np.isnan(found[5])


def test_a_patient_s_images_are_in_one_fold_and_folds_are_alike_large(table):
    assert table.groupby("patient").fold.nunique().max() == 1
    assert table.fold.value_counts().between(30, 90).all()


def test_counts_of_parts_add_up_to_those_of_the_whole(table):
    whole = PandasMetadata(table).counts()
    marked = table.assign(stands_for_patient=stands_for_patient(table))
    parts = pd.concat([count_values(marked[start : start + 77].reset_index(drop=True)) for start in range(0, 300, 77)])
    keys = ["variable", "value", "label", "fold"]
    for unit in ("images", "patients"):
        added = parts.groupby(keys)[unit].sum()
        assert added.to_dict() == whole.set_index(keys)[unit].to_dict()
    assert (whole.groupby("variable").images.sum() == 300).all()
    assert (whole.groupby("variable").patients.sum() == table.patient.nunique()).all()


def test_one_image_stands_for_each_patient_however_they_are_ordered(table):
    chosen = set(table.path[stands_for_patient(table)])
    assert len(chosen) == table.patient.nunique() == table[table.path.isin(chosen)].patient.nunique()
    again = table.sample(frac=1, random_state=1)
    assert set(again.path[stands_for_patient(again)]) == chosen


def test_what_is_drawn_does_not_depend_on_the_order(table):
    some = PandasMetadata(table).some(40)
    again = PandasMetadata(table.sample(frac=1, random_state=1)).some(40)
    pd.testing.assert_frame_equal(some, again)
    assert len(set(some.path)) == 40


AGES = {
    "70": 70, "45.5": 45.5, "070Y": 70, "018M": 1.5, "003W": 21 / 365.25, "012D": 12 / 365.25, " 45 years ": 45,
    "8 months": 8 / 12,    "0": 0, "130": 130, "-1": None, "411": None, "": None, "adult": None, "070X": None, "nan": None,
}  # fmt: skip


@pytest.mark.parametrize("text", AGES)
def test_ages_are_years_in_any_of_their_forms(text):
    age = parse_age(text)
    assert np.isnan(age) if AGES[text] is None else age == pytest.approx(AGES[text])


def test_ages_in_dicoms_form_tell_what_plain_ones_tell(cohort):
    ages = [{"covid": 70, "no_finding": 45, "pneumonia": 5}[cohort.classes[label]] for label in cohort.labels]
    plain = metadata(cohort.rows.assign(age=[str(age) for age in ages])).age
    dicom = metadata(cohort.rows.assign(age=[f"{age:03d}Y" for age in ages])).age
    assert plain.tolist() == dicom.tolist() == [float(age) for age in ages]
    assert age_bands(pd.Series(["070Y", "018M", "-1", "411"])).tolist() == [*age_bands(pd.Series(["70", "1.5"])), "", ""]

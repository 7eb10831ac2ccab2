"""External sets made of phantoms, with a few rows changed by hand."""

import pytest

from darkcovid.core.errors import DataError, UsageError
from darkcovid.data.cohort import open_manifest
from darkcovid.data.external import COPY, FILTERED, KNOWN_PATIENT, OTHER_LABEL, external_sets
from darkcovid.recipe import Data, External, Phantom

ELSEWHERE = Phantom(patients=18, image_size=64, seed=99)


def hospital(phantom_data, cache_dir, tmp_path, change=lambda rows: rows, **asked):
    """A manifest of other phantoms, its rows changed, as an external set of the phantom cohort."""
    manifest = open_manifest(phantom_data.model_copy(update={"phantom": ELSEWHERE}), cache_dir)
    path = tmp_path / "hospital.csv"
    rows = manifest.rows.assign(patient_id="elsewhere-" + manifest.rows.patient_id)
    change(rows).to_csv(path, index=False)
    external = External(manifest=str(path), root=str(manifest.roots[0]), **asked)
    return phantom_data.model_copy(update={"external": (external,)})


def test_labels_are_translated_and_others_left_out(phantom_data, cohort, cache_dir, tmp_path):
    words = {"covid": "C19", "no_finding": "normal", "pneumonia": "bacterial"}
    data = hospital(
        phantom_data,
        cache_dir,
        tmp_path,
        lambda rows: rows.assign(label=rows.label.map(words)),
        classes={"C19": "covid", "normal": "no_finding"},
        name="ward",
    )
    (found,) = external_sets(data, cohort, cache_dir)
    theirs = open_manifest(phantom_data.model_copy(update={"phantom": ELSEWHERE}), cache_dir).rows
    assert found.name == "ward"
    assert found.cohort.classes == cohort.classes
    assert found.cohort.counts()["test"] == {
        "covid": (theirs.label == "covid").sum(),
        "no_finding": (theirs.label == "no_finding").sum(),
        "pneumonia": 0,
    }
    assert found.cohort.test.all()
    assert found.left_out == {OTHER_LABEL: (theirs.label == "pneumonia").sum()}


def test_what_the_cohort_has_seen_is_left_out(phantom_data, cohort, cache_dir, tmp_path):
    """One patient of the cohort, one file of the cohort under another name and patient, and one filtered row."""
    known = cohort.patients[0]

    def change(rows):
        rows.loc[0, "patient_id"] = known
        rows.loc[1, "view"] = "L"
        return rows

    data = hospital(phantom_data, cache_dir, tmp_path, change, where={"view": ("PA", "AP", "")})
    views = set(open_manifest(phantom_data, cache_dir).rows["view"])
    assert views <= {"PA", "AP", ""}
    (found,) = external_sets(data, cohort, cache_dir)
    assert found.left_out == {KNOWN_PATIENT: 1, FILTERED: 1}
    copies = phantom_data.model_copy(
        update={"external": (External(manifest="phantom", phantom=phantom_data.phantom, shared_patient_ids=False),)}
    )
    with pytest.raises(UsageError, match=rf"data.external: phantom: no image is left .*{len(cohort)} images: {COPY}"):
        external_sets(copies, cohort, cache_dir)


def test_other_peoples_numbers_are_not_the_cohorts_patients(phantom_data, cohort, cache_dir):
    same = phantom_data.model_copy(update={"external": (External(manifest="phantom", phantom=ELSEWHERE),)})
    with pytest.raises(UsageError, match="shared_patient_ids: false"):
        external_sets(same, cohort, cache_dir)
    other = same.model_copy(update={"external": (same.external[0].model_copy(update={"shared_patient_ids": False}),)})
    (found,) = external_sets(other, cohort, cache_dir)
    assert len(found.cohort) == len(open_manifest(phantom_data.model_copy(update={"phantom": ELSEWHERE}), cache_dir).rows)


def test_a_missing_file_or_column_is_named_with_its_set(phantom_data, cohort, cache_dir, tmp_path):
    data = hospital(phantom_data, cache_dir, tmp_path, lambda rows: rows.assign(path="gone/" + rows.path))
    with pytest.raises(DataError, match=r"data.external: hospital: .*missing"):
        external_sets(data, cohort, cache_dir)
    data = hospital(phantom_data, cache_dir, tmp_path, where={"vew": ("PA",)})
    with pytest.raises(UsageError, match=r"data.external: hospital: data.where.vew"):
        external_sets(data, cohort, cache_dir)


def test_a_set_is_named_by_its_dataset_file_or_folder():
    assert External(manifest="a/hospital.csv").called == "hospital"
    assert External(manifest="a/manifest.csv").called == "a"
    assert External(manifest="a/manifest.csv", dataset="b").called == "b"
    assert Data(external=("a/c.csv",)).external[0].called == "c"
    with pytest.raises(ValueError, match="two sets are called 'c'"):
        Data(external=("a/c.csv", "b/c.csv"))
    with pytest.raises(ValueError, match="leads to 'flu'"):
        Data(external=({"manifest": "c.csv", "classes": {"influenza": "flu"}},))

import numpy as np
import pytest
from PIL import Image

from darkcovid.core.errors import DataError, UsageError
from darkcovid.data.cohort import load_classification_cohort, load_segmentation_cohort, select_rows
from darkcovid.data.phantom import phantom_manifest
from darkcovid.data.verify import verify
from darkcovid.recipe import Data, Phantom, Split

from ..conftest import SMALL


@pytest.fixture
def on_disk(tmp_path):
    """A phantom cohort of its own, whose files a test may damage, and a `Data` that names it."""
    manifest = phantom_manifest(SMALL, tmp_path)
    folder = manifest.roots[0]
    return folder, manifest, Data(manifest=str(folder / "manifest.csv"))


def test_sides_share_no_patient_and_labels_follow_the_classes(cohort):
    patients = cohort.patients
    assert set(patients[cohort.valid]).isdisjoint(patients[~cohort.valid])
    assert [cohort.classes[label] for label in cohort.labels] == cohort.rows.label.tolist()
    assert sum(cohort.counts()["valid"].values()) == cohort.valid.sum() > 0


def test_classes_select_rows_and_give_the_order(phantom_data, cache_dir):
    binary = load_classification_cohort(phantom_data.model_copy(update={"classes": ("no_finding", "covid")}), cache_dir)
    assert set(binary.rows.label) == {"covid", "no_finding"}
    assert (binary.labels == (binary.rows.label == "covid")).all()


def test_a_class_without_images_and_an_unknown_dataset_are_refused(phantom_data, cache_dir):
    with pytest.raises(UsageError, match=r"data\.classes: no image is labeled 'flu'; labels in the manifest: covid"):
        load_classification_cohort(phantom_data.model_copy(update={"classes": ("covid", "flu")}), cache_dir)
    with pytest.raises(UsageError, match=r"data\.dataset: no row belongs to 'nih'; datasets in the manifest: phantom"):
        load_classification_cohort(phantom_data.model_copy(update={"dataset": "nih"}), cache_dir)


@pytest.mark.parametrize(("share", "side"), [(0.001, "validation"), (0.999, "training")])
def test_a_split_that_leaves_a_side_empty_is_refused(phantom_data, cache_dir, share, side):
    split = Split(method="stratified_random", valid=share)
    with pytest.raises(UsageError, match=rf"data\.split: .* in the {side} set"):
        load_classification_cohort(phantom_data.model_copy(update={"split": split}), cache_dir)


def test_one_bad_image_is_set_aside_with_its_reason_and_the_others_keep_their_sides(on_disk, tmp_path):
    folder, manifest, data = on_disk
    data = data.model_copy(update={"max_bad": 0.05})
    before = load_classification_cohort(data, tmp_path)
    broken = manifest.rows.path[3]
    (folder / broken).write_bytes(b"not an image")
    after = load_classification_cohort(data, tmp_path)
    assert [(bad.path, bad.reason) for bad in after.bad] == [(broken, "its checksum is not the manifest's")]
    assert after.rows.path.tolist() == [path for path in before.rows.path if path != broken]
    np.testing.assert_array_equal(after.valid, np.delete(before.valid, 3))


def test_more_bad_images_than_allowed_stop_the_run(on_disk, tmp_path):
    folder, manifest, data = on_disk
    (folder / manifest.rows.path[0]).write_bytes(b"")
    with pytest.raises(DataError, match=r"1 of \d+ images cannot be used \(0 missing\).*raise data\.max_bad"):
        load_classification_cohort(data, tmp_path)


def test_missing_files_are_named_with_the_command_that_fetches_them(on_disk, tmp_path):
    folder, manifest, data = on_disk
    for path in manifest.rows.path:
        (folder / path).unlink()
    with pytest.raises(DataError, match=rf"{manifest.rows.path[0]} \(missing\); fetch them with `darkcovid data fetch"):
        load_classification_cohort(data, tmp_path)


def test_a_file_without_a_recorded_checksum_is_used(on_disk, tmp_path):
    folder, manifest, data = on_disk
    manifest.rows.assign(sha256="").to_csv(folder / "manifest.csv", index=False)
    assert load_classification_cohort(data, tmp_path).bad == ()


def test_patients_that_are_not_known_are_groups_of_their_own(on_disk, tmp_path):
    folder, manifest, data = on_disk
    manifest.rows.assign(patient_id="").to_csv(folder / "manifest.csv", index=False)
    cohort = load_classification_cohort(data, tmp_path)
    assert cohort.patients.nunique() == len(cohort)


def test_a_lung_mask_cohort_needs_masks(on_disk, tmp_path):
    folder, manifest, data = on_disk
    assert len(load_segmentation_cohort(data, tmp_path)) == len(manifest.rows)
    manifest.rows.assign(lung_mask="").to_csv(folder / "manifest.csv", index=False)
    with pytest.raises(UsageError, match="no row has a lung_mask"):
        load_segmentation_cohort(data, tmp_path)


def test_verify_finds_every_kind_of_fault(on_disk):
    folder, manifest, _ = on_disk
    assert verify(manifest).faults == []
    assert verify(manifest).verified == len(manifest.rows)
    rows = manifest.rows
    (folder / rows.path[0]).unlink()
    (folder / rows.path[1]).write_bytes(b"other")
    rows.loc[2, "width"] = "65"
    rows.loc[3, "sha256"] = ""
    (folder / rows.lung_mask[4]).write_bytes((folder / rows.path[4]).read_bytes()[:50])
    found = verify(manifest)
    faults = dict(found.faults)
    assert faults[rows.path[0]] == "missing"
    assert faults[rows.path[1]] == "its checksum is not the manifest's"
    assert faults[rows.path[2]] == "width is 64, the manifest says 65"
    assert faults[rows.path[4]].startswith("lung mask")
    assert len(faults) == 4
    assert found.unverified == [rows.path[3]]


@pytest.mark.real_data
def test_the_real_cohort_splits_by_patient_as_counted_once(real_data, cache_dir):
    cohort = load_classification_cohort(Data(manifest=str(real_data / "ozturk512" / "manifest.csv")), cache_dir)
    assert len(cohort) == 1124
    assert cohort.counts() == {
        "train": {"covid": 99, "no_finding": 398, "pneumonia": 399},
        "valid": {"covid": 25, "no_finding": 102, "pneumonia": 101},
    }
    assert set(cohort.patients[cohort.valid]).isdisjoint(cohort.patients[~cohort.valid])


def test_the_folds_of_a_cohort_cover_it_without_overlap(cache_dir):
    data = Data(manifest="phantom", phantom=Phantom(patients=24, image_size=64))
    sides = []
    for fold in (1, 2, 3):
        split = data.split.model_copy(update={"folds": 3, "fold": fold})
        sides.append(load_segmentation_cohort(data.model_copy(update={"split": split}), cache_dir).valid)
    assert (np.sum(sides, axis=0) == 1).all()


def test_the_size_of_every_image_is_known_and_follows_it(on_disk, tmp_path):
    folder, manifest, data = on_disk
    Image.new("L", (31, 57)).save(folder / manifest.rows.path[2])
    rows = manifest.rows.assign(sha256="")
    rows.to_csv(folder / "manifest.csv", index=False)
    cohort = load_classification_cohort(data, tmp_path)
    assert cohort.sizes.tolist() == [list(Image.open(file).size) for file in cohort.files]
    assert cohort.sizes[2].tolist() == [31, 57]
    assert cohort.take(np.array([5, 2])).sizes.tolist() == [cohort.sizes[5].tolist(), [31, 57]]


@pytest.mark.parametrize("spelling", ["COVID", "Covid", "co vid", "co-vid"])
@pytest.mark.parametrize("classes", [("covid", "no_finding", "pneumonia"), ("covid", "rest")])
def test_a_label_that_is_a_class_but_for_its_spelling_is_refused(phantom_data, cohort, cache_dir, tmp_path, spelling, classes):
    rows = cohort.rows.copy()
    covid = rows.index[rows.label == "covid"]
    rows.loc[covid[::3], "label"] = spelling
    manifest = tmp_path / "manifest.csv"
    rows.to_csv(manifest, index=False)
    data = phantom_data.model_copy(update={"manifest": str(manifest), "root": str(cohort.manifest.roots[0]), "classes": classes})
    with pytest.raises(UsageError, match=f"{len(covid[::3])} rows say '{spelling}', which differs from the class 'covid' only"):
        load_classification_cohort(data, cache_dir)


def test_rows_of_no_class_are_counted_by_their_label(phantom_data, cohort, cache_dir, tmp_path):
    rows = cohort.rows.copy()
    rows.loc[rows.index[rows.label == "pneumonia"], "label"] = "sars"
    rows.loc[rows.index[rows.label == "covid"][:2], "label"] = ""
    manifest = tmp_path / "manifest.csv"
    rows.to_csv(manifest, index=False)
    update = {"manifest": str(manifest), "root": str(cohort.manifest.roots[0]), "classes": ("covid", "no_finding")}
    counted = load_classification_cohort(phantom_data.model_copy(update=update), cache_dir)
    assert counted.excluded_by_label == {"sars": int((cohort.rows.label == "pneumonia").sum()), "": 2}
    assert cohort.excluded_by_label == {}


def test_where_means_what_cells_mean(phantom_data, cohort, cache_dir, tmp_path):
    rows = cohort.manifest.rows
    even = np.arange(len(rows)) % 2 == 0
    rows = rows.assign(sex=np.where(even, "female", "male"), view="pa", site=np.where(even, "-1", "1"))
    rows.to_csv(tmp_path / "manifest.csv", index=False)
    data = phantom_data.model_copy(update={"manifest": str(tmp_path / "manifest.csv"), "root": str(cohort.manifest.roots[0])})
    for where, count in (({"sex": ("female",)}, even.sum()), ({"view": ("pa",)}, len(rows)), ({"site": ("1",)}, (~even).sum())):
        chosen, *_ = select_rows(data.model_copy(update={"where": where}), cache_dir)
        assert len(chosen.rows) == count

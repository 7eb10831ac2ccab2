"""Manifests of several datasets become one without mixing their patients."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from darkcovid.core.errors import UsageError
from darkcovid.data.manifest import read_manifest
from darkcovid.data.merge import merge_manifests

from ..commands import error_of


@pytest.fixture
def two_datasets(phantom_cohort_files, tmp_path):
    """`a` has four radiographs of three patients; `b` two of its own, one mirrored copy of `a`'s first and one identical file."""
    images = [Image.open(file) for file in phantom_cohort_files[:6]]
    for name in ("a", "b"):
        (tmp_path / name / "images").mkdir(parents=True)
    for number, image in enumerate(images[:4]):
        image.save(tmp_path / "a" / "images" / f"{number}.png")
    for number, image in enumerate(images[4:6]):
        image.save(tmp_path / "b" / "images" / f"{number}.png")
    Image.fromarray(np.asarray(images[0])[:, ::-1].copy()).save(tmp_path / "b" / "images" / "mirrored.png")
    (tmp_path / "b" / "images" / "same.png").write_bytes((tmp_path / "a" / "images" / "3.png").read_bytes())
    rows_a = [("0", "covid", "1"), ("1", "covid", "1"), ("2", "no_finding", "2"), ("3", "no_finding", "")]
    rows_b = [("0", "covid", "1"), ("1", "no_finding", "2"), ("mirrored", "covid", "9"), ("same", "no_finding", "7")]
    for name, rows in (("a", rows_a), ("b", rows_b)):
        table = pd.DataFrame([(f"images/{file}.png", label, patient) for file, label, patient in rows], columns=COLUMNS)
        table.to_csv(tmp_path / name / "manifest.csv", index=False)
    return tmp_path


COLUMNS = ["path", "label", "patient_id"]


@pytest.fixture
def phantom_cohort_files(cohort):
    """One radiograph per patient."""
    firsts = [rows[0] for rows in cohort.rows.groupby(cohort.patients.to_numpy()).groups.values()]
    return [cohort.files[row] for row in firsts]


def merged(folder, **options):
    paths = [folder / "a" / "manifest.csv", folder / "b" / "manifest.csv"]
    summary = merge_manifests(paths, folder / "both.csv", folder / "cache", **options)
    return read_manifest(folder / "both.csv"), summary


def test_patients_of_one_id_in_two_datasets_stay_two(two_datasets):
    manifest, summary = merged(two_datasets)
    rows = manifest.rows.set_index("path")
    assert rows.patient_id["a/images/0.png"] == rows.patient_id["a/images/1.png"] == "a:1" != rows.patient_id["b/images/0.png"]
    assert rows.patient_id["a/images/3.png"] == "" and (rows.dataset == rows.index.str[0]).all()
    assert all(manifest.locate(path) for path in rows.index)
    assert (summary.images, summary.classes) == ({"a": 4, "b": 4}, {"covid": 4, "no_finding": 4})
    assert summary.copies == 0 and not summary.merged_patients  # the manifests record no checksums


def test_copies_get_one_patient_id_on_request(two_datasets):
    manifest, summary = merged(two_datasets, merge_copies=True)
    rows = manifest.rows.set_index("path")
    assert summary.copies == 2
    assert rows.patient_id["b/images/mirrored.png"] == rows.patient_id["a/images/0.png"] == rows.patient_id["a/images/1.png"]
    assert rows.patient_id["b/images/same.png"] == rows.patient_id["a/images/3.png"] != ""
    assert rows.patient_id["b/images/0.png"] == "b:1" and rows.patient_id.nunique() == 5


def test_recorded_checksums_are_compared_without_a_look_at_images(two_datasets):
    for name, file in (("a", "3.png"), ("b", "same.png")):
        table = pd.read_csv(two_datasets / name / "manifest.csv")
        table["sha256"] = np.where(table.path.str.endswith(file), "0" * 64, "")
        table.to_csv(two_datasets / name / "manifest.csv", index=False)
    _, summary = merged(two_datasets)
    assert (summary.copies, summary.examples) == (1, [("a/images/3.png", "b/images/same.png")])
    first = (two_datasets / "both.csv").read_bytes()
    merged(two_datasets)
    assert (two_datasets / "both.csv").read_bytes() == first


def test_linked_folders_are_merged_where_the_links_are(two_datasets, tmp_path):
    links = tmp_path / "links"
    links.mkdir()
    for name in ("a", "b"):
        (links / name).symlink_to(two_datasets / name)
    merge_manifests([links / "a" / "manifest.csv", links / "b" / "manifest.csv"], links / "both.csv", tmp_path / "cache")
    manifest = read_manifest(links / "both.csv")
    assert all(manifest.locate(path) for path in manifest.rows.path)
    assert set(manifest.rows.path.str.split("/").str[0]) == {"a", "b"}


def test_ids_in_several_manifests_are_told(two_datasets, caplog):
    for name in ("a", "b"):
        table = pd.read_csv(two_datasets / name / "manifest.csv", dtype=str).assign(patient_id="p1")
        table.to_csv(two_datasets / name / "manifest.csv", index=False)
    manifests = [two_datasets / name / "manifest.csv" for name in ("a", "b")]
    merge_manifests(manifests, two_datasets / "both.csv", two_datasets / "cache")
    assert "1 patient ids are in several manifests, such as p1" in caplog.text
    caplog.clear()
    merge_manifests(manifests, two_datasets / "both.csv", two_datasets / "cache", shared_patient_ids=True)
    assert "several manifests" not in caplog.text


def test_what_cannot_be_merged_is_refused_and_nothing_is_written(two_datasets, darkcovid):
    a, b = two_datasets / "a" / "manifest.csv", two_datasets / "b" / "manifest.csv"
    with pytest.raises(UsageError, match="named twice"):
        merge_manifests([a, a], two_datasets / "both.csv", two_datasets / "cache")
    with pytest.raises(UsageError, match=r"write it into a folder above all images"):
        merge_manifests([a, b], two_datasets / "a" / "both.csv", two_datasets / "cache")
    other = two_datasets / "a" / "other.csv"
    other.write_bytes(a.read_bytes())
    with pytest.raises(UsageError, match=r"'a/images/0\.png' is in two of the manifests"):
        merge_manifests([a, other], two_datasets / "both.csv", two_datasets / "cache")
    assert not (two_datasets / "both.csv").exists() and not (two_datasets / "a" / "both.csv").exists()
    assert "name two or more" in error_of(darkcovid("data", "merge", a, "--output", two_datasets / "both.csv", code=2))
    b.write_text("path,label,patient_id\nimages/gone.png,covid,1\n")
    a.write_text("path,label,patient_id\nimages/lost.png,covid,1\n")
    error = error_of(darkcovid("data", "merge", a, b, "--output", two_datasets / "both.csv", "--merge-copies", code=3))
    assert "no image of 2 can be read" in error


def test_the_command(two_datasets, darkcovid):
    manifests = [two_datasets / name / "manifest.csv" for name in ("a", "b")]
    words = ("data", "merge", *manifests, "-o", two_datasets / "both.csv")
    summary = json.loads(darkcovid(*words, "--json").stdout)
    assert summary["images"] == {"a": 4, "b": 4}
    assert "it exists already" in error_of(darkcovid(*words, code=2))
    shown = darkcovid(*words, "--force", "--merge-copies", "--cache-dir", two_datasets / "cache").stdout
    assert "copies between datasets: 2 pairs of identical or nearly identical images" in shown


def test_ids_that_two_datasets_share(two_datasets):
    manifest, _ = merged(two_datasets, shared_patient_ids=True)
    rows = manifest.rows.set_index("path")
    assert rows.patient_id["a/images/0.png"] == rows.patient_id["b/images/0.png"] == "1"


def test_an_import_gives_copies_one_patient(two_datasets, darkcovid):
    for name in ("a", "b"):
        (two_datasets / name / "manifest.csv").unlink()
    summary = json.loads(darkcovid("data", "import", two_datasets, "--merge-copies", "--json", "--form", "class-folders").stdout)
    rows = read_manifest(two_datasets / "manifest.csv").rows.set_index("path")
    assert summary["copies"] == 2 and summary["quality"] is None
    assert rows.patient_id["a/images/0.png"] == rows.patient_id["b/images/mirrored.png"] != ""
    assert rows.patient_id["a/images/3.png"] == rows.patient_id["b/images/same.png"] != ""
    assert rows.patient_id["a/images/1.png"] == ""

"""Folders of DICOM files: patients, studies and views out of tags, ids hashed, damaged headers left out."""

import stat

import pytest

from darkcovid.core.errors import DataError
from darkcovid.data.dicom_tags import PatientIds
from darkcovid.data.import_folder import import_folder, list_images
from darkcovid.data.importers import choose_importer
from darkcovid.data.importers.own_table import table_importer
from darkcovid.data.manifest import read_manifest

from ...commands import error_of
from ..test_dicom import dataset, written

TAGS = {"PatientID": "ID 007", "StudyInstanceUID": "1.2.3", "ViewPosition": "AP", "PatientAge": "045Y", "PatientSex": "F",
        "Manufacturer": "ACME", "BodyPartExamined": "CHEST", "Modality": "DX"}  # fmt: skip


def dicom(path, **tags):
    path.parent.mkdir(parents=True, exist_ok=True)
    header = dataset()
    for keyword, value in {**TAGS, **tags}.items():
        setattr(header, keyword, value)
    path.write_bytes(written(header))
    return path


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "pacs"
    dicom(folder / "covid" / "IM1", PatientID="A")
    dicom(folder / "covid" / "IM2", PatientID="A", ViewPosition="PA")
    dicom(folder / "normal" / "IM3", PatientID="B", Manufacturer="OTHER")
    dicom(folder / "normal" / "IM4", PatientID="")
    return folder


def rows_of(folder, **options):
    importer = choose_importer(folder, None)
    import_folder(folder, importer, list_images(folder, importer, {}), folder / "manifest.csv", **options)
    return read_manifest(folder / "manifest.csv").rows.set_index("path")


def test_tags_become_columns_and_ids_are_hashed(folder):
    rows = rows_of(folder)
    first = rows.loc["covid/IM1"]
    assert (first["view"], first["age"], first["sex"], first.manufacturer) == ("AP", "045Y", "F", "ACME")
    assert (first.body_part, first.modality) == ("CHEST", "DX")
    assert first.patient_id == rows.patient_id["covid/IM2"] != rows.patient_id["normal/IM3"] != ""
    assert len(first.patient_id) == len(first.study) == 16 and rows.patient_id["normal/IM4"] == ""
    text = (folder / "manifest.csv").read_text()
    assert "1.2.3" not in text and first.patient_id != PatientIds(None).shown("A")
    salt = folder / "manifest.salt"
    assert stat.S_IMODE(salt.stat().st_mode) == 0o600
    (folder / "manifest.csv").unlink()
    assert rows_of(folder).patient_id.equals(rows.patient_id)  # the salt stays
    salt.unlink()
    assert rows_of(folder).patient_id["covid/IM1"] != first.patient_id


def test_ids_stay_as_they_are_on_request(folder):
    rows = rows_of(folder, raw_patient_ids=True)
    assert (rows.patient_id["covid/IM1"], rows.study["covid/IM1"]) == ("A", "1.2.3")
    assert not (folder / "manifest.salt").exists()


def test_a_damaged_salt_is_refused(darkcovid, folder):
    (folder / "manifest.salt").write_text("abc\n")
    assert "not a salt of patient ids" in error_of(darkcovid("data", "import", folder, code=3))
    assert not (folder / "manifest.csv").exists()


def test_pictures_alone_need_no_salt(tmp_path):
    from . import miniatures

    rows_of(miniatures.class_folders(tmp_path / "set"))
    assert not list((tmp_path / "set").rglob("*.salt"))


def test_no_radiographs_and_damaged_headers_are_left_out(folder):
    dicom(folder / "covid" / "CT1", Modality="CT")
    dicom(folder / "covid" / "IM5", NumberOfFrames=3)
    whole = dicom(folder / "covid" / "IM6").read_bytes()
    for cut in (140, 200, 300, 340):
        (folder / "covid" / f"cut{cut}.dcm").write_bytes(whole[:cut])
    (folder / "covid" / "noise.dcm").write_bytes(whole[:132] + bytes(range(256)) * 4)
    importer = choose_importer(folder, None)
    summary = import_folder(folder, importer, list_images(folder, importer, {}), folder / "manifest.csv")
    assert summary.left_out["a DICOM of modality CT"] == ["covid/CT1"]
    assert summary.left_out["a DICOM of several frames"] == ["covid/IM5"]
    assert "covid/noise.dcm" in summary.left_out["not an image"]
    assert "covid/IM6" in set(read_manifest(folder / "manifest.csv").rows.path)


def test_labels_of_dicom_files_out_of_a_table(folder, tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("name;finding\nIM1;COVID-19\nIM3;Normal\n")
    importer = table_importer(table, "name", "finding", None)
    import_folder(folder, importer, list_images(folder, importer, {}), folder / "manifest.csv")
    rows = read_manifest(folder / "manifest.csv").rows.set_index("path")
    assert rows.label.to_dict() == {"covid/IM1": "covid", "normal/IM3": "no_finding"} and (rows.patient_id != "").all()


def test_what_the_dataset_says_stands_before_the_tags(folder, tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("path,label,patient_id,view\ncovid/IM1,covid,77,PA\nnormal/IM3,normal,,\n")
    importer = table_importer(table, "path", "label", None)
    import_folder(folder, importer, list_images(folder, importer, {}), folder / "manifest.csv", raw_patient_ids=True)
    rows = read_manifest(folder / "manifest.csv").rows.set_index("path")
    assert rows.patient_id.tolist() == ["77", "B"] and rows["view"].tolist() == ["PA", "AP"]


def test_one_salt_gives_one_id_on_all_threads(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    ids = PatientIds(tmp_path / "m.salt")
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(ids.shown, ["A"] * 64))) == 1
    assert PatientIds(tmp_path / "m.salt").shown("A") == ids.shown("A")
    with pytest.raises(DataError, match="not a salt"):
        (tmp_path / "m.salt").write_text("00\n")
        PatientIds(tmp_path / "m.salt").shown("A")

"""Folders, tables and archives as users have them: no label, patient or image is mixed up or lost without a word."""

import io
import json
import tarfile
import unicodedata
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from darkcovid.core.errors import DataError, UsageError
from darkcovid.data.dicom_tags import PatientIds
from darkcovid.data.file_info import Journal
from darkcovid.data.import_folder import add_file_facts, import_folder, list_images
from darkcovid.data.importers import choose_importer
from darkcovid.data.importers.files_by_name import FilesByName
from darkcovid.data.importers.labels import default_class
from darkcovid.data.importers.own_table import table_importer
from darkcovid.data.importers.vindr_cxr import _consensus
from darkcovid.data.merge import merge_manifests
from darkcovid.data.unpack import unpack

from . import miniatures


def picture(path, value=0, size=(64, 48), **save):
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(value)
    Image.fromarray(random.integers(0, 256, size[::-1], np.uint8)).save(path, **save)


def imported(folder, output=None, **options):
    importer = options.pop("importer", None) or choose_importer(folder, None)
    output = output or folder / "manifest.csv"
    summary = import_folder(folder, importer, list_images(folder, importer, {}), output, **options)
    return summary, pd.read_csv(output, keep_default_na=False, dtype=str)


@pytest.mark.parametrize(
    ("label", "meant"),
    [
        *[(text, "covid") for text in ("COVID", "covid-19", "COVID_19", "COVID-19 (positive)", "Covid 19")],
        *[(text, "pneumonia") for text in ("Viral Pneumonia", "Pneumonia/Viral", "bacterial")],
        *[
            (text, text)
            for text in ("COVID+", "COVID-", "COVID (+)", "COVID (-)", "\u975eCOVID", "\u043d\u0435 covid", "non-COVID")
        ],
    ],
)
def test_a_sign_or_a_word_in_another_script_is_part_of_a_label(label, meant):
    assert default_class(label) == meant


def test_names_that_a_manifest_cannot_hold_are_left_out_and_named(tmp_path):
    names = ("covid/a.png", " covid/lead.png", "normal/b\u200cx.png", "normal/back\\slash.png", "normal/c d.png")
    for number, name in enumerate(names):
        picture(tmp_path / name, number)
    summary, rows = imported(tmp_path)
    assert rows.path.tolist() == ["covid/a.png", "normal/c d.png"]
    (reason,) = summary.left_out
    assert "blank at an end, a backslash or an invisible character" in reason and len(summary.left_out[reason]) == 3


def test_the_size_of_a_picture_on_its_side_is_that_of_the_upright_one(tmp_path, darkcovid):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(tmp_path / "d" / "covid" / "a.jpg", exif=exif)
    picture(tmp_path / "d" / "normal" / "b.png", 1)
    _, rows = imported(tmp_path / "d")
    assert rows[["width", "height"]].values.tolist() == [["48", "64"], ["64", "48"]]
    darkcovid("data", "verify", tmp_path / "d" / "manifest.csv")


def test_a_missing_value_is_no_class_and_hidden_folders_are_not_entered(tmp_path):
    for number, name in enumerate(("NA/a.png", "covid/b.png", "normal/c.png", "covid/.ipynb_checkpoints/b.png", "@eaDir/d.png")):
        picture(tmp_path / name, number)
    summary, rows = imported(tmp_path)
    assert rows.path.tolist() == ["covid/b.png", "normal/c.png"]
    assert summary.left_out == {"without a label": ["NA/a.png"]}


@pytest.mark.parametrize("damage", ["header", "cut"])
def test_a_tar_with_a_damaged_or_missing_header_is_refused_whole(tmp_path, damage):
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as writer:
        for number in range(10):
            content = b"x" * 600
            info = tarfile.TarInfo(f"{number}.png")
            info.size = len(content)
            writer.addfile(info, io.BytesIO(content))
    content = bytearray(archive.read_bytes())
    eighth = 7 * 1536
    if damage == "header":
        content[eighth + 150] ^= 1
    archive.write_bytes(content if damage == "header" else content[:eighth])
    with pytest.raises(DataError, match=r"not a sound archive .*header is damaged or missing"):
        unpack(archive, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_odd_archives_get_one_line(tmp_path):
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    with pytest.raises(DataError, match="there is no file in it"):
        unpack(tmp_path / "empty.zip", tmp_path / "empty")
    with zipfile.ZipFile(tmp_path / "windows.zip", "w") as writer:
        writer.writestr("covid\\", b"")
        writer.writestr("covid\\a.png", b"x")
    unpack(tmp_path / "windows.zip", tmp_path / "windows")
    assert (tmp_path / "windows" / "covid" / "a.png").read_bytes() == b"x"
    with zipfile.ZipFile(tmp_path / "long.zip", "w") as writer:
        writer.writestr("a" * 300 + ".png", b"x")
    with pytest.raises(DataError, match="cannot be written"):
        unpack(tmp_path / "long.zip", tmp_path / "long")
    with zipfile.ZipFile(tmp_path / "dot.zip", "w") as writer:
        writer.writestr(".", b"x")
    with pytest.raises(DataError, match="no name of a file"):
        unpack(tmp_path / "dot.zip", tmp_path / "dot")


def test_patients_of_two_folders_of_one_name_are_not_mixed_up(tmp_path):
    manifests = []
    for number, site in enumerate(("siteA", "siteB")):
        folder = tmp_path / site / "images"
        picture(folder / "covid" / "a.png", number)
        picture(folder / "normal" / "b.png", 10 + number)
        _, rows = imported(folder)
        rows.assign(patient_id=["7", "12"]).to_csv(folder / "manifest.csv", index=False)
        manifests.append(folder / "manifest.csv")
    with pytest.raises(UsageError, match="both are of the dataset 'images', so their patient ids cannot be told apart"):
        merge_manifests(manifests, tmp_path / "both.csv", tmp_path / "cache")
    merge_manifests(manifests, tmp_path / "both.csv", tmp_path / "cache", shared_patient_ids=True)
    rows = pd.read_csv(manifests[1], dtype=str, keep_default_na=False)
    rows.assign(dataset="other").to_csv(manifests[1], index=False)
    merge_manifests(manifests, tmp_path / "both.csv", tmp_path / "cache")
    merged = pd.read_csv(tmp_path / "both.csv")
    assert sorted(merged.patient_id) == ["images:12", "images:7", "other:12", "other:7"]
    picture(tmp_path / "third" / "covid" / "c.png", 30)
    picture(tmp_path / "third" / "normal" / "d.png", 31)
    imported(tmp_path / "third")
    merge_manifests([tmp_path / "both.csv", tmp_path / "third" / "manifest.csv"], tmp_path / "all.csv", tmp_path / "cache")
    assert set(merged.patient_id) < set(pd.read_csv(tmp_path / "all.csv", keep_default_na=False).patient_id)


def test_a_fault_that_is_mended_is_not_remembered(tmp_path):
    folder, output = tmp_path / "d", tmp_path / "d" / "manifest.csv"
    picture(folder / "covid" / "a.png")
    (folder / "normal").mkdir()
    (folder / "normal" / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    rows = list_images(folder, choose_importer(folder, None), {})
    with Journal(output, "test") as journal:
        _, left_out = add_file_facts(folder, rows, PatientIds(None), journal)
    assert [*left_out.values()] == [["normal/b.png"]]
    entries = [json.loads(line) for line in Path(f"{output}.partial").read_text().splitlines() if line]
    assert [entry["path"] for entry in entries] == ["covid/a.png"]


def test_ids_of_another_salt_are_not_recalled(tmp_path):
    (tmp_path / "one.salt").write_text("00" * 16)
    (tmp_path / "two.salt").write_text("11" * 16)
    kinds = {PatientIds(tmp_path / name).fingerprint for name in ("one.salt", "two.salt", "none.salt")} | {
        PatientIds(None).fingerprint
    }
    assert len(kinds) == 4


def test_an_edited_label_keeps_all_classes_in_the_summary_and_a_replaced_file_loses_its_quality(tmp_path):
    for number in range(3):
        picture(tmp_path / "covid" / f"{number}.png", number)
        picture(tmp_path / "normal" / f"{number}.png", 10 + number)
    _, rows = imported(tmp_path)
    rows = rows.assign(quality="good")
    rows.loc[0, "label"] = "pneumonia"
    rows.to_csv(tmp_path / "manifest.csv", index=False)
    picture(tmp_path / "normal" / "1.png", 99)
    summary, after = imported(tmp_path, update=True)
    counted = {(counts["class"], counts["images"]) for counts in summary.classes.values()}
    assert counted == {("covid", 2), ("pneumonia", 1), ("no_finding", 3)}
    assert after.quality.tolist() == ["good"] * 4 + ["", "good"]


def test_an_output_that_cannot_be_is_refused_before_any_file_is_read(tmp_path):
    folder = tmp_path / "d"
    picture(folder / "covid" / "a.png")
    picture(folder / "normal" / "b.png", 1)
    (tmp_path / "beside").mkdir()
    for output, said in (
        (folder / "m.parquet", "name that ends in .csv"),
        (tmp_path / "absent" / "m.csv", "no such folder"),
        (tmp_path / "beside" / "m.csv", "write it above the images"),
    ):
        with pytest.raises(UsageError, match=said):
            imported(folder, output)
    assert not list(tmp_path.rglob("*.partial"))


def test_tables_with_capitals_doubled_columns_and_composed_names(tmp_path):
    decomposed = unicodedata.normalize("NFD", "\u00e91.png")
    assert FilesByName([Path("x") / decomposed]).find("\u00e91.png") == f"x/{decomposed}"
    picture(tmp_path / "a.png")
    table = tmp_path / "t.csv"
    table.write_text("File;Diagnosis;Notes (a, b, c, d)\na.png;covid;-\n")
    importer = table_importer(table, "File", "Diagnosis", None)
    assert [image.label for image in importer.images(tmp_path, [Path("a.png")])] == ["covid"]
    table.write_text("path,label,label\na.png,covid,normal\n")
    with pytest.raises(UsageError, match="column 'label' is in the header more than once"):
        table_importer(table, "path", "label", None)


def test_findings_in_another_order_are_the_same_class():
    assert _consensus([["b", "a"], ["a", "b"]]) == _consensus([["a", "b"], ["b", "a"]]) == "a|b"


def test_lists_and_tables_in_other_encodings(tmp_path):
    picture(tmp_path / "train" / "a.png")
    (tmp_path / "train_split.txt").write_bytes("1 a.png normal caf\u00e9\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"train_split\.txt: not a list in UTF-8"):
        imported(tmp_path)
    folder = tmp_path / "figure1"
    picture(folder / "images" / "COVID-00001.jpg")
    (folder / "metadata.csv").write_bytes("\ufeffpatientid,finding,originalfile\nCOVID-00001,COVID-19,x\n".encode())
    _, rows = imported(folder)
    assert rows.label.tolist() == ["covid"] and rows.patient_id.tolist() == ["COVID-00001"]


def test_a_croissant_description_names_the_columns_as_they_are_written(tmp_path):
    pytest.importorskip("mlcroissant")
    from darkcovid.data.croissant import write_croissant
    from darkcovid.data.manifest import read_manifest

    picture(tmp_path / "a.png")
    (tmp_path / "manifest.csv").write_text("Path,Label,Patient ID\na.png,covid,7\n")
    write_croissant(read_manifest(tmp_path / "manifest.csv"), tmp_path / "manifest.csv", tmp_path / "c.json")
    fields = json.loads((tmp_path / "c.json").read_text())["recordSet"][0]["field"]
    assert {field["source"]["extract"]["column"] for field in fields} == {"Path", "Label", "Patient ID"}


def test_names_of_datasets_are_no_classes(tmp_path):
    miniatures.cohen(tmp_path / "all" / "cohen")
    miniatures.chest_xray_pneumonia(tmp_path / "all" / "children")
    with pytest.raises(UsageError, match=r"holds datasets, not classes \(children, cohen\); .*darkcovid data merge"):
        choose_importer(tmp_path / "all", None)
    assert choose_importer(tmp_path / "all", "class-folders").name == "class-folders"

    listed = miniatures.class_folders(tmp_path / "listed" / "one")
    miniatures.image(tmp_path / "listed" / "two" / "a.png")
    assert choose_importer(tmp_path / "listed", None).name == "class-folders"
    (listed / "manifest.csv").write_text("path,label,patient_id\n")
    with pytest.raises(UsageError, match=r"holds datasets, not classes \(one\)"):
        choose_importer(tmp_path / "listed", None)

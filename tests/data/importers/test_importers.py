"""Every form of folder becomes its manifest: classes, patients, splits and masks as far as its authors recorded them."""

import json
import subprocess
import sys
from typing import get_args

import pandas as pd
import pytest

from darkcovid.cli.import_data import Form
from darkcovid.core.errors import DataError, UsageError
from darkcovid.data.import_folder import import_folder, list_images
from darkcovid.data.importers import IMPORTERS, choose_importer
from darkcovid.data.importers.labels import default_class, parse_classes
from darkcovid.data.importers.own_table import table_importer
from darkcovid.data.manifest import read_manifest

from ...commands import error_of
from . import miniatures

FORMS = {
    "radiography-database": ["radiography_2021", "radiography_2020"],
    "chest-xray-pneumonia": ["chest_xray_pneumonia"],
    "covidx": ["covidx"],
    "cohen": ["cohen"],
    "nih-chestxray14": ["nih_chestxray14"],
    "rsna-pneumonia": ["rsna_pneumonia"],
    "siim-covid19": ["siim_covid19"],
    "chexpert": ["chexpert"],
    "mimic-cxr-jpg": ["mimic_cxr_jpg"],
    "padchest": ["padchest"],
    "vindr-cxr": ["vindr_cxr", "vindr_kaggle"],
    "bimcv-covid19": ["bimcv_covid19"],
    "covidgr": ["covidgr"],
    "hannover": ["hannover"],
    "actualmed": ["actualmed"],
    "figure-1": ["figure_1"],
    "covid-qu-ex": ["covid_qu_ex"],
    "qata-cov19": ["qata_cov19"],
    "medmnist": ["pneumoniamnist", "chestmnist"],
    "class-folders": ["class_folders"],
}


def summary_of(folder, importer=None, classes=None, output=None):
    importer = importer or choose_importer(folder, None)
    return import_folder(folder, importer, list_images(folder, importer, classes or {}), output or folder / "manifest.csv")


def imported(folder, classes=None):
    summary_of(folder, classes=classes)
    return read_manifest(folder / "manifest.csv").rows.set_index("path")


@pytest.mark.parametrize(("form", "name"), [(form, name) for form, names in FORMS.items() for name in names])
def test_a_form_is_recognized_and_its_manifest_is_read(tmp_path, form, name):
    folder = getattr(miniatures, name)(tmp_path / "set")
    assert choose_importer(folder, None).name == form
    rows = imported(folder)
    manifest = read_manifest(folder / "manifest.csv")
    assert all(manifest.locate(path) for path in rows.index)
    assert all(manifest.locate(path) for path in rows.lung_mask if path)
    assert (rows.dataset == "set").all() and (rows.sha256.str.len() == 64).all() and (rows.finding != "").all()
    assert set(FORMS) == {importer.name for importer in IMPORTERS} == set(get_args(Form))


def test_the_radiography_database_of_2021(tmp_path):
    rows = imported(miniatures.radiography_2021(tmp_path / "set"))
    assert len(rows) == 12
    first = rows.loc["COVID/images/COVID-1.png"]
    assert (first.label, first.finding, first.patient_id) == ("covid", "COVID", "")
    assert (first.lung_mask, first.width, first.height) == ("COVID/masks/COVID-1.png", "299", "299")
    assert rows.loc["Viral Pneumonia/images/Viral Pneumonia-2.png", ["label", "etiology"]].tolist() == [
        "pneumonia",
        "pneumonia_viral",
    ]
    assert rows.loc["Lung_Opacity/images/Lung_Opacity-2.png"].label == "Lung_Opacity"
    assert rows.loc["Normal/images/Normal-10.png"].label == "no_finding"


def test_the_radiography_database_of_2020(tmp_path):
    rows = imported(miniatures.radiography_2020(tmp_path / "set"))
    assert rows.label.value_counts().to_dict() == {"covid": 2, "no_finding": 2, "pneumonia": 2}
    assert rows.etiology.value_counts().to_dict() == {"covid": 2, "no_finding": 2, "pneumonia_viral": 2}
    assert rows.loc["NORMAL/NORMAL (1).png"].label == "no_finding"


def test_patients_of_the_children_are_in_the_names(tmp_path):
    rows = imported(miniatures.chest_xray_pneumonia(tmp_path / "set"))
    assert len(rows) == 10
    twice = rows[rows.patient_id == "person123"]
    assert twice.index.tolist() == ["train/PNEUMONIA/person123_virus_45.jpeg", "train/PNEUMONIA/person123_virus_46.jpeg"]
    assert rows.loc["train/NORMAL/IM-0656-0001-0001.jpeg"].patient_id == "IM-0656"
    assert rows.loc["train/NORMAL/NORMAL2-IM-0383-0001.jpeg"].patient_id == "NORMAL2-IM-0383"
    assert rows.loc["train/PNEUMONIA/person1_bacteria_2.jpeg"].etiology == "pneumonia_bacterial"
    assert rows.split.value_counts().to_dict() == {"train": 6, "test": 2, "valid": 2}
    assert (rows.age_group == "child").all()


def test_covidx_reads_the_latest_lists_and_leaves_out_what_is_missing(tmp_path, caplog):
    caplog.set_level("INFO")
    folder = miniatures.covidx(tmp_path / "set")
    summary = summary_of(folder)
    rows = read_manifest(folder / "manifest.csv").rows.set_index("path")
    assert "train_COVIDx8A.txt is read; train_COVIDx2.txt are not" in caplog.messages
    assert summary.left_out == {"missing": ["test/gone.png"]}
    assert rows.patient_id.value_counts()["419639-003251"] == 2
    assert rows.loc["data/train/MIDRC-RICORD-1C-419639-003251-46647-0.png", ["label", "source", "split"]].tolist() == [
        "covid",
        "ricord",
        "train",
    ]
    assert (summary.images, summary.splits) == (5, {"test": 1, "train": 4})
    (folder / "train_COVIDx9A.txt").write_text("one two\n")
    with pytest.raises(DataError, match=r"train_COVIDx9A\.txt: line 1: 2 words; COVIDx has patientid filename class"):
        imported(folder)


def test_cohens_x_rays_with_views_and_findings(tmp_path):
    rows = imported(miniatures.cohen(tmp_path / "set"))
    assert rows.index.tolist() == ["images/a.jpeg", "images/b.jpeg", "images/c.png", "images/d.jpg"]
    assert rows.label.tolist() == ["covid", "covid", "pneumonia", "no_finding"]
    assert rows.view.tolist() == ["PA", "AP Supine", "L", "PA"]
    assert rows.etiology.tolist() == ["covid", "covid", "pneumonia_bacterial", "no_finding"]
    assert rows.finding["images/c.png"] == "Pneumonia/Bacterial/Streptococcus"
    assert rows.patient_id.tolist() == ["2", "2", "17", "326b"]


def test_a_part_of_the_nih_images_with_patients_and_the_official_split(tmp_path):
    rows = imported(miniatures.nih_chestxray14(tmp_path / "set"))
    assert rows.index.tolist() == [
        "images_001/images/00000001_000.png",
        "images_001/images/00000002_000.png",
        "images_002/images/00000013_005.png",
        "images_002/images/00000013_006.png",
    ]
    assert rows.label.tolist() == ["Cardiomegaly", "no_finding", "pneumonia", "pneumonia"]
    assert rows.patient_id.tolist() == ["1", "2", "13", "13"]
    assert rows.split.tolist() == ["train", "train", "test", "test"]
    assert rows[["sex", "age", "view"]].iloc[2].tolist() == ["M", "60", "AP"]


def test_rsna_has_one_row_per_image(tmp_path):
    rows = imported(miniatures.rsna_pneumonia(tmp_path / "set"), {"Lung Opacity": "pneumonia"})
    assert rows.label.tolist() == ["No Lung Opacity / Not Normal", "no_finding", "pneumonia"]
    assert all(path == f"stage_2_train_images/{patient}.dcm" for path, patient in rows.patient_id.items())
    assert (rows.width.astype(int) > 0).all()


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_of_ones_own(darkcovid, tmp_path, delimiter):
    folder = tmp_path / "set"
    for name in ("a/1.png", "a/2.png", "b/3.jpg", "b/dup.png", "a/dup.png"):
        miniatures.image(folder / name)
    lines = [
        "file;diagnosis;case;view;note",
        "1.png;COVID-19;k1;PA;x",
        "a/2;Normal;k2;AP;",
        "3;Normal;k2;;",
        "gone.png;Normal;k3;;",
    ]
    (tmp_path / "list.csv").write_text("\n".join(lines).replace(";", delimiter) + "\n", encoding="utf-16")
    words = ["data", "import", folder, "--table", tmp_path / "list.csv", "--path-column", "file", "--label-column", "diagnosis"]
    darkcovid(*words, "--patient-column", "case")
    rows = read_manifest(folder / "manifest.csv").rows.set_index("path")
    assert rows.index.tolist() == ["a/1.png", "a/2.png", "b/3.jpg"]
    assert rows.label.tolist() == ["covid", "no_finding", "no_finding"]
    assert rows.patient_id.tolist() == ["k1", "k2", "k2"] and rows.view.tolist() == ["PA", "AP", ""]
    said = error_of(darkcovid(*words, "--patient-column", "who", "--force", code=2))
    assert "--patient-column who: " in said and "it has file, diagnosis, case, view, note" in said
    (tmp_path / "list.csv").write_text("file,diagnosis\ndup.png,x\n")
    assert "2 images are called so, such as a/dup.png and b/dup.png" in error_of(darkcovid(*words, "--force", code=3))


def test_folders_of_classes_keep_their_split(tmp_path):
    rows = imported(miniatures.class_folders(tmp_path / "set"))
    assert len(rows) == 12
    assert rows.loc["Test/Covid/images/1.png", ["label", "finding", "split"]].tolist() == ["covid", "Covid", "test"]
    assert rows.split.value_counts().to_dict() == {"train": 4, "valid": 4, "test": 4}


@pytest.mark.parametrize("name", [name for names in FORMS.values() for name in names])
def test_the_same_folder_gives_the_same_bytes(tmp_path, name):
    written = []
    for place in ("one", "two"):
        folder = getattr(miniatures, name)(tmp_path / place / "set")
        imported(folder)
        written.append((folder / "manifest.csv").read_bytes())
    assert written[0] == written[1] and b"\r" not in written[0]


def test_labels_are_mapped_and_a_label_that_does_not_occur_is_refused(tmp_path):
    folder = miniatures.radiography_2021(tmp_path / "set")
    rows = imported(folder, {"Lung_Opacity": "pneumonia"})
    assert rows.label.value_counts().to_dict() == {"pneumonia": 6, "covid": 3, "no_finding": 3}
    with pytest.raises(UsageError, match="--classes covid: no image has this label; the labels are: COVID, Lung_Opacity"):
        imported(folder, {"covid": "covid"})
    assert parse_classes("COVID=covid, Viral Pneumonia = pneumonia") == {"COVID": "covid", "Viral Pneumonia": "pneumonia"}
    for wrong in ("COVID", "=covid", "a=b,a=c"):
        with pytest.raises(UsageError, match="write LABEL=CLASS"):
            parse_classes(wrong)


@pytest.mark.parametrize(
    ("label", "name"),
    [("COVID-19", "covid"), ("Covid19", "covid"), ("NORMAL", "no_finding"), ("No Finding", "no_finding"), ("TB", "TB"),
     ("Viral Pneumonia", "pneumonia"), ("Lung_Opacity", "Lung_Opacity"), ("non-COVID", "non-COVID")],
)  # fmt: skip
def test_labels_that_are_known_by_other_names(label, name):
    assert default_class(label) == name


def test_what_is_no_image_or_lies_elsewhere_is_left_out(tmp_path):
    folder = miniatures.class_folders(tmp_path / "set")
    (folder / "train" / "Covid" / "images" / "3.png").write_bytes(b"no image")
    (folder / "train" / "Covid" / "images" / "4.png").symlink_to(tmp_path / "elsewhere.png")
    miniatures.image(tmp_path / "elsewhere.png")
    summary = summary_of(folder)
    assert summary.left_out == {
        "not an image": ["train/Covid/images/3.png"],
        "outside the folder": ["train/Covid/images/4.png"],
    }
    assert summary.images == 12


def test_the_command(darkcovid, tmp_path):
    folder = miniatures.chest_xray_pneumonia(tmp_path / "chest_xray")
    done = darkcovid("data", "import", folder)
    assert "read as chest-xray-pneumonia" in done.stderr and "NORMAL    -> no_finding: 5 images" in done.stderr
    assert "patients: 8 known; the patient of 0 images is not known" in done.stdout
    assert f"next: darkcovid run recipes/segmented.yaml --manifest {folder / 'manifest.csv'}" in done.stdout
    assert "it exists already" in error_of(darkcovid("data", "import", folder, code=2))
    summary = json.loads(darkcovid("data", "import", folder, "--force", "--json", "-o", tmp_path / "all.csv").stdout)
    assert (summary["images"], summary["form"]) == (10, "chest-xray-pneumonia")
    assert pd.read_csv(tmp_path / "all.csv").path[0].startswith("chest_xray/")
    elsewhere = tmp_path / "deep" / "other"
    elsewhere.mkdir(parents=True)
    assert "write it above the images" in error_of(darkcovid("data", "import", folder, "-o", elsewhere / "m.csv", code=2))
    assert not (elsewhere / "m.csv").exists()


def test_wrong_folders_are_one_line(darkcovid, tmp_path):
    assert "no such folder" in error_of(darkcovid("data", "import", tmp_path / "none", code=2))
    (tmp_path / "flat").mkdir()
    miniatures.image(tmp_path / "flat" / "a.png")
    assert "it holds a.png" in error_of(darkcovid("data", "import", tmp_path / "flat", code=2))
    (tmp_path / "empty").mkdir()
    assert "it holds nothing" in error_of(darkcovid("data", "import", tmp_path / "empty", code=2))


def test_a_path_that_is_not_there_is_no_other_image_of_the_same_name(tmp_path):
    folder = tmp_path / "set"
    for name in ("covid/0.png", "train/p1/v.png", "train/p2/v.png"):
        miniatures.image(folder / name)
    lines = ["path,label", "normal/0.png,normal", "CheXpert/train/p1/v.png,normal", "train/p3/v.png,normal"]
    (tmp_path / "list.csv").write_text("\n".join(lines) + "\n")
    importer = table_importer(tmp_path / "list.csv", "path", "label", None)
    summary = summary_of(folder, importer)
    assert read_manifest(folder / "manifest.csv").rows.path.tolist() == ["train/p1/v.png"]
    assert summary.left_out == {"missing": ["normal/0.png", "train/p3/v.png"]}


def test_a_table_s_own_patients_are_kept_and_its_sizes_are_measured_again(tmp_path):
    folder = tmp_path / "set"
    miniatures.image(folder / "a.png")
    miniatures.image(folder / "b.png")
    lines = ["path,label,patient_id,width,height,lung_mask", "a.png,covid,p7,9,9,", "b.png,covid,p8,9,9,/elsewhere/m.png"]
    (tmp_path / "list.csv").write_text("\n".join(lines) + "\n")
    summary = summary_of(folder, table_importer(tmp_path / "list.csv", "path", "label", None))
    rows = read_manifest(folder / "manifest.csv").rows
    assert rows[["patient_id", "width", "height"]].to_numpy().tolist() == [["p7", "40", "32"]]
    assert summary.left_out == {"its lung mask is missing or outside the folder": ["b.png"]}


def test_more_classes_than_kermanys_are_class_folders(tmp_path):
    folder = miniatures.chest_xray_pneumonia(tmp_path / "set")
    miniatures.image(folder / "train" / "COVID19" / "a.jpg")
    assert choose_importer(folder, None).name == "class-folders"
    assert imported(folder).label.value_counts()["covid"] == 1


def test_images_without_a_class_folder_and_folders_that_are_links_are_said(tmp_path, caplog):
    caplog.set_level("INFO")
    folder = miniatures.class_folders(tmp_path / "set")
    miniatures.image(folder / "logo.png")
    (folder / "train" / "scan.tif").write_bytes(b"II*\0")
    (folder / "linked").symlink_to(tmp_path)
    summary = summary_of(folder)
    assert summary.left_out == {"without a label": ["logo.png"]}
    assert any("folders that are links are not entered: linked" in message for message in caplog.messages)
    assert any("left out, being neither PNG, JPEG nor DICOM: " in message and ".tif" in message for message in caplog.messages)


def test_a_link_within_the_folder_keeps_its_own_path(tmp_path):
    folder = tmp_path / "set"
    miniatures.image(folder / "b" / "x.png")
    (folder / "a").mkdir()
    (folder / "a" / "x.png").symlink_to("../b/x.png")
    summary_of(folder, output=tmp_path / "manifest.csv")
    assert read_manifest(tmp_path / "manifest.csv").rows.path.tolist() == ["set/a/x.png", "set/b/x.png"]


@pytest.mark.parametrize("form", ["rsna-pneumonia", "covidx", "nih-chestxray14"])
def test_a_form_that_the_folder_has_not_is_refused(tmp_path, form):
    with pytest.raises(UsageError, match=f"--form {form}: .* does not have the files of"):
        choose_importer(miniatures.class_folders(tmp_path / "set"), form)


def test_an_import_needs_no_torch(tmp_path):
    folder = miniatures.class_folders(tmp_path / "set")
    code = (
        "import sys; from pathlib import Path; from darkcovid.cli.import_data import import_images; "
        f"import_images(Path({str(folder)!r})); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"

"""What each of the larger public datasets records of its images, read from a miniature of its folder."""

import json

import pytest

from darkcovid.core.errors import DataError
from darkcovid.data.import_folder import import_folder, list_images
from darkcovid.data.importers import choose_importer
from darkcovid.data.importers.labels import known_class
from darkcovid.data.importers.read_table import table_rows
from darkcovid.data.manifest import read_manifest

from ...commands import error_of
from . import miniatures


def imported(folder, uncertain="exclude", classes=None):
    importer = choose_importer(folder, None)
    rows = list_images(folder, importer, classes or {}, uncertain)
    summary = import_folder(folder, importer, rows, folder / "manifest.csv")
    return read_manifest(folder / "manifest.csv").rows.set_index("path"), summary


def test_chexperts_uncertain_findings_count_as_is_said(tmp_path):
    folder = miniatures.chexpert(tmp_path / "CheXpert-v1.0")
    first, second = "train/patient00001/study1/view1_frontal.jpg", "train/patient00002/study1/view1_frontal.jpg"
    rows, summary = imported(folder)
    assert summary.left_out == {"its class depends on an uncertain finding (see --uncertain)": [second]}
    assert rows.loc[first, ["label", "finding", "patient_id", "sex", "age", "view", "split"]].tolist() == [
        *("no_finding", "No Finding|Support Devices", "patient00001", "F", "68", "AP", "train"),
    ]
    assert rows.loc["train/patient00002/study1/view2_lateral.jpg", ["label", "view"]].tolist() == ["pneumonia", "L"]
    other = rows.loc["train/patient00002/study2/view1_frontal.jpg"]  # uncertain of what is no class of its own
    assert (other.label, other.uncertain_as) == ("Lung Opacity|Fracture", "exclude")
    assert other.uncertain_findings == "Cardiomegaly|Edema|Consolidation|Atelectasis|Pleural Effusion"
    assert rows.loc["valid/patient64541/study1/view1_frontal.jpg", "split"] == "valid"
    for uncertain, label in (("positive", "pneumonia"), ("negative", "Lung Opacity|Fracture")):
        rows, summary = imported(folder, uncertain)
        assert (rows.loc[second].label, rows.loc[second].uncertain_as) == (label, uncertain) and not summary.left_out


def test_mimics_tables_are_joined_by_study(tmp_path):
    rows, _ = imported(miniatures.mimic_cxr_jpg(tmp_path / "set"))
    assert rows.label.tolist() == ["no_finding", "no_finding", "pneumonia"]
    assert rows.patient_id.tolist() == ["10000032", "10000032", "11046737"]
    assert (rows["view"].tolist(), rows["split"].tolist()) == (["PA", "L", "AP"], ["train", "train", "valid"])
    assert rows.index[0] == "files/p10/p10000032/s50414267/02aa804e-bde0afdd-112c0b34-7bc16630-4e384014.jpg"
    (tmp_path / "set" / "mimic-cxr-2.0.0-chexpert.csv.gz").unlink()
    with pytest.raises(DataError, match=r"no mimic-cxr-2\.0\.0-chexpert\.csv"):
        imported(tmp_path / "set")


def test_padchests_lists_become_findings(tmp_path):
    rows, _ = imported(miniatures.padchest(tmp_path / "set"))
    assert rows[["label", "finding", "view", "sex", "age"]].values.tolist() == [
        ["pneumonia", "infiltrates|pneumonia", "L", "M", "86"],
        ["no_finding", "normal", "PA", "F", "84"],
    ]
    assert rows.patient_id.tolist()[1] == "839860488694292331637988235681460987"


def test_two_of_three_radiologists_decide(tmp_path):
    rows, _ = imported(miniatures.vindr_cxr(tmp_path / "physionet"))
    assert rows.finding.to_dict() == {
        "test/008b3176a7248a0a189b5731ac8d2e95.dicom": "Pneumonia",
        "train/000434271f63.dicom": "No finding",
        "train/0005e8e3701d.dicom": "Cardiomegaly|Pneumonia",
    }
    assert rows["split"].tolist() == ["test", "train", "train"]
    rows, _ = imported(miniatures.vindr_kaggle(tmp_path / "kaggle"))
    assert rows.finding.tolist() == ["Mass", "No finding"]  # one radiologist's two boxes are one vote


def test_bimcvs_sessions(tmp_path):
    rows, _ = imported(miniatures.bimcv_covid19(tmp_path / "set"))
    assert rows.label.tolist() == ["covid", "covid", "no_finding"]
    assert rows.patient_id.tolist() == ["sub-S03047", "sub-S03047", "sub-S03048"]
    assert rows["view"].tolist() == ["AP", "L", "PA"]


def test_small_covid_sets(tmp_path):
    rows, summary = imported(miniatures.covidgr(tmp_path / "covidgr"))
    assert rows.label.value_counts().to_dict() == {"covid": 3, "no_finding": 3} and summary.unknown_patients == 6
    rows, _ = imported(miniatures.hannover(tmp_path / "hannover"))
    assert rows.patient_id.value_counts().to_dict() == {"042f06a9": 2, "0f2b9fbd": 1}
    assert rows.loc["png/c9280a30.png", ["label", "view", "sex", "offset"]].tolist() == ["covid", "AP", "M", "-2"]
    rows, summary = imported(miniatures.actualmed(tmp_path / "actualmed"))
    assert rows.label.tolist() == ["no_finding", "covid"]
    assert summary.left_out == {"without a label": ["images/CR.1.2.840.1.20200313.png"]}
    rows, summary = imported(miniatures.figure_1(tmp_path / "figure"))
    assert rows.patient_id.to_dict() == {"images/COVID-00001.jpg": "COVID-00001", "images/COVID-00003a.png": "COVID-00003"}
    assert (rows["view"] == "AP").all() and len(summary.left_out["without a label"]) == 2


def test_sets_with_masks(tmp_path):
    rows, summary = imported(miniatures.covid_qu_ex(tmp_path / "quex"))
    assert len(rows) == 9 and summary.masks == 8 and summary.splits == {"test": 3, "train": 3, "valid": 3}
    assert rows.label.value_counts().to_dict() == {"covid": 3, "pneumonia": 3, "no_finding": 3}
    place = "Lung Segmentation Data/Lung Segmentation Data/Val/COVID-19"
    assert rows.loc[f"{place}/images/covid-19_1.png"].lung_mask == f"{place}/lung masks/covid-19_1.png"
    rows, _ = imported(miniatures.qata_cov19(tmp_path / "qata"))
    assert (rows.label == "covid").all() and (rows.lung_mask == "").all()
    assert rows.patient_id.value_counts().to_dict() == {"": 2, "sub-S09345": 2}
    assert rows["split"].value_counts().to_dict() == {"train": 2, "test": 2}


def test_siims_studies(tmp_path):
    rows, _ = imported(miniatures.siim_covid19(tmp_path / "set"))
    assert rows.label.tolist() == ["covid", "no_finding", "no_finding"]
    assert rows.patient_id.tolist() == ["5776db0cec75", "ff0879eb20ed", "ff0879eb20ed"]


@pytest.mark.parametrize(
    ("label", "classes", "name"),
    [
        ("Pneumonia|Effusion", {}, "pneumonia"),
        ("Effusion|Mass", {}, None),
        ("COVID 19|pneumonia", {}, "covid"),
        ("Pneumonia|No Finding", {}, None),
        ("Effusion|Mass", {"Mass": "tumor"}, "tumor"),
        ("Effusion|Mass", {"Effusion|Mass": "both", "Mass": "tumor"}, "both"),
        ("", {}, None),
    ],
)
def test_the_class_of_several_findings(label, classes, name):
    assert known_class(label, classes) == name


def test_an_update_keeps_what_was_edited_and_adds_what_is_new(darkcovid, tmp_path):
    folder = miniatures.hannover(tmp_path / "set")
    darkcovid("data", "import", folder)
    first = (folder / "manifest.csv").read_bytes()
    darkcovid("data", "import", folder, "--update")
    assert (folder / "manifest.csv").read_bytes() == first
    edited = first.decode().replace("png/5f619d7e.png,covid,0f2b9fbd", "png/5f619d7e.png,no_finding,me")
    (folder / "manifest.csv").write_text(edited)
    (folder / "png" / "b343e657.png").unlink()
    miniatures.image(folder / "png" / "new00001.png", 99)
    with (folder / "data.csv").open("a") as file:
        file.write("77777777,new00001,f,,,,3,,,,DX,pa,\n")
    summary = json.loads(darkcovid("data", "import", folder, "--update", "--json").stdout)
    rows = read_manifest(folder / "manifest.csv").rows.set_index("path")
    assert rows.index.tolist() == ["png/5f619d7e.png", "png/c9280a30.png", "png/new00001.png"] and summary["images"] == 3
    assert rows.loc["png/5f619d7e.png", ["label", "patient_id"]].tolist() == ["no_finding", "me"]
    assert rows.loc["png/new00001.png", ["label", "patient_id", "view"]].tolist() == ["covid", "77777777", "PA"]
    assert "--update keeps its rows" in error_of(darkcovid("data", "import", folder, code=2))


def test_a_table_of_another_dataset_is_refused(tmp_path):
    table = tmp_path / "a.csv"
    table.write_text("x,y\n1,2\n")
    with pytest.raises(DataError, match=r"a\.csv: no column 'ImageID'; it has x, y"):
        list(table_rows(table, ("ImageID",)))
    damaged = tmp_path / "b.csv.gz"
    damaged.write_bytes(b"\x1f\x8b\x08\x00 no gzip")
    with pytest.raises(DataError, match=r"b\.csv\.gz: not a readable table"):
        list(table_rows(damaged, ("x",)))


def test_the_command_says_how_uncertain_findings_count(darkcovid, tmp_path):
    folder = miniatures.chexpert(tmp_path / "set")
    assert "Lung Opacity|Fracture                   -> left out: 1 images" in darkcovid("data", "import", folder).stderr
    (folder / "manifest.csv").unlink()
    done = darkcovid("data", "import", folder, "--uncertain", "positive")
    assert "Lung Opacity|Consolidation" not in done.stdout and "6 images" in done.stdout
    assert "exclude" in error_of(darkcovid("data", "import", folder, "--uncertain", "maybe", "--force", code=2))

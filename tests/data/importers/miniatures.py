"""The folders that people download, in small: names, columns and quirks as published, images of a few pixels."""

import csv
from pathlib import Path

from PIL import Image


def image(path: Path, level: int = 100, size: tuple[int, int] = (40, 32), mode: str = "L") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, level).convert(mode).save(path)


def radiography_2021(folder: Path) -> Path:
    """COVID-19_Radiography_Dataset of 2021: 299 px PNG images, masks of 256 px, metadata in Excel beside the folders."""
    for number, name in enumerate(("COVID", "Lung_Opacity", "Normal", "Viral Pneumonia")):
        for index in (1, 2, 10):
            image(folder / name / "images" / f"{name}-{index}.png", 10 * number + index, (299, 299))
            image(folder / name / "masks" / f"{name}-{index}.png", 255, (256, 256), "RGB")
        (folder / f"{name}.metadata.xlsx").write_bytes(b"PK\x03\x04 not read")
    (folder / "README.md.txt").write_text("COVID-19 CHEST X-RAY DATABASE")
    return folder


def radiography_2020(folder: Path) -> Path:
    """The first release: 1,024 px PNG images named `COVID-19 (1).png`."""
    for number, name in enumerate(("COVID-19", "NORMAL", "Viral Pneumonia")):
        for index in (1, 2):
            image(folder / name / f"{name} ({index}).png", 10 * number + index, (64, 64), "RGB")
        (folder / f"{name}.metadata.xlsx").write_bytes(b"PK\x03\x04 not read")
    return folder


def chest_xray_pneumonia(folder: Path) -> Path:
    """chest_xray of Kaggle: a copy of itself one level down is left out here, what macOS leaves behind is in."""
    names = {
        "train/NORMAL": ["IM-0115-0001.jpeg", "IM-0656-0001-0001.jpeg", "NORMAL2-IM-0383-0001.jpeg"],
        "train/PNEUMONIA": ["person123_virus_45.jpeg", "person123_virus_46.jpeg", "person1_bacteria_2.jpeg"],
        "test/NORMAL": ["IM-0001-0001.jpeg"],
        "test/PNEUMONIA": ["person1_virus_6.jpeg"],
        "val/NORMAL": ["NORMAL2-IM-1427-0001.jpeg"],
        "val/PNEUMONIA": ["person1946_bacteria_4874.jpeg"],
    }
    for number, (place, files) in enumerate(names.items()):
        for index, name in enumerate(files):
            image(folder / place / name, 10 * number + index)
            junk = folder / "__MACOSX" / place / f"._{name}"
            junk.parent.mkdir(parents=True, exist_ok=True)
            junk.write_bytes(b"\x00\x05\x16\x07")
    return folder


COVIDX_LINES = {
    "train_COVIDx2.txt": ["1 old.png normal"],
    "train_COVIDx8A.txt": [
        "419639-003251 MIDRC-RICORD-1C-419639-003251-46647-0.png COVID-19 ricord",
        "419639-003251 MIDRC-RICORD-1C-419639-003251-46647-1.png COVID-19 ricord",
        "47c78742-4998-4878-aec4-37b11b1354ac 47c78742-4998-4878-aec4-37b11b1354ac.png normal rsna",
        "8 SARS-10.1148rg.242035193-g04mr34g05x-Fig5-day9.jpeg pneumonia cohen",
    ],
    "test_COVIDx8A.txt": ["SITE2-000265 MIDRC-RICORD-1C-SITE2-000265-99793-1.png COVID-19 ricord", "3 gone.png normal rsna"],
}


def covidx(folder: Path) -> Path:
    """COVIDx: several versions of the lists, images in `data/train` and `data/test`, one of them missing."""
    for number, (name, lines) in enumerate(COVIDX_LINES.items()):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("\n".join(lines) + "\n")
        for index, line in enumerate(lines):
            if "gone" not in line:
                image(folder / "data" / name.split("_")[0] / line.split()[1], 10 * number + index)
    return folder


COHEN_COLUMNS = (
    *("patientid", "offset", "sex", "age", "finding", "RT_PCR_positive", "survival", "intubated", "intubation_present"),
    *("went_icu", "in_icu", "needed_supplemental_O2", "extubated", "temperature", "pO2_saturation", "leukocyte_count"),
    *("neutrophil_count", "lymphocyte_count", "view", "modality", "date", "location", "folder", "filename", "doi", "url"),
    *("license", "clinical_notes", "other_notes", ""),
)
COHEN_ROWS = [
    {"patientid": "2", "sex": "M", "age": "65", "finding": "Pneumonia/Viral/COVID-19", "view": "PA", "filename": "a.jpeg"},
    {"patientid": "2", "sex": "M", "age": "65", "finding": "Pneumonia/Viral/COVID-19", "view": "AP Supine", "filename": "b.jpeg"},
    {"patientid": "17", "sex": "", "age": "", "finding": "Pneumonia/Bacterial/Streptococcus", "view": "L", "filename": "c.png"},
    {"patientid": "326b", "sex": "F", "age": "30", "finding": "No Finding", "view": "PA", "filename": "d.jpg"},
    {"patientid": "9", "finding": "Pneumonia/Viral/COVID-19", "view": "Axial", "modality": "CT", "filename": "e.png"},
]


def cohen(folder: Path) -> Path:
    """covid-chestxray-dataset: `metadata.csv` with a column without a name, notes with line breaks, X-rays and CT slices."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COHEN_COLUMNS)
        table.writeheader()
        for number, row in enumerate(COHEN_ROWS):
            notes = {"clinical_notes": 'fever, "cough"\nand pain', "license": "CC BY-NC-SA"}
            table.writerow({"modality": "X-ray", "folder": "images", **notes, **row})
            image(folder / "images" / row["filename"], 20 * number)
    return folder


def class_folders(folder: Path) -> Path:
    """Folders of classes below folders of splits, with a mask folder and other files in between."""
    for number, split in enumerate(("train", "val", "Test")):
        for name in ("Covid", "Normal"):
            for index in (1, 2):
                image(folder / split / name / "images" / f"{index}.png", 40 * number + index)
    image(folder / "train" / "Covid" / "masks" / "1.png", 255)
    (folder / "train" / "notes.txt").write_text("notes")
    return folder


NIH_HEADER = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position"
NIH_HEADER += ",OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
NIH_ROWS = [
    "00000001_000.png,Cardiomegaly,0,1,58,M,PA,2682,2749,0.143,0.143,",
    "00000002_000.png,No Finding,0,2,81,M,PA,2500,2048,0.171,0.171,",
    "00000013_005.png,Pneumonia,5,13,60,M,AP,2048,2500,0.171,0.171,",
    "00000013_006.png,Emphysema|Pneumonia,6,13,60,M,AP,2048,2500,0.171,0.171,",
    "00030805_000.png,No Finding,0,30805,27,M,PA,2048,2500,0.171,0.171,",
]


def nih_chestxray14(folder: Path) -> Path:
    """A part of the images in two of the twelve folders; commas in the header's brackets, as published."""
    for number, row in enumerate(NIH_ROWS[:4]):
        image(folder / f"images_00{1 + number // 2}" / "images" / row.split(",")[0], 20 * number)
    (folder / "Data_Entry_2017.csv").write_text("\n".join([NIH_HEADER, *NIH_ROWS]) + "\n")
    (folder / "train_val_list.txt").write_text("00000001_000.png\n00000002_000.png\n")
    (folder / "test_list.txt").write_text("00000013_005.png\n00000013_006.png")
    return folder


RSNA_ROWS = [
    "0004cfab-14fd-4e49-80ba-63a80b6bddd6,No Lung Opacity / Not Normal",
    "00313ee0-9eaa-42f4-b0ab-c148ed3241cd,Normal",
    "00436515-870c-4b36-a041-de91049b9ab4,Lung Opacity",
    "00436515-870c-4b36-a041-de91049b9ab4,Lung Opacity",
]


def rsna_pneumonia(folder: Path) -> Path:
    """DICOM files named after the patient, and a row for each box."""
    from ..test_dicom import dataset, written

    (folder / "stage_2_train_images").mkdir(parents=True)
    (folder / "stage_2_test_images").mkdir()
    for number, row in enumerate(dict.fromkeys(RSNA_ROWS)):
        content = written(dataset())
        (folder / "stage_2_train_images" / f"{row.split(',')[0]}.dcm").write_bytes(content + bytes(2 * number))
    (folder / "stage_2_detailed_class_info.csv").write_text("\n".join(["patientId,class", *RSNA_ROWS]) + "\n")
    (folder / "stage_2_train_labels.csv").write_text("patientId,x,y,width,height,Target\n")
    return folder

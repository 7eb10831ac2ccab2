"""The folders that people download, in small: names, columns and quirks as published, images of a few pixels."""

import csv
import gzip
from pathlib import Path

import numpy as np
from PIL import Image

from darkcovid.data.unpack import unpack


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


CHEXPERT_HEADER = (
    "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,Edema,"
    "Consolidation,Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices"
)
CHEXPERT_ROWS = {
    "train": [
        "CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,1.0,,,,,,,,,0.0,,,,1.0",
        "CheXpert-v1.0-small/train/patient00002/study2/view1_frontal.jpg,Female,87,Frontal,AP,,,-1.0,1.0,,-1.0,-1.0,,-1.0,,-1.0,,1.0,",
        "CheXpert-v1.0-small/train/patient00002/study1/view1_frontal.jpg,Female,83,Frontal,PA,,,,1.0,,,-1.0,-1.0,,,,,1.0,",
        "CheXpert-v1.0-small/train/patient00002/study1/view2_lateral.jpg,Female,83,Lateral,,,,,1.0,,,,1.0,,,,,1.0,",
        "CheXpert-v1.0-small/train/patient00003/study1/view1_frontal.jpg,Unknown,0,Frontal,AP,,,,,,1.0,,,,0.0,,,,",
    ],
    "valid": [
        "CheXpert-v1.0-small/valid/patient64541/study1/view1_frontal.jpg,Male,73,Frontal,AP,0.0,1.0,0.0,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0"
    ],
}


def chexpert(folder: Path) -> Path:
    """CheXpert-v1.0-small: paths begin with the name of the released folder, whatever it is called here; files of one name."""
    for split, rows in CHEXPERT_ROWS.items():
        for number, row in enumerate(rows):
            image(folder / row.split(",")[0].partition("/")[2], 30 * number + len(split))
        (folder / f"{split}.csv").write_text("\n".join([CHEXPERT_HEADER, *rows]) + "\n")
    return folder


MIMIC_METADATA = [
    "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,StudyDate",
    "02aa804e-bde0afdd-112c0b34-7bc16630-4e384014,10000032,50414267,CHEST (PA AND LAT),PA,3056,2544,21800506",
    "174413ec-4ec4c1f7-34ea26b7-c5f994f8-79ef1962,10000032,50414267,CHEST (PA AND LAT),LATERAL,3056,2544,21800506",
    "ea030e7a-2e3b1346-bc518786-7a8fd698-f673b44c,11046737,50051329,CHEST (PORTABLE AP),AP,2539,3050,21190218",
    "ffffffff-00000000-00000000-00000000-00000000,10000764,57375967,CHEST,AP,2539,3050,21320112",
]
MIMIC_LABELS = [
    "subject_id,study_id,Atelectasis,Cardiomegaly,Consolidation,Edema,No Finding,Pneumonia,Support Devices",
    "10000032,50414267,,,,,1.0,,",
    "11046737,50051329,-1.0,,,,,1.0,",
    "10000764,57375967,,,1.0,,,-1.0,",
]
MIMIC_SPLITS = [
    "dicom_id,study_id,subject_id,split",
    "02aa804e-bde0afdd-112c0b34-7bc16630-4e384014,50414267,10000032,train",
    "174413ec-4ec4c1f7-34ea26b7-c5f994f8-79ef1962,50414267,10000032,train",
    "ea030e7a-2e3b1346-bc518786-7a8fd698-f673b44c,50051329,11046737,validate",
]


def mimic_cxr_jpg(folder: Path) -> Path:
    """Tables gzipped but one, images below two levels of patients; one image is not downloaded."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, row in enumerate(MIMIC_METADATA[1:4]):
        dicom, subject, study = row.split(",")[:3]
        image(folder / f"files/p{subject[:2]}/p{subject}/s{study}/{dicom}.jpg", 40 * number)
    tables = {"metadata": MIMIC_METADATA, "chexpert": MIMIC_LABELS, "split": MIMIC_SPLITS}
    for name, lines in tables.items():
        with gzip.open(folder / f"mimic-cxr-2.0.0-{name}.csv.gz", "wt") as file:
            file.write("\n".join(lines) + "\n")
    return folder


PADCHEST_HEADER = (
    ",ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,ViewPosition_DICOM,Projection,"
    "MethodProjection,Pediatric,Modality_DICOM,Manufacturer_DICOM,Report,MethodLabel,Labels,Localizations"
)
PADCHEST_ROWS = [
    "0,20536686640136348236148679891455886468_k6ga29.png,0,20140915,205366,839860488694292331637988235681460987,1930.0,F,"
    "POSTEROANTERIOR,PA,Manual review of DICOM fields,No,CR,ImagingDynamicsCompanyLtd,sin hallazgos,Physician,['normal'],[]",
    "1,135803415504923515076821959678074435083_fzis7b.png,0,20150914,135803,313572750430997347502932654319389875,1929.0,M,"
    "LATERAL,L,Manual,No,CR,ImagingDynamicsCompanyLtd,cambios,RNN_model,\"['pneumonia', 'infiltrates', 'pneumonia ']\",[]",
    "2,gone_abc123.png,3,20140915,205,839860488694292331637988235681460987,1930.0,F,"
    "AP,AP_horizontal,Manual,No,DX,Philips,x,Physician,['unchanged'],[]",
]


def padchest(folder: Path) -> Path:
    """Numbered folders, labels as Python prints lists, commas in the middle of cells; one image is not downloaded."""
    for number, row in enumerate(PADCHEST_ROWS[:2]):
        image(folder / "0" / row.split(",")[1], 50 * number)
    table = folder / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
    table.write_text("\n".join([PADCHEST_HEADER, *PADCHEST_ROWS]) + "\n")
    return folder


BIMCV_ROWS = [
    ["", "PatientID", "ReportID", "Report", "Labels", "Localizations"],
    ["0", "sub-S03047", "ses-E06164", "neumonia", "['pneumonia', 'COVID 19', 'COVID 19']", "['loc basal']"],
    ["1", "sub-S03048", "ses-E08025", "normal", "['normal']", "[]"],
    ["2", "sub-S03049", "ses-E07985", "tc", "['normal']", "[]"],
]


def bimcv_covid19(folder: Path) -> Path:
    """Sessions below a folder of the archive's part, a side car for each image, a CT volume and a session without a report."""
    base = folder / "bimcv_part_1"
    image(base / "sub-S03047/ses-E06164/mod-rx/sub-S03047_ses-E06164_run-1_bp-chest_vp-ap_dx.png", 20)
    image(base / "sub-S03047/ses-E06164/mod-rx/sub-S03047_ses-E06164_run-1_bp-chest_vp-lateral_dx.png", 30)
    image(base / "sub-S03048/ses-E08025/mod-rx/sub-S03048_ses-E08025_run-1_bp-chest_vp-pa_cr.png", 40)
    image(base / "sub-S09999/ses-E00001/mod-rx/sub-S09999_ses-E00001_run-1_bp-chest_vp-pa_cr.png", 50)
    (base / "sub-S03047/ses-E06164/mod-rx/sub-S03047_ses-E06164_run-1_bp-chest_vp-ap_dx.json").write_text("{}")
    volume = base / "sub-S03049/ses-E07985/mod-ct/sub-S03049_ses-E07985_run-2_bp-chest_ct.nii.gz"
    volume.parent.mkdir(parents=True)
    volume.write_bytes(b"\x1f\x8b")
    labels = folder / "derivatives" / "labels" / "labels_covid19_posi.tsv"
    labels.parent.mkdir(parents=True)
    labels.write_text("\n".join("\t".join(row) for row in BIMCV_ROWS) + "\n")
    return folder


def covidgr(folder: Path) -> Path:
    """COVIDGR-1.0: the folders P and N."""
    for number, name in enumerate(("P", "N")):
        for index in (1, 2, 10):
            image(folder / name / f"{name}{index:03d}.jpg", 60 * number + index)
    return folder


HANNOVER_ROWS = [
    "patient_id,image_id,sex,age,size,weight,admission_offset,icu_admission_offset,icu_release_offset,death_offset,modality,projection,crp_offset",
    "042f06a9,b343e657,m,,,,0,0.0,4.0,,CR,ap,0.0",
    "042f06a9,c9280a30,m,,,,-2,-2.0,2.0,,CR,ap,0.0",
    "0f2b9fbd,5f619d7e,f,,,,0,,,,DX,pa,0.0",
]


def hannover(folder: Path) -> Path:
    for number, row in enumerate(HANNOVER_ROWS[1:]):
        image(folder / "png" / f"{row.split(',')[1]}.png", 30 * number)
    (folder / "data.csv").write_text("\n".join(HANNOVER_ROWS) + "\n")
    return folder


CHUNG_HEADER = "patientid,offset,sex,age,finding,survival,temperature,pO2 saturation,view,modality,{},artifacts/distortion,notes"
ACTUALMED_ROWS = [
    'ANON196,,,,,,,,PA,X-ray,CR.1.2.840.1.20200313.png,,"Inconclusive, date taken (YYYYMMDD): 20200313"',
    'ANON56,,,,No finding,,,,PA,X-ray,CR.1.2.840.1.20200317.png,,"Negative (covid-19 viral infection is excluded)"',
    "ANON196,,,,COVID-19,,,,AP,X-ray,CR.1.2.840.1.20200318.png,,",
]
FIGURE_1_ROWS = [
    'COVID-00001,13,M,33,COVID-19,,,58,AP erect,X-ray,COVID-0001.jpeg,,"fever, 58\xb0"',
    "COVID-00003a,8,M,28,COVID-19,,39.1,90,AP erect,X-ray,COVID-0024.jpeg,,",
    "COVID-00003b,8,M,28,,,39.1,90,AP erect,X-ray,COVID-0025.jpeg,,",
    "COVID-00005,,,,,,,,,X-ray,,,",
]


def actualmed(folder: Path) -> Path:
    for number, row in enumerate(ACTUALMED_ROWS):
        image(folder / "images" / row.split(",")[10], 30 * number)
    (folder / "metadata.csv").write_text("\n".join([CHUNG_HEADER.format("imagename"), *ACTUALMED_ROWS]) + "\n")
    return folder


def figure_1(folder: Path) -> Path:
    """JPEG and PNG, a letter for each image of a patient, notes in Latin-1."""
    for number, row in enumerate(FIGURE_1_ROWS):
        image(folder / "images" / f"{row.split(',')[0]}{('.jpg', '.png')[number % 2]}", 30 * number)
    lines = "\n".join([CHUNG_HEADER.format("originalfile"), *FIGURE_1_ROWS]) + "\n"
    (folder / "metadata.csv").write_bytes(lines.encode("latin-1"))
    return folder


def covid_qu_ex(folder: Path) -> Path:
    """Kaggle's archive: each data folder within one of its own name, lung and infection masks, one mask missing."""
    for part, masks in (
        ("Lung Segmentation Data", ["lung masks"]),
        ("Infection Segmentation Data", ["lung masks", "infection masks"]),
    ):
        for number, split in enumerate(("Train", "Val", "Test")):
            for level, name in enumerate(("COVID-19", "Non-COVID", "Normal")):
                place = folder / part / part / split / name
                image(place / "images" / f"{name.lower()}_{number}.png", 70 * number + 20 * level + 1, (256, 256))
                for mask in masks:
                    if (split, name) != ("Test", "Normal"):
                        image(place / mask / f"{name.lower()}_{number}.png", 255, (256, 256))
    return folder


def qata_cov19(folder: Path) -> Path:
    for number, split in enumerate(("Train Set", "Test Set")):
        for name in (f"covid_{number}.png", f"sub-S09345_ses-E25017_run-{number}_bp-chest_vp-ap_dx.png"):
            image(folder / "QaTa-COV19-v2" / split / "Images" / name, 40 * number + len(name))
            image(folder / "QaTa-COV19-v2" / split / "Ground-truths" / f"mask_{name}", 255)
    return folder


def siim_covid19(folder: Path) -> Path:
    """DICOM files in folders of study and series, a study with two images, a test set without labels."""
    from ..test_dicom import dataset, written

    places = ["train/5776db0cec75/81456c9c5423/000a312787f2", "train/ff0879eb20ed/d8a644cc4f93/000c3a3f293f"]
    places += ["train/ff0879eb20ed/d8a644cc4f93/0012ff7358bc", "test/00188a671292/3eb5a506ccf3/3dcdfc352a06"]
    for number, place in enumerate(places):
        file = folder / f"{place}.dcm"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(written(dataset()) + bytes(2 * number))
    header = "id,Negative for Pneumonia,Typical Appearance,Indeterminate Appearance,Atypical Appearance"
    (folder / "train_study_level.csv").write_text(f"{header}\n5776db0cec75_study,0,1,0,0\nff0879eb20ed_study,1,0,0,0\n")
    (folder / "train_image_level.csv").write_text("id,boxes,label,StudyInstanceUID\n")
    return folder


VINDR_HEADER = "image_id,rad_id,Aortic enlargement,Cardiomegaly,Pneumonia,No finding"
VINDR_ROWS = ["000434271f63,R1,0,0,0,1", "000434271f63,R2,0,0,0,1", "000434271f63,R3,1,0,0,0"]
VINDR_ROWS += ["0005e8e3701d,R1,0,1,1,0", "0005e8e3701d,R8,0,0,1,0", "0005e8e3701d,R9,0,1,0,0", "gone,R1,0,0,0,1"]


def vindr_cxr(folder: Path) -> Path:
    """PhysioNet's folder: three radiologists per training image, the test set's consensus."""
    from ..test_dicom import dataset, written

    for number, place in enumerate(("train/000434271f63", "train/0005e8e3701d", "test/008b3176a7248a0a189b5731ac8d2e95")):
        file = folder / f"{place}.dicom"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(written(dataset()) + bytes(2 * number))
    (folder / "annotations").mkdir()
    (folder / "annotations" / "image_labels_train.csv").write_text("\n".join([VINDR_HEADER, *VINDR_ROWS]) + "\n")
    test = VINDR_HEADER.replace("rad_id,", "") + "\n008b3176a7248a0a189b5731ac8d2e95,0,0,1,0\n"
    (folder / "annotations" / "image_labels_test.csv").write_text(test)
    return folder


def vindr_kaggle(folder: Path) -> Path:
    """The part of a Kaggle challenge: a row for each box."""
    for number, name in enumerate(("9a5094b2563a", "051132a778e6")):
        image(folder / "train" / f"{name}.png", 50 * number)
    rows = ["9a5094b2563a,No finding,14,R4,,,,", "9a5094b2563a,No finding,14,R10,,,,", "9a5094b2563a,No finding,14,R5,,,,"]
    rows += [
        "051132a778e6,Consolidation,4,R8,1,2,3,4",
        "051132a778e6,Consolidation,4,R8,5,6,7,8",
        "051132a778e6,Mass,9,R9,1,2,3,4",
    ]
    rows += ["051132a778e6,Mass,9,R10,1,2,3,4"]
    header = "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max"
    (folder / "train.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder


def pneumoniamnist_file(path: Path, **changed) -> Path:
    """pneumoniamnist.npz: uint8 images of 28 pixels and a column of labels, 0 normal and 1 pneumonia, of each split."""
    arrays = {}
    for number, (split, labels) in enumerate({"train": [0, 1, 1, 0], "val": [1, 0], "test": [0, 1]}.items()):
        levels = 40 * number + np.arange(len(labels), dtype=np.uint8)
        arrays[f"{split}_images"] = np.broadcast_to(levels[:, None, None], (len(labels), 28, 28))
        arrays[f"{split}_labels"] = np.array(labels, np.uint8)[:, None]
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **(arrays | changed))
    return path


def pneumoniamnist(folder: Path) -> Path:
    """Its file, unpacked."""
    unpack(pneumoniamnist_file(folder.with_name("pneumoniamnist.npz")), folder)
    return folder


def chestmnist(folder: Path) -> Path:
    """chestmnist_64.npz: fourteen columns of findings; number 6 is pneumonia."""
    labels = np.zeros((3, 14), np.uint8)
    labels[0, 6] = labels[2, [0, 2]] = 1
    arrays = {f"{split}_labels": labels for split in ("train", "val", "test")}
    arrays |= {f"{split}_images": np.full((3, 64, 64), 9, np.uint8) for split in ("train", "val", "test")}
    path = folder.with_name("chestmnist_64.npz")
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)
    unpack(path, folder)
    return folder

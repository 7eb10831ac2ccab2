"""RSNA Pneumonia Detection Challenge 2018 (Kaggle): `stage_2_detailed_class_info.csv` and DICOM files in `stage_2_train_images/`.

A patient is one image. An image with several boxes has several rows, all of one class: Normal, Lung Opacity, or No Lung Opacity /
Not Normal.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from darkcovid.data.importers.base import ImportedImage, Importer
from darkcovid.data.importers.read_table import table_rows

INFO = "*detailed_class_info.csv"
IMAGES = "*train_images"


def _recognizes(folder: Path) -> bool:
    return any(folder.glob(INFO)) and any(folder.glob(IMAGES))


def _images(folder: Path, files: Sequence[PurePosixPath]) -> Iterator[ImportedImage]:
    table, images = sorted(folder.glob(INFO))[-1], sorted(folder.glob(IMAGES))[-1]
    seen = set()
    for row in table_rows(table, ("patientId", "class")):
        if row["patientId"] not in seen:
            seen.add(row["patientId"])
            yield ImportedImage(f"{images.name}/{row['patientId']}.dcm", row["class"], row["patientId"])


RSNA_PNEUMONIA = Importer(
    "rsna-pneumonia",
    "RSNA Pneumonia Detection Challenge 2018",
    _recognizes,
    _images,
    note="images of NIH ChestX-ray14; Lung Opacity is what readers took for pneumonia: --classes 'Lung Opacity=pneumonia'",
)

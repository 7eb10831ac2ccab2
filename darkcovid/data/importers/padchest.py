"""PadChest (Bustos et al. 2020, arXiv:1901.07441): `PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv` (or `.csv.gz`), images
in numbered folders or all in one."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from darkcovid.data.importers.base import ImportedImage, Importer
from darkcovid.data.importers.files_by_name import FilesByName
from darkcovid.data.importers.read_table import find_table, table_rows

TABLE = "PADCHEST_chest_x_ray_images_labels*.csv"
COLUMNS = ("ImageID", "PatientID", "Labels", "Projection")
VIEWS = {"PA": "PA", "AP": "AP", "AP_horizontal": "AP Supine", "L": "L"}
QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")


def quoted_texts(text: str) -> list[str]:
    """The texts in a list that Python printed, such as `['pneumonia', 'pleural effusion']`, without blanks and repetitions."""
    return list(dict.fromkeys(filter(None, ((single or double).strip() for single, double in QUOTED.findall(text)))))


def _images(folder: Path, files: Sequence[PurePosixPath]) -> Iterator[ImportedImage]:
    table, by_name = find_table(folder, TABLE) or folder / TABLE, FilesByName(files)
    for row in table_rows(table, COLUMNS):
        path = by_name.find(row["ImageID"])
        if path == row["ImageID"] and not (folder / path).is_file():  # most people download a part of the 160,868 images
            continue
        columns = {
            "sex": row.get("PatientSex_DICOM", ""),
            "age": _age(row.get("StudyDate_DICOM", ""), row.get("PatientBirth", "")),
            "view": VIEWS.get(row["Projection"], row["Projection"]),
            "manufacturer": row.get("Manufacturer_DICOM", ""),
        }
        yield ImportedImage(path, "|".join(sorted(set(quoted_texts(row["Labels"])))), row["PatientID"], columns)


def _age(study: str, birth: str) -> str:
    """Whole years between the years of a study's date (YYYYMMDD) and of birth."""
    born = birth.partition(".")[0]
    return str(int(study[:4]) - int(born)) if study[:4].isdigit() and born.isdigit() else ""


PADCHEST = Importer(
    "padchest",
    "PadChest (Bustos et al. 2020)",
    lambda folder: find_table(folder, TABLE) is not None,
    _images,
    note="three quarters of the labels were mined from reports; rows without an image here are not listed",
)

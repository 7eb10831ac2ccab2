"""covid-chestxray-dataset (Cohen et al. 2020): `metadata.csv` with `patientid, finding, view, modality, folder, filename`, ...

Only X-rays are taken (`modality`). Findings are paths from the general to the special: `Pneumonia/Viral/COVID-19`.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from darkcovid.data.importers.base import ImportedImage, Importer
from darkcovid.data.importers.read_table import header_of, table_rows

COLUMNS = {"patientid", "finding", "view", "modality", "folder", "filename"}
ETIOLOGY = {"Viral": "pneumonia_viral", "Bacterial": "pneumonia_bacterial"}
VIEWS = ("PA", "AP", "AP Supine", "L")


def _recognizes(folder: Path) -> bool:
    return header_of(folder / "metadata.csv") >= COLUMNS


def _images(folder: Path, files: Sequence[PurePosixPath]) -> Iterator[ImportedImage]:
    for row in table_rows(folder / "metadata.csv", COLUMNS):
        if row["modality"] == "X-ray":
            yield _image(row)


def _image(row: dict[str, str]) -> ImportedImage:
    parts = row["finding"].split("/")
    label = "COVID-19" if "COVID-19" in parts else parts[0]
    etiology = "covid" if label == "COVID-19" else next((ETIOLOGY[part] for part in parts if part in ETIOLOGY), "")
    columns = {name: row.get(name) or "" for name in ("sex", "age", "view", "finding", "license", "url", "survival", "offset")}
    columns |= {"etiology": etiology, "view": row["view"] if row["view"] in VIEWS else "", "location": row.get("location") or ""}
    return ImportedImage(f"{row['folder']}/{row['filename']}", label, row["patientid"], columns)


COHEN = Importer("cohen", "covid-chestxray-dataset (Cohen et al. 2020)", _recognizes, _images, note="X-rays only, all views")

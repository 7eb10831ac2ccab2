"""COVID-19 Image Repository of Hannover Medical School (Winther et al. 2020): `data.csv` and `png/<image_id>.png`, all patients
with covid, many with a series of images."""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from darkcovid.data.importers.base import ImportedImage, Importer
from darkcovid.data.importers.read_table import header_of, table_rows

COLUMNS = ("patient_id", "image_id", "admission_offset", "projection")


def _recognizes(folder: Path) -> bool:
    return header_of(folder / "data.csv") >= set(COLUMNS)


def _images(folder: Path, files: Sequence[PurePosixPath]) -> Iterator[ImportedImage]:
    for row in table_rows(folder / "data.csv", COLUMNS):
        columns = {"sex": row.get("sex", ""), "age": row.get("age", ""), "view": row["projection"].upper()}
        columns |= {"offset": row["admission_offset"], "etiology": "covid"}
        yield ImportedImage(f"png/{row['image_id']}.png", "COVID-19", row["patient_id"], columns)


HANNOVER = Importer(
    "hannover", "COVID-19 Image Repository, Hannover (Winther et al. 2020)", _recognizes, _images, note="all images are of covid"
)

"""Actualmed and Figure 1 COVID-19 Chest X-ray Initiative (Chung 2020): `metadata.csv` in Cohen's columns, images in `images/`.

Actualmed names files in `imagename`; Figure 1 after `patientid`, with a letter for each image of a patient (`COVID-00003a`).
Images whose `finding` is blank were inconclusive.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from darkcovid.data.importers.base import ImportedImage, Importer
from darkcovid.data.importers.files_by_name import FilesByName
from darkcovid.data.importers.read_table import header_of, table_rows

TABLE = "metadata.csv"
FIGURE_1_IMAGE = re.compile(r"(COVID-\d+)[a-z]?")


def _actualmed_images(folder: Path, files: Sequence[PurePosixPath]) -> Iterator[ImportedImage]:
    for row in table_rows(folder / TABLE, ("patientid", "finding", "imagename"), "latin-1"):
        yield ImportedImage(f"images/{row['imagename']}", row["finding"], row["patientid"], _kept(row))


def _figure_1_images(folder: Path, files: Sequence[PurePosixPath]) -> Iterator[ImportedImage]:
    by_name = FilesByName(files)
    for row in table_rows(folder / TABLE, ("patientid", "finding", "originalfile"), "latin-1"):
        patient = FIGURE_1_IMAGE.fullmatch(row["patientid"])
        path = by_name.find(row["patientid"])
        yield ImportedImage(path, row["finding"], patient[1] if patient else row["patientid"], _kept(row))


def _kept(row: dict[str, str]) -> dict[str, str]:
    view = row.get("view", "").removesuffix(" erect")
    return {"sex": row.get("sex", ""), "age": row.get("age", ""), "offset": row.get("offset", ""), "view": view}


ACTUALMED = Importer(
    "actualmed",
    "Actualmed COVID-19 Chest X-ray Dataset (Chung 2020)",
    lambda folder: header_of(folder / TABLE) >= {"patientid", "finding", "imagename"},
    _actualmed_images,
    note="inconclusive images, whose finding is blank, are left out",
)
FIGURE_1 = Importer(
    "figure-1",
    "Figure 1 COVID-19 Chest X-ray Dataset (Chung 2020)",
    lambda folder: header_of(folder / TABLE) >= {"patientid", "finding", "originalfile"},
    _figure_1_images,
    note="images whose finding is blank are left out",
)

"""CheXpert (Irvin et al. 2019, arXiv:1901.07031): `train.csv` and `valid.csv` (and `test.csv`) with a column per finding.

`Path` begins with the name of the released folder, such as `CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg`.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from darkcovid.data.importers.base import ImportedImage, Importer
from darkcovid.data.importers.read_table import header_of, table_rows
from darkcovid.data.importers.several_findings import join_findings

SPLITS = {"train": "train", "valid": "valid", "test": "test"}
FIRST_FINDING = "No Finding"
COLUMNS = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", FIRST_FINDING, "Pneumonia")
PATIENT = re.compile(r"patient\d+")


def _recognizes(folder: Path) -> bool:
    return header_of(folder / "train.csv") >= set(COLUMNS)


def _images(folder: Path, files: Sequence[PurePosixPath]) -> Iterator[ImportedImage]:
    known = {path.as_posix() for path in files}
    for split in SPLITS:
        if (folder / f"{split}.csv").is_file():
            for row in table_rows(folder / f"{split}.csv", ("Path", FIRST_FINDING)):
                yield _image(row, split, known)


def _image(row: dict[str, str], split: str, known: set[str]) -> ImportedImage:
    names = list(row)
    label, uncertain = join_findings(row, names[names.index(FIRST_FINDING) :])
    written = row["Path"].removeprefix("./")
    path = written if written in known else written.partition("/")[2]
    view = "L" if row.get("Frontal/Lateral") == "Lateral" else row.get("AP/PA", "")
    patient = PATIENT.search(written)
    columns = {"sex": row.get("Sex", ""), "age": row.get("Age", ""), "view": view, "split": SPLITS[split]}
    return ImportedImage(path, label, patient[0] if patient else "", columns, uncertain)


CHEXPERT = Importer(
    "chexpert",
    "CheXpert (Irvin et al. 2019)",
    _recognizes,
    _images,
    note="labels were mined from reports; the authors' training and validation sets are in the column split",
)

"""NIH ChestX-ray14 (Wang et al. 2017): `Data_Entry_2017.csv` (or `..._v2020.csv`), images in `images/` or `images_001/images/` to
`images_012/images/`, the authors' split in `train_val_list.txt` and `test_list.txt`."""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from darkcovid.data.importers.base import ImportedImage, Importer
from darkcovid.data.importers.files_by_name import FilesByName
from darkcovid.data.importers.read_table import lines_of, table_rows

TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
LISTS = {"train_val_list.txt": "train", "test_list.txt": "test"}
COLUMNS = ("Image Index", "Finding Labels", "Patient ID")


def _table(folder: Path) -> Path | None:
    return next((folder / name for name in TABLES if (folder / name).is_file()), None)


def _images(folder: Path, files: Sequence[PurePosixPath]) -> Iterator[ImportedImage]:
    table, by_name = _table(folder) or folder / TABLES[0], FilesByName(files)
    splits = {name: split for file, split in LISTS.items() if (folder / file).is_file() for name in lines_of(folder / file)}
    for row in table_rows(table, COLUMNS):
        name = row["Image Index"]
        path = by_name.find(name)
        if path != name or (folder / name).is_file():  # most people download a part of the 112,120 images
            sex = row.get("Patient Gender") or row.get("Patient Sex") or ""
            columns = {"sex": sex, "age": row.get("Patient Age", ""), "view": row.get("View Position", "")}
            columns["split"] = splits.get(name, "")
            yield ImportedImage(path, row["Finding Labels"], row["Patient ID"], columns)


NIH_CHESTXRAY14 = Importer(
    "nih-chestxray14",
    "NIH ChestX-ray14 (Wang et al. 2017)",
    lambda folder: _table(folder) is not None,
    _images,
    note="labels were mined from reports; an image may have several, `Effusion|Mass`; rows without an image here are not listed",
)

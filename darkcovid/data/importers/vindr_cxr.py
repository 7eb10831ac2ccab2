"""VinDr-CXR (Nguyen et al. 2022, arXiv:2012.15029): `annotations/image_labels_train.csv` with the labels of three radiologists
per image, `image_labels_test.csv` with a consensus, DICOM files in `train/` and `test/`. Kaggle's part has `train.csv`
instead."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from darkcovid.data.importers.base import ImportedImage, Importer
from darkcovid.data.importers.files_by_name import FilesByName
from darkcovid.data.importers.read_table import find_table, header_of, table_rows
from darkcovid.data.importers.several_findings import join_findings

KAGGLE_COLUMNS = ("image_id", "class_name", "rad_id")
MAJORITY = 2  # of three radiologists
SPLITS = ("train", "test")


def _table(folder: Path, split: str) -> Path | None:
    name = f"image_labels_{split}.csv"
    return find_table(folder / "annotations", name) or find_table(folder, name)


def _kaggle_table(folder: Path) -> Path | None:
    table = folder / "train.csv"
    return table if header_of(table) >= set(KAGGLE_COLUMNS) else None


def _recognizes(folder: Path) -> bool:
    return _table(folder, "train") is not None or _kaggle_table(folder) is not None


def _findings(table: Path) -> dict[str, list[list[str]]]:
    """What each radiologist found in each image."""
    votes: dict[str, list[list[str]]] = defaultdict(list)
    for row in table_rows(table, ("image_id", "No finding")):
        findings, _ = join_findings(row, [name for name in row if name not in ("image_id", "rad_id", "rad_ID")])
        votes[row["image_id"]].append(findings.split("|") if findings else [])
    return votes


def _kaggle_findings(table: Path) -> dict[str, list[list[str]]]:
    """The same of Kaggle's table, which has a row per box."""
    readers: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in table_rows(table, KAGGLE_COLUMNS):
        readers[row["image_id"]][row["rad_id"]].append(row["class_name"])
    return {image: [list(dict.fromkeys(names)) for names in by_reader.values()] for image, by_reader in readers.items()}


def _consensus(votes: list[list[str]]) -> str:
    counts = Counter(name for names in votes for name in names)
    needed = min(MAJORITY, len(votes))
    return "|".join(sorted(name for name, count in counts.items() if count >= needed))


def _images(folder: Path, files: Sequence[PurePosixPath]) -> Iterator[ImportedImage]:
    kaggle = _kaggle_table(folder)
    tables = {split: table for split in SPLITS if (table := _table(folder, split))}
    by_split = {split: _findings(table) for split, table in tables.items()} or {"train": _kaggle_findings(kaggle or folder)}
    by_name = FilesByName(files)
    for split, images in by_split.items():
        for image, votes in images.items():
            path = by_name.find(image)
            if path != image:
                yield ImportedImage(path, _consensus(votes), "", {"split": split if tables else ""})


VINDR_CXR = Importer(
    "vindr-cxr",
    "VinDr-CXR (Nguyen et al. 2022)",
    _recognizes,
    _images,
    note="findings of at least two of three radiologists; patients are not named; rows without an image here are not listed",
)

"""Chest X-Ray Images (Pneumonia) (Kermany et al. 2018; Kaggle, paultimothymooney): `train|val|test/NORMAL|PNEUMONIA/`.

Patients are in the file names: `person123_virus_45.jpeg`, `person1_bacteria_2.jpeg`, `IM-0115-0001.jpeg`,
`NORMAL2-IM-0383-0001.jpeg`, and in the authors' own archive `BACTERIA-7422-0001.jpeg`, `VIRUS-...`, `NORMAL-...`. All are
children of one to five years.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from darkcovid.data.image_folders import APPLE_DOUBLE, APPLE_FOLDER
from darkcovid.data.importers.base import ImportedImage, Importer
from darkcovid.data.importers.class_folders import split_of
from darkcovid.data.importers.labels import etiology_of

PATIENT = (
    re.compile(r"(?P<patient>person\d+)_(?P<etiology>bacteria|virus)_\d+", re.IGNORECASE),
    re.compile(r"(?P<patient>(?:NORMAL2-)?IM-\d+)-\d+", re.IGNORECASE),
    re.compile(r"(?P<patient>(?P<etiology>BACTERIA|VIRUS|NORMAL)-\d+)-\d+", re.IGNORECASE),
)
COPY = "chest_xray"  # Kaggle's archive holds all of it twice
CLASSES, SPLIT_FOLDERS = ("NORMAL", "PNEUMONIA"), ("train", "val", "test", COPY)


def _recognizes(folder: Path) -> bool:
    files = [path for name in CLASSES for path in folder.glob(f"**/{name}/*.jpeg") if not path.name.startswith(APPLE_DOUBLE)]
    others = {path.name for path in folder.rglob("*") if path.is_dir()} - {*CLASSES, *SPLIT_FOLDERS, APPLE_FOLDER}
    return bool(files) and not others and all(_match(path.stem) for path in files)


def _match(stem: str) -> re.Match | None:
    return next((match for pattern in PATIENT if (match := pattern.match(stem))), None)


def _images(folder: Path, files: Sequence[PurePosixPath]) -> Iterator[ImportedImage]:
    known = set(files)
    for path in files:
        if path.parts[0] == COPY and PurePosixPath(*path.parts[1:]) in known:
            continue
        match = _match(path.stem)
        facts = match.groupdict() if match else {"patient": ""}
        columns = {"split": split_of(path.parts[:-1]), "etiology": etiology_of(facts.get("etiology") or ""), "age_group": "child"}
        yield ImportedImage(path.as_posix(), path.parent.name, facts["patient"], columns)


CHEST_XRAY_PNEUMONIA = Importer(
    "chest-xray-pneumonia",
    "Chest X-Ray Images (Pneumonia) (Kermany et al. 2018)",
    _recognizes,
    _images,
    note="children of one to five years: beside adults of another dataset, age gives the class away; "
    "the same person's number in two splits is taken as one patient",
)

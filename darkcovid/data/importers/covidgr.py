"""COVIDGR (Tabik et al. 2020, arXiv:2006.01409): PA radiographs in the folders `P` (PCR positive) and `N` (negative)."""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from darkcovid.data.importers.base import ImportedImage, Importer

CLASSES = {"P": "covid", "N": "no_finding"}


def _recognizes(folder: Path) -> bool:
    return {path.name for path in folder.iterdir() if path.is_dir()} == set(CLASSES)


def _images(folder: Path, files: Sequence[PurePosixPath]) -> Iterator[ImportedImage]:
    for path in files:
        if path.parts[0] in CLASSES:
            yield ImportedImage(path.as_posix(), path.parts[0], "", {"view": "PA"})


COVIDGR = Importer(
    "covidgr", "COVIDGR (Tabik et al. 2020)", _recognizes, _images, note="one image per patient by its authors", classes=CLASSES
)

"""COVIDx (Wang et al. 2020): `train_*.txt` and `test_*.txt` with `patientid filename class [source]` in each line, and the
images in `train/` and `test/`, or in `data/train/` and `data/test/`.

Of several versions of the lists the latest by name is taken; patients of the lists are kept as they are.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from darkcovid.core.errors import DataError
from darkcovid.core.log import logger
from darkcovid.data.importers.base import ImportedImage, Importer
from darkcovid.data.importers.read_table import lines_of

LISTS = re.compile(r"(train|test|val)_(?:split|COVIDx\w*[-\w]*)\.txt", re.IGNORECASE)

SPLITS = {"train": "train", "test": "test", "val": "valid"}


def _lists(folder: Path) -> dict[str, list[Path]]:
    """The lists of each split, by name, the latest last."""
    by_split: dict[str, list[Path]] = {}
    for path in sorted([*folder.glob("*.txt"), *folder.glob("labels/*.txt")], key=lambda path: _version(path.name)):
        match = LISTS.fullmatch(path.name)
        if match:
            by_split.setdefault(match[1].casefold(), []).append(path)
    return by_split


def _version(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.findall(r"\d+|\D+", name.casefold())]


def _recognizes(folder: Path) -> bool:
    return "train" in _lists(folder)


def _images(folder: Path, files: Sequence[PurePosixPath]) -> Iterator[ImportedImage]:
    for split, lists in _lists(folder).items():
        chosen = lists[-1]
        if len(lists) > 1:
            logger.info(f"{chosen.name} is read; {', '.join(path.name for path in lists[:-1])} are not")
        for number, line in enumerate(lines_of(chosen), 1):
            if line.strip():
                yield _image(folder, split, line.split(), f"{chosen}: line {number}")


def _image(folder: Path, split: str, cells: list[str], where: str) -> ImportedImage:
    if len(cells) not in (3, 4):
        raise DataError(f"{where}: {len(cells)} words; COVIDx has patientid filename class, and perhaps source")
    patient, name, label = cells[:3]
    places = [Path(split) / name, Path("data") / split / name, Path("images") / name, Path(name)]
    path = next((place for place in places if (folder / place).is_file()), places[0])
    columns = {"split": SPLITS[split], "source": cells[3] if len(cells) == 4 else ""}
    return ImportedImage(path.as_posix(), label, patient, columns)


COVIDX = Importer("covidx", "COVIDx (Wang et al. 2020)", _recognizes, _images, note="patients as in the lists of COVIDx")

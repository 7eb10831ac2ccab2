"""COVID-19 Radiography Database (Chowdhury et al. 2020, Rahman et al. 2021; Kaggle, tawsifurrahman).

2020: `COVID-19/`, `NORMAL/`, `Viral Pneumonia/` with `COVID-19 (1).png` and so on. 2021: `COVID/`, `Lung_Opacity/`, `Normal/`,
`Viral Pneumonia/`, each with `images/` and `masks/`, and `<class>.metadata.xlsx` beside them, which is not read: it has
addresses only.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from darkcovid.data.importers.base import ImportedImage, Importer, subfolder

FOLDERS_2020 = ("COVID-19", "NORMAL", "Viral Pneumonia")
FOLDERS_2021 = ("COVID", "Lung_Opacity", "Normal", "Viral Pneumonia")


def _recognizes(folder: Path) -> bool:
    named = [subfolder(folder, name) for name in FOLDERS_2021]
    if all(path is not None and subfolder(path, "images") for path in named):
        return True
    return all(subfolder(folder, name) for name in FOLDERS_2020) and any(folder.glob("*.metadata.xls*"))


def _images(folder: Path, files: Sequence[PurePosixPath]) -> Iterator[ImportedImage]:
    for path in files:
        label = path.parts[0]
        if any(part.casefold() == "masks" for part in path.parts) or len(path.parts) < 2:
            continue
        mask = path.parent.parent / "masks" / path.name if path.parent.name.casefold() == "images" else None
        lung_mask = mask.as_posix() if mask is not None and (folder / mask).is_file() else ""
        yield ImportedImage(path.as_posix(), label, "", {"lung_mask": lung_mask})


RADIOGRAPHY_DATABASE = Importer(
    "radiography-database",
    "COVID-19 Radiography Database (Chowdhury et al. 2020, Rahman et al. 2021)",
    _recognizes,
    _images,
    note="patients are not recorded; normal and viral pneumonia images of the 2020 release are of children (Kermany et al. 2018)",
)

"""COVID-QU-Ex (Tahir et al. 2021): `Lung Segmentation Data/Train|Val|Test/COVID-19|Non-COVID|Normal/images` with `lung masks`
beside them. `Infection Segmentation Data`, which repeats some of the images, is left out."""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from darkcovid.data.importers.base import ImportedImage, Importer
from darkcovid.data.importers.class_folders import split_of

CLASSES = {"COVID-19": "covid", "Non-COVID": "pneumonia", "Normal": "no_finding"}
IMAGES, MASKS, INFECTION = "images", "lung masks", "Infection Segmentation Data"


def _recognizes(folder: Path) -> bool:
    return any(folder.glob(f"**/COVID-19/{MASKS}"))


def _images(folder: Path, files: Sequence[PurePosixPath]) -> Iterator[ImportedImage]:
    known = {path.as_posix() for path in files}
    for path in files:
        parts = path.parts
        if len(parts) < 3 or parts[-2] != IMAGES or parts[-3] not in CLASSES or INFECTION in parts:
            continue
        mask = path.parent.parent / MASKS / path.name
        columns = {"split": split_of(parts), "lung_mask": mask.as_posix() if mask.as_posix() in known else ""}
        yield ImportedImage(path.as_posix(), parts[-3], "", columns)


COVID_QU_EX = Importer(
    "covid-qu-ex",
    "COVID-QU-Ex (Tahir et al. 2021)",
    _recognizes,
    _images,
    note="lung masks are those of a network, checked by its authors; Non-COVID is viral or bacterial pneumonia",
    classes=CLASSES,
)

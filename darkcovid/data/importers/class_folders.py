"""Folders named after classes: `class/image`, or `train|val|test/class/image`, as torchvision's ImageFolder and fastai's
`ImageDataLoaders.from_folder` read them."""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from darkcovid.data.importers.base import ImportedImage, Importer

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "valid",
    "valid": "valid",
    "validation": "valid",
    "test": "test",
    "testing": "test",
}
UNLABELED = ("images", "image", "img", "imgs", "data", "dataset", "masks", "mask")


def split_of(parts: tuple[str, ...]) -> str:
    """train, valid or test where one folder on the way is named so, else ''."""
    return next((SPLITS[part.casefold()] for part in parts if part.casefold() in SPLITS), "")


def _label(parts: tuple[str, ...]) -> str:
    """The innermost folder that is neither a split nor a general word such as `images`."""
    named = [part for part in parts if part.casefold() not in (*SPLITS, *UNLABELED)]
    return named[-1] if named else ""


def _is_mask(parts: tuple[str, ...]) -> bool:
    return any(part.casefold() in ("mask", "masks") for part in parts)


def _images(folder: Path, files: Sequence[PurePosixPath]) -> Iterator[ImportedImage]:
    for path in files:
        parts = path.parts[:-1]
        if not _is_mask(parts):
            yield ImportedImage(path.as_posix(), _label(parts), "", {"split": split_of(parts)})


def _recognizes(folder: Path) -> bool:
    labels = {_label(path.relative_to(folder).parts) for path in folder.rglob("*") if path.is_dir()} - {""}
    return len(labels) > 1


CLASS_FOLDERS = Importer(
    "class-folders",
    "folders named after classes, as torchvision's ImageFolder reads them",
    _recognizes,
    _images,
    note="the label is the innermost folder's name; folder names do not tell patients",
)

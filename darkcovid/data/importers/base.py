"""What an importer tells of a dataset's folder: its images, and what its authors recorded of each."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath


@dataclass(frozen=True, slots=True)
class ImportedImage:
    """path: relative to the folder, POSIX; label: as the dataset writes it; patient_id: '' where it is unknown; columns: further
    columns of the manifest."""

    path: str
    label: str
    patient_id: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Importer:
    """One form of folder. name: as `--form` takes it; source: who published this form; recognizes: whether a folder has it, by
    names alone; images: those of a folder that has it, in any order, of the relative paths of the image files in it; note: what
    the importer had to assume."""

    name: str
    source: str
    recognizes: Callable[[Path], bool]
    images: Callable[[Path, Sequence[PurePosixPath]], Iterator[ImportedImage]]
    note: str = ""


def subfolder(folder: Path, name: str) -> Path | None:
    """The folder of this name in `folder`, whatever its capitals; None where there is none."""
    matches = [path for path in sorted(folder.iterdir()) if path.is_dir() and path.name.casefold() == name.casefold()]
    return matches[0] if matches else None

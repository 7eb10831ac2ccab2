"""What an importer tells of a dataset's folder: its images, and what its authors recorded of each."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath


@dataclass(frozen=True, slots=True)
class ImportedImage:
    """One image as its dataset describes it.

    Attributes:
        path: Relative to the folder, POSIX.
        label: As the dataset writes it; several findings are joined by `|`; '' where there is none.
        patient_id: '' where it is unknown.
        columns: Further columns of the manifest.
        uncertain: Findings that the dataset calls uncertain, joined by `|`.
    """

    path: str
    label: str
    patient_id: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    uncertain: str = ""


@dataclass(frozen=True, slots=True)
class Importer:
    """One form of folder.

    Attributes:
        name: As `--form` takes it.
        source: Who published this form.
        recognizes: Whether a folder has it, by names alone.
        images: Those of a folder that has it, in any order, given the relative paths of the image files in it.
        note: What the importer had to assume.
        classes: The class of labels that mean something only in this dataset.
    """

    name: str
    source: str
    recognizes: Callable[[Path], bool]
    images: Callable[[Path, Sequence[PurePosixPath]], Iterator[ImportedImage]]
    note: str = ""
    classes: Mapping[str, str] = field(default_factory=dict)


def subfolder(folder: Path, name: str) -> Path | None:
    """The folder of a name, whatever its capitals.

    Args:
        folder: Where to look.
        name: The name.

    Returns:
        Its path; None where there is none.
    """
    matches = [path for path in sorted(folder.iterdir()) if path.is_dir() and path.name.casefold() == name.casefold()]
    return matches[0] if matches else None

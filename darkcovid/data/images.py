"""Which images does a person mean? One file, a folder, or a manifest's rows; each opened, or the reason why it cannot be."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image

from darkcovid.data.decode import SUFFIXES, open_grayscale
from darkcovid.data.manifest import is_manifest, read_manifest
from darkcovid.errors import DataError, RequestError


@dataclass(frozen=True, slots=True)
class FoundImage:
    """`name`: relative POSIX path under which results are kept; `file`: None when a manifest's image is missing."""

    name: str
    file: Path | None


def find_images(target: Path, data_root: str | None = None) -> list[FoundImage]:
    """The images that `target` names: one PNG, JPEG or DICOM, every one in a folder and below, or a manifest's rows.

    Raises RequestError: no such path, or no image in it.
    """
    if target.is_dir():
        files = sorted(path for path in target.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
        found = [FoundImage(path.relative_to(target).as_posix(), path) for path in files]
    elif is_manifest(target):
        manifest = read_manifest(target, data_root)
        found = [FoundImage(path, manifest.locate(path)) for path in manifest.rows.path]
    elif target.is_file():
        found = [FoundImage(target.name, target)]
    else:
        raise RequestError(f"{target}: no such image, folder or manifest")
    if not found:
        raise RequestError(f"{target}: no PNG, JPEG or DICOM image in it")
    return found


def open_image(found: FoundImage) -> tuple[Image.Image | None, str | None]:
    """The gray image, or None and why it cannot be read."""
    if found.file is None:
        return None, "missing"
    try:
        return open_grayscale(found.file), None
    except DataError as error:
        return None, str(error).removeprefix(f"{found.file}: ")


def png_name(name: str) -> str:
    """`a/b.png` for `a/b.png`, and `a/b.jpg.png` for `a/b.jpg`, so that two images never share a result."""
    return name if PurePosixPath(name).suffix.lower() == ".png" else f"{name}.png"

"""Which images does a person mean? One file, a folder, or a manifest's rows; each opened, or the reason why it cannot be."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from PIL import Image

from darkcovid.core.errors import DataError, UsageError
from darkcovid.core.log import logger
from darkcovid.data.decode import load_grayscale
from darkcovid.data.image_folders import left_out_line, walk_images
from darkcovid.data.manifest import is_manifest, read_manifest


@dataclass(frozen=True, slots=True)
class ImageRef:
    """`name`: relative POSIX path under which results are kept; `file`: None when a manifest's image is missing."""

    name: str
    file: Path | None


def find_images(target: Path, data_root: str | None = None) -> list[ImageRef]:
    """The images that a path names.

    In a folder a file of another suffix, or of none, counts when its content is an image; what is left out is logged.

    Args:
        target: A PNG, JPEG or DICOM file, a folder, or a manifest.
        data_root: Where a manifest's images are looked for besides.

    Returns:
        Names and files.

    Raises:
        UsageError: No such path, or no image in it.
    """
    left_out = ""
    if target.is_dir():
        files, others = walk_images(target)
        images = [ImageRef(path.relative_to(target).as_posix(), path) for path in files]
        left_out = left_out_line(others)
    elif is_manifest(target):
        manifest = read_manifest(target, data_root)
        images = [ImageRef(path, manifest.locate(path)) for path in manifest.rows.path]
    elif target.is_file():
        images = [ImageRef(target.name, target)]
    else:
        raise UsageError(f"{target}: no such image, folder or manifest")
    if not images:
        raise UsageError(f"{target}: no PNG, JPEG or DICOM image in it{left_out and f' ({left_out})'}")
    if left_out:
        logger.info(f"{target}: {left_out}")
    return images


def find_images_of(targets: Sequence[Path], data_root: str | None = None) -> list[ImageRef]:
    """The images that several paths name; those of one name are told apart by their paths.

    Args:
        targets: As `find_images` takes one.
        data_root: Where manifests' images are looked for besides.

    Returns:
        Names and files.

    Raises:
        UsageError: No such path, or no image in it.
    """
    images = [image for target in targets for image in find_images(target, data_root)]
    named = Counter(image.name for image in images)
    return [
        replace(image, name=image.file.as_posix()) if len(targets) > 1 and named[image.name] > 1 and image.file else image
        for image in images
    ]


def open_image(image_ref: ImageRef) -> tuple[Image.Image | None, str | None]:
    """The gray image, or None and why it cannot be read."""
    if image_ref.file is None:
        return None, "missing"
    try:
        return load_grayscale(image_ref.file), None
    except DataError as error:
        return None, str(error).removeprefix(f"{image_ref.file}: ")


def png_name(name: str) -> str:
    """`a/b.png` for `a/b.png`, `a/b.jpg.png` for `a/b.jpg`."""
    return name if PurePosixPath(name).suffix.lower() == ".png" else f"{name}.png"


def png_names(names: Sequence[str]) -> list[str]:
    """The `png_name` of each image, so that two images never share a result: beside `a.png`, the result of `a` is `a_.png`."""
    taken = {name for name in names if png_name(name) == name}
    results: dict[str, str] = {name: name for name in taken}
    for name in names:
        if name not in results:
            result = png_name(name)
            while result in taken:
                result = f"{result[:-4]}_.png"
            taken.add(result)
            results[name] = result
    return [results[name] for name in names]

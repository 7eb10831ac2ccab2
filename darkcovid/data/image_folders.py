"""Which files of a folder are images? By suffix or by content; what systems leave behind is passed over."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from darkcovid.core.errors import DataError
from darkcovid.data.decode import SUFFIXES, looks_like_image

NAS_FOLDER = "@eaDir"  # Synology's thumbnails
JUNK = (".ds_store", "thumbs.db", "desktop.ini", "dicomdir", "manifest.csv", "manifest.salt")  # the last two are ours
APPLE_DOUBLE, APPLE_FOLDER = "._", "__MACOSX"
KINDS_NAMED = 6
NOT_TEXT = "name that is not UTF-8"


def walk_images(folder: Path) -> tuple[list[Path], Counter[str]]:
    """The images in a folder and below, and how many other files there are.

    What systems leave behind unseen (AppleDouble, Thumbs.db, a DICOMDIR) is in neither.

    Args:
        folder: Where to look; folders that are links are not entered.

    Returns:
        Paths, sorted, and the number of other files by suffix.

    Raises:
        DataError: A folder cannot be read.
    """
    images, others = [], Counter()
    for path in sorted(_files(folder)):
        dangling = path.is_symlink() and not path.exists()
        if not (path.is_file() or dangling) or _is_junk(path.relative_to(folder)):
            continue
        if not _is_text(path):
            others[NOT_TEXT] += 1
        elif path.suffix.lower() in SUFFIXES or (not dangling and looks_like_image(path)):
            images.append(path)
        else:
            others[path.suffix.lower() or "without suffix"] += 1
    return images, others


def _files(folder: Path) -> Iterator[Path]:
    for place, _, names in os.walk(folder, onerror=_refuse):
        yield from (Path(place, name) for name in names)


def _refuse(error: OSError) -> None:
    raise DataError(f"{error.filename}: this folder cannot be read ({error.strerror}); fix its permissions") from None


def _is_junk(path: Path) -> bool:
    name = path.name.lower()
    if any(part.startswith(".") or part == NAS_FOLDER for part in path.parts[:-1]):
        return True
    return APPLE_FOLDER in path.parts or name.startswith(APPLE_DOUBLE) or name.split(";")[0] in JUNK


def left_out_line(others: Counter[str]) -> str:
    """`left out, being neither PNG, JPEG nor DICOM: 3 .tif, 1 .txt`; '' where there is nothing."""
    unnamed = f"left out, for a {NOT_TEXT}: {others[NOT_TEXT]}" if others[NOT_TEXT] else ""
    others = Counter({kind: count for kind, count in others.items() if kind != NOT_TEXT})
    if not others:
        return unnamed
    kinds = others.most_common()
    named = [f"{count} {kind}" for kind, count in kinds[:KINDS_NAMED]]
    rest = sum(count for _, count in kinds[KINDS_NAMED:])
    counted = "left out, being neither PNG, JPEG nor DICOM: " + ", ".join(named + ([f"{rest} of other kinds"] if rest else []))
    return "; ".join(filter(None, (counted, unnamed)))


def _is_text(path: Path) -> bool:
    """Whether a path can be written in a manifest."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True

"""Which files of a folder are images? By suffix or by content; what systems leave behind is passed over."""

from collections import Counter
from pathlib import Path

from darkcovid.data.decode import SUFFIXES, looks_like_image

JUNK = (".ds_store", "thumbs.db", "desktop.ini", "dicomdir")
APPLE_DOUBLE, APPLE_FOLDER = "._", "__MACOSX"
KINDS_NAMED = 6


def walk_images(folder: Path) -> tuple[list[Path], Counter[str]]:
    """The images in a folder and below, sorted, and how many other files of each suffix there are. What systems leave behind
    unseen (AppleDouble, Thumbs.db, a DICOMDIR) is in neither."""
    images, others = [], Counter()
    for path in sorted(folder.rglob("*")):
        dangling = path.is_symlink() and not path.exists()
        if not (path.is_file() or dangling) or _is_junk(path.relative_to(folder)):
            continue
        if path.suffix.lower() in SUFFIXES or (not dangling and looks_like_image(path)):
            images.append(path)
        else:
            others[path.suffix.lower() or "without suffix"] += 1
    return images, others


def _is_junk(path: Path) -> bool:
    name = path.name.lower()
    return APPLE_FOLDER in path.parts or name.startswith(APPLE_DOUBLE) or name.split(";")[0] in JUNK


def left_out_line(others: Counter[str]) -> str:
    """`left out, being neither PNG, JPEG nor DICOM: 3 .tif, 1 .txt`; '' where there is nothing."""
    if not others:
        return ""
    kinds = others.most_common()
    named = [f"{count} {kind}" for kind, count in kinds[:KINDS_NAMED]]
    rest = sum(count for _, count in kinds[KINDS_NAMED:])
    return "left out, being neither PNG, JPEG nor DICOM: " + ", ".join(named + ([f"{rest} of other kinds"] if rest else []))

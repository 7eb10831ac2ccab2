"""Where things live between runs, and how a file is written so that no reader ever sees half of it."""

import errno
import hashlib
import json
import os
import stat
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import platformdirs
from PIL import Image

from darkcovid.core.errors import UsageError

MAX_TEXT_BYTES = 64_000_000


def user_cache_dir() -> Path:
    """The user's own darkcovid folder, or DARKCOVID_CACHE where that is set. Not created here."""
    return Path(os.environ.get("DARKCOVID_CACHE") or platformdirs.user_cache_dir("darkcovid"))


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary sibling of `path` to write to; fsynced and renamed to `path` on success, removed on failure.

    Raises:
        UsageError: `path` is a folder.
    """
    if path.is_dir():
        raise UsageError(f"{path}: a folder; name a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_UMASK)
        temporary.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk does not say of whom it was asked too much
        raise
    finally:
        temporary.unlink(missing_ok=True)


def sha256_file(path: Path) -> str:
    """A file's SHA-256, read in pieces.

    Returns:
        64 hexadecimal digits.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_partial(folder: Path) -> None:
    """Remove what writers that were killed left half written in a folder and in its `plots`. Nobody else may be writing there."""
    for part in (*folder.glob(".*.part"), *(folder / "plots").glob(".*.part")):
        part.unlink(missing_ok=True)


def preallocate(path: Path) -> None:
    """Reserve a sparse file's bytes now, so that a full disk is an error here and not a crash when its map is written.

    Raises:
        OSError: The disk is full.
    """
    if hasattr(os, "posix_fallocate"):
        with path.open("rb+") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def write_checksummed_json(path: Path, value: Any) -> None:
    """JSON with a checksum, for what is remembered between runs.

    Args:
        path: The file.
        value: JSON-able.
    """
    text = json.dumps(value)
    write_text(path, json.dumps({"crc32": zlib.crc32(text.encode()), "value": value}) + "\n")


def read_checksummed_json(path: Path) -> Any:
    """What `write_checksummed_json` wrote.

    Raises:
        OSError: The file is missing.
        ValueError: It is not what was written.
    """
    kept = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(kept, dict) or kept.get("crc32") != zlib.crc32(json.dumps(kept.get("value")).encode()):
        raise ValueError(f"{path}: not what was written")
    return kept["value"]


def write_text(path: Path, text: str) -> None:
    """Write text in UTF-8, whole or not at all.

    Args:
        path: The file.
        text: Its content.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON, whole or not at all.

    Args:
        path: The file.
        value: JSON-able.
    """
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_regular_text(path: Path, most: int = MAX_TEXT_BYTES) -> str:
    """The text of a small file that others may have put there: no link is followed, no pipe waited for.

    Args:
        path: The file.
        most: Bytes that it may have.

    Returns:
        Its text.

    Raises:
        OSError: It is missing, or not a regular file.
        ValueError: It is larger, or not UTF-8.
    """
    about = path.lstat()
    if not stat.S_ISREG(about.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    if about.st_size > most:
        raise ValueError(f"{about.st_size} bytes, more than {most}")
    return path.read_text(encoding="utf-8")


def _current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


_UMASK = _current_umask()


def save_png(image: Image.Image, path: Path) -> None:
    """Write an image as PNG, whole or not at all.

    Args:
        image: Pillow's.
        path: The file.
    """
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG")

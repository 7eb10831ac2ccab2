"""What is known of each file that an import lists: checksum, size, pixels, and what DICOM tags say. It is kept beside the
manifest until that is written, so that an interrupted import goes on where it stopped."""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from PIL import Image

from darkcovid.core.errors import DataError
from darkcovid.core.io import sha256_file
from darkcovid.data.decode import FORMATS, is_turned
from darkcovid.data.dicom import is_dicom
from darkcovid.data.dicom_tags import PatientIds, image_size, manifest_columns, read_header, why_no_radiograph

UNREADABLE = "not an image"

Facts = dict[str, str] | str
"""Columns of the manifest, or why the file is left out."""


def file_facts(file: Path, ids: PatientIds) -> Facts:
    """Look at one file.

    Args:
        file: A PNG, JPEG or DICOM file.
        ids: How patient ids of DICOM files are shown.

    Returns:
        `sha256`, `bytes`, `width`, `height`, and of a DICOM what its tags say; or why the file is left out.

    Raises:
        DataError: The salt of patient ids is damaged.
    """
    try:
        with file.open("rb") as opened:
            dicom = is_dicom(opened)
        columns = _dicom_facts(file, ids) if dicom else _picture_facts(file)
        if isinstance(columns, str):
            return columns
        return {"sha256": sha256_file(file), "bytes": str(file.stat().st_size), **columns}
    except OSError as error:
        return f"cannot be read ({error.strerror})" if error.strerror else UNREADABLE


def _picture_facts(file: Path) -> Facts:
    try:
        with Image.open(file, formats=FORMATS) as image:
            width, height = image.size[::-1] if is_turned(image) else image.size
            return {"width": str(width), "height": str(height)}
    except OSError:
        raise
    except Exception:  # noqa: BLE001 (a damaged header fails in many ways)
        return UNREADABLE


def _dicom_facts(file: Path, ids: PatientIds) -> Facts:
    try:
        header = read_header(file)
        width, height = image_size(header)
    except (DataError, ValueError):
        return UNREADABLE
    reason = why_no_radiograph(header)
    return reason or {"width": str(width), "height": str(height), **manifest_columns(header, ids)}


class Journal:
    """Facts of files, found in an import that has not written its manifest yet; a context that closes it."""

    def __init__(self, manifest: Path, kind: str):
        """`kind`: what the facts depend on besides the file."""
        self._path, self._kind = _journal_path(manifest), kind
        self._known = dict(_read_journal(self._path, kind))
        self._file: TextIO | None = None

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()

    def recall(self, path: str, file: Path) -> Facts | None:
        """The facts of a file that has not changed since.

        Args:
            path: Its path in the manifest.
            file: The file.

        Returns:
            The facts; None where nothing is known.
        """
        state, facts = self._known.get(path, (None, None))
        return facts if state is not None and state == _state(file) else None

    def record(self, facts: Mapping[str, tuple[Path, Facts]]) -> None:
        """Write down a file and its facts by path."""
        if self._file is None:
            self._file = self._path.open("a", encoding="utf-8")
            self._file.write("\n" * bool(self._file.tell()))  # what an interruption has torn stays a line of its own
        for path, (file, known) in facts.items():
            entry = {"kind": self._kind, "path": path, "state": _state(file), "facts": known}
            self._file.write(json.dumps(entry) + "\n")
        self._file.flush()


def remove_journal(manifest: Path) -> None:
    """Remove what an import has written down, once its manifest is written."""
    _journal_path(manifest).unlink(missing_ok=True)


def _journal_path(manifest: Path) -> Path:
    return manifest.with_name(f"{manifest.name}.partial")


def _read_journal(path: Path, kind: str) -> Iterator[tuple[str, tuple[list[int], Facts]]]:
    """(path, (state, facts)) of every whole entry of a kind."""
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                with suppress(ValueError, KeyError, TypeError):
                    entry = json.loads(line)
                    if entry["kind"] == kind:
                        yield entry["path"], (entry["state"], entry["facts"])
    except FileNotFoundError:
        return


def _state(file: Path) -> list[int] | None:
    """[size, time of the last change in ns]; None where there is no file."""
    try:
        stat = file.stat()
        return [stat.st_size, stat.st_mtime_ns]
    except OSError:
        return None

"""Taking files in: is each one there, is it the file that the manifest means, and does it decode?

A sound image is remembered for as long as path, size and modification time stay the same and the same decoder reads it. An
image that cannot be used is asked again each time: its decoder may have been installed since.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from darkcovid.core.array_cache import DECODER_VERSION, shard_ranges
from darkcovid.core.errors import DataError
from darkcovid.core.io import read_checksummed_json, sha256_file, write_checksummed_json
from darkcovid.core.threads import map_in_threads
from darkcovid.data.decode import load_grayscale
from darkcovid.data.manifest import Manifest


@dataclass(frozen=True, slots=True)
class FileCheck:
    """What is known of one file.

    Attributes:
        file: Its path; None where it is missing.
        sha256: Of its bytes.
        width: Of the decoded image in pixels.
        height: Of the decoded image in pixels.
        fault: Why it cannot be used; None where it can.
    """

    file: Path | None
    sha256: str = ""
    width: int = 0
    height: int = 0
    fault: str | None = None


def validate_files(manifest: Manifest, cache_dir: Path) -> list[FileCheck]:
    """Look at every row's image, remembering what is found.

    Args:
        manifest: n rows.
        cache_dir: Where it is remembered.

    Returns:
        (n) checks in the manifest's order.
    """
    files = [manifest.locate(path) for path in manifest.rows.path]
    expected = manifest.rows.sha256.tolist()
    blocks = [slice(rows.start, rows.stop) for rows in shard_ranges(len(files))]
    return [intake for block in blocks for intake in _block(files[block], expected[block], cache_dir)]


def _block(files: list[Path | None], expected: list[str], cache_dir: Path) -> list[FileCheck]:
    stamps = [_file_stamp(file) for file in files]
    key = hashlib.sha256(json.dumps([DECODER_VERSION, stamps, expected]).encode()).hexdigest()[:32]
    memory = cache_dir / "intake" / f"{key}.json"
    remembered = _remembered_checks(memory, files)
    unknown = [row for row, intake in enumerate(remembered) if intake is None]
    if not unknown:
        return [intake for intake in remembered if intake is not None]
    checked = map_in_threads(lambda row: check_file(files[row], expected[row]), unknown, "reading images")
    for row, intake in zip(unknown, checked, strict=True):
        remembered[row] = intake
    known = [intake for intake in remembered if intake is not None]
    write_checksummed_json(memory, [None if intake.fault else asdict(intake) | {"file": None} for intake in known])
    return known


def check_file(file: Path | None, expected_sha256: str) -> FileCheck:
    """Hash and decode one file.

    Args:
        file: Its path; None where it is missing.
        expected_sha256: As the manifest records it; '' where it records none.

    Returns:
        What is known of it.
    """
    if file is None:
        return FileCheck(None, fault="missing")
    try:
        sha256 = sha256_file(file)
        if expected_sha256 and sha256 != expected_sha256.lower():
            return FileCheck(file, sha256, fault="its checksum is not the manifest's")
        image = load_grayscale(file)
    except OSError as error:
        return FileCheck(file, fault=f"cannot be read ({error.strerror})")
    except DataError as error:
        return FileCheck(file, sha256, fault=str(error).removeprefix(f"{file}: "))
    return FileCheck(file, sha256, image.width, image.height)


def _file_stamp(file: Path | None) -> list:
    if file is None:
        return [None]
    try:
        stat = file.stat()
    except OSError:  # it went away since it was found
        return [str(file), None]
    return [str(file), stat.st_size, stat.st_mtime_ns]


def _remembered_checks(memory: Path, files: list[Path | None]) -> list[FileCheck | None]:
    """What is remembered of each file, None where nothing is."""
    try:
        kept = read_checksummed_json(memory)
        return [item and FileCheck(**(item | {"file": file})) for item, file in zip(kept, files, strict=True)]
    except (OSError, ValueError, TypeError):
        return [None] * len(files)

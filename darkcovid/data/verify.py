"""Is every file of a manifest there, unchanged, decodable, and of the size that the manifest says?"""

from dataclasses import dataclass

from darkcovid.core.threads import map_in_threads
from darkcovid.data.check_files import check_file
from darkcovid.data.manifest import Manifest


@dataclass(frozen=True)
class VerificationResult:
    """images: rows looked at; verified: sound, with a recorded checksum that agrees; unverified: sound, no checksum
    recorded; faults: (path, what is wrong) of the others."""

    images: int
    verified: int
    unverified: list[str]
    faults: list[tuple[str, str]]


def verify(manifest: Manifest) -> VerificationResult:
    """Read, hash and decode every image and lung mask of the manifest, whatever was remembered of them."""
    rows = manifest.rows
    answers = map_in_threads(lambda row: _fault(manifest, row), rows.to_dict("records"), "reading images")
    faults = [(path, fault) for path, fault in zip(rows.path, answers, strict=True) if fault]
    sound = [fault is None for fault in answers]
    recorded = (rows.sha256 != "").tolist()
    return VerificationResult(
        images=len(rows),
        verified=sum(ok and known for ok, known in zip(sound, recorded, strict=True)),
        unverified=[path for path, ok, known in zip(rows.path, sound, recorded, strict=True) if ok and not known],
        faults=faults,
    )


def _fault(manifest: Manifest, row: dict[str, str]) -> str | None:
    intake = check_file(manifest.locate(row["path"]), row["sha256"])
    if intake.fault or intake.file is None:
        return intake.fault
    recorded = {"width": intake.width, "height": intake.height, "bytes": intake.file.stat().st_size}
    for column, actual in recorded.items():
        if row[column] and row[column] != str(actual):
            return f"{column} is {actual}, the manifest says {row[column]}"
    return _mask_fault(manifest, row["lung_mask"], (intake.width, intake.height))


def _mask_fault(manifest: Manifest, path: str, size: tuple[int, int]) -> str | None:
    if not path:
        return None
    intake = check_file(manifest.locate(path), "")
    if intake.fault:
        return f"lung mask {path}: {intake.fault}"
    if (intake.width, intake.height) != size:
        return f"lung mask {path} is {intake.width}x{intake.height}, the image {size[0]}x{size[1]}"
    return None

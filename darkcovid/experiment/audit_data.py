"""The data side of an audit of what was made elsewhere: is an image, a patient or a copy of the training list among the images
that are scored, and what tells their class without lungs?"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from darkcovid.audits.data_audit import MAX_AUDIT_IMAGES, audit_facts, audit_pixels
from darkcovid.audits.findings import DataAudit, parse_data_audit
from darkcovid.audits.leakage import DuplicatePair, find_leaks
from darkcovid.audits.metadata import PandasMetadata, identities, metadata_table
from darkcovid.core.slow_progress import slow_step
from darkcovid.core.words import counted
from darkcovid.data.check_files import FileCheck, validate_files
from darkcovid.data.manifest import Manifest
from darkcovid.data.near_duplicates.search import cached_near_duplicates
from darkcovid.data.splits import evenly_spaced, patient_groups

SAME_NAME = "name:"  # stands for a checksum where the same path is in two sets and no file is there


@dataclass(frozen=True)
class AuditedData:
    """What was found of the images.

    Attributes:
        findings: Leaks and confounders, as in `audit.json`.
        notes: What could not be looked at, sentences.
        files: The file of each image that is there.
    """

    findings: dict[str, Any]
    notes: list[str]
    files: dict[str, Path]

    @property
    def audit(self) -> DataAudit:
        """The findings, typed."""
        return parse_data_audit(self.findings)


def audit_images(
    scored: pd.DataFrame,
    labels: Sequence[str],
    sides: Sequence[str],
    trained: pd.DataFrame,
    roots: Sequence[Path],
    cache_dir: Path | None,
    trained_labels: Sequence[str] = (),
) -> AuditedData:
    """Look at the images that are scored, and at those that were trained on.

    Args:
        scored: (n) rows of the manifest.
        labels: (n) their classes.
        sides: (n) valid or test.
        trained: (m) rows of training images, in a manifest's form; none where they are not known.
        roots: Folders of the images.
        cache_dir: Where decoded images are kept; None: no image is looked at.
        trained_labels: (m) their classes, '' unknown; empty: none is known.

    Returns:
        What was found.

    Raises:
        UsageError: Fewer than two labels.
    """
    rows = pd.concat([scored, trained], ignore_index=True).fillna("")
    classes = [*labels, *(trained_labels or [""] * len(trained))]
    sets = [*sides, *["train"] * len(trained)]
    checks = validate_files(Manifest(rows, tuple(roots)), cache_dir) if cache_dir is not None and roots else []
    there = np.array([check.fault is None for check in checks], bool) if checks else np.zeros(len(rows), bool)
    rows = rows.assign(sha256=_checksums(rows, checks, there))
    notes = _notes(checks, cache_dir)
    near = _near_copies(rows, classes, sets, checks, there, cache_dir) if cache_dir is not None and there.any() else None
    leaks = find_leaks(PandasMetadata(identities(rows, classes, sets)), near)
    labeled = np.array([bool(name) for name in classes])
    known = rows[labeled].drop_duplicates(["dataset", "path"])
    facts = metadata_table(known, [classes[row] for row in known.index], [sets[row] for row in known.index])
    with slow_step("looking for confounders"):
        findings = audit_facts(PandasMetadata(facts), leaks)
    if cache_dir is not None and there[: len(scored)].any():
        findings |= _pixels(known[there[known.index]], classes, checks, cache_dir)
        recorded = int((scored.sha256[there[: len(scored)]] != "").sum())
        findings["checksums"] = {"verified": recorded, "unrecorded": int(there[: len(scored)].sum()) - recorded}
    files = {path: check.file for path, check in zip(rows.path, checks, strict=False) if check.file and not check.fault}
    return AuditedData(findings, notes, files)


def _checksums(rows: pd.DataFrame, checks: Sequence[FileCheck], there: np.ndarray) -> list[str]:
    """Of the files where they are there, else as recorded; of a path that is listed twice without either, its name."""
    twice = rows.duplicated(["dataset", "path"], keep=False).to_numpy()
    names = rows.dataset + "/" + rows.path
    return [
        checks[row].sha256 if there[row] else recorded or (SAME_NAME + names[row] if twice[row] else "")
        for row, recorded in enumerate(rows.sha256)
    ]


def _near_copies(
    rows: pd.DataFrame, classes: list[str], sets: list[str], checks: Sequence[FileCheck], there: np.ndarray, cache_dir: Path
) -> list[DuplicatePair]:
    seen = np.flatnonzero(there).tolist()
    files = [file for row in seen if (file := checks[row].file) is not None]
    pairs = cached_near_duplicates(files, [checks[row].sha256 for row in seen], cache_dir)
    places = [(seen[first], seen[other]) for first, other in pairs]
    return [
        DuplicatePair(
            rows.path[first],
            rows.path[other],
            sets[first] != sets[other],
            bool(classes[first] and classes[other] and classes[first] != classes[other]),
        )
        for first, other in places
    ]


def _pixels(known: pd.DataFrame, classes: list[str], checks: Sequence[FileCheck], cache_dir: Path) -> dict[str, Any]:
    """known: rows of all images that are there and have a class, of every set; classes, checks: by the rows' index."""
    rows = known.iloc[evenly_spaced(np.arange(len(known)), MAX_AUDIT_IMAGES)]
    labels = np.array([classes[row] for row in rows.index], object)
    if len(set(labels)) < 2:
        return {}
    files, sha256 = [checks[row].file for row in rows.index], [checks[row].sha256 for row in rows.index]
    rows = rows.reset_index(drop=True)
    return audit_pixels(rows, files, sha256, labels, patient_groups(rows).to_numpy(), cache_dir)


def _notes(checks: Sequence[FileCheck], cache_dir: Path | None) -> list[str]:
    if cache_dir is None or not checks:
        return ["no image was looked at: near copies and statistics of the pixels are not known"]
    missing = sum(check.file is None for check in checks)
    bad = [check for check in checks if check.file is not None and check.fault]
    notes = [f"{missing} of {counted(len(checks), 'image file')} are not there (--data-root names their folder)"] * bool(missing)
    if bad:
        notes.append(f"{counted(len(bad), 'image file')} cannot be used, the first is {bad[0].file} ({bad[0].fault})")
    return notes

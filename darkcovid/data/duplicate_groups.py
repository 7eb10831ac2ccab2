"""Which rows of a manifest show one radiograph, and one patient id for all of these."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from darkcovid.core.errors import DataError
from darkcovid.data.check_files import validate_files
from darkcovid.data.manifest import Manifest
from darkcovid.data.near_duplicates.search import Pair, cached_near_duplicates
from darkcovid.data.splits import COPIES, UNKNOWN, patient_groups


def identical_files(rows: pd.DataFrame) -> list[Pair]:
    """Pairs of rows whose recorded checksums are the same."""
    groups = rows[rows.sha256 != ""].groupby("sha256").groups.values()
    return sorted((int(a), int(b)) for places in groups for i, a in enumerate(places) for b in places[i + 1 :])


def near_copies(rows: pd.DataFrame, folder: Path, cache_dir: Path) -> list[Pair]:
    """Pairs of rows that are identical or near copies, by their pixels.

    Args:
        rows: Of a manifest.
        folder: The folder of its images.
        cache_dir: Where reduced images are kept.

    Returns:
        Pairs of row numbers, sorted.

    Raises:
        DataError: No image can be read.
    """
    checks = validate_files(Manifest(rows, (folder,)), cache_dir)
    usable = [row for row, check in enumerate(checks) if check.fault is None and check.file is not None]
    if not usable:
        raise DataError(f"--merge-copies: no image of {len(rows)} can be read; the first is {rows.path[0]} ({checks[0].fault})")
    files = [file for row in usable if (file := checks[row].file) is not None]
    sha256 = [checks[row].sha256 for row in usable]
    near = [(usable[a], usable[b]) for a, b in cached_near_duplicates(files, sha256, cache_dir)]
    return sorted({*near, *identical_files(rows.assign(sha256=[check.sha256 for check in checks]))})


def one_patient_per_copy(rows: pd.DataFrame, pairs: Sequence[Pair]) -> pd.Series:
    """Patient ids after all patients of copied images became one, the first by name.

    Args:
        rows: Of a manifest.
        pairs: Row numbers of images that are copies.

    Returns:
        (n) ids; an unknown patient with a copy is called `copies:` and the first image's path; others stay unknown.
    """
    patients = patient_groups(rows)
    parent = {name: name for name in patients}

    def root(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    for first, other in pairs:
        low, high = sorted((root(patients[first]), root(patients[other])))
        parent[high] = low
    sizes = Counter(root(name) for name in set(patients))
    joined = patients.map(root)
    named = joined.str.replace(rf"^{UNKNOWN}", COPIES, regex=True)
    return named.where((rows.patient_id != "") | (joined.map(sizes) > 1), "")

"""Several manifests become one: datasets kept, patients of different datasets kept apart, copies between them found."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pandas as pd

from darkcovid.core.errors import DataError, UsageError
from darkcovid.core.io import write_text
from darkcovid.data.manifest import OPTIONAL, REQUIRED, Manifest, read_manifest
from darkcovid.data.near_duplicates.search import Pair, cached_near_duplicates
from darkcovid.data.splits import patient_groups
from darkcovid.data.validate import validate_files

EXAMPLES = 3


@dataclass(frozen=True)
class MergeSummary:
    """What a merge wrote.

    Attributes:
        manifest: Its path.
        images: Of each dataset.
        classes: Images of each class.
        copies: Pairs of images of different datasets that are identical or near copies; identical ones alone where no image was
            looked at.
        examples: Some of them.
        merged_patients: Whether images that are copies got one patient id.
    """

    manifest: str
    images: dict[str, int]
    classes: dict[str, int]
    copies: int
    examples: list[tuple[str, str]]
    merged_patients: bool


def merge_manifests(paths: Sequence[Path], output: Path, cache_dir: Path, merge_copies: bool = False) -> MergeSummary:
    """Write the rows of several manifests to one, whole or not at all.

    A patient id gets its dataset in front, `ozturk:12`, since ids of different datasets mean different people. A row without a
    dataset gets the name of its manifest's folder.

    Args:
        paths: Manifests; their images must lie in or below the folder of `output`.
        output: The new manifest.
        cache_dir: Where reduced images are kept.
        merge_copies: Whether to look for near copies, and give images of different datasets that are copies one patient id.

    Returns:
        What was written.

    Raises:
        UsageError: A manifest is named twice, an image lies elsewhere or is in two manifests; and as `read_manifest` does.
        DataError: No image of a manifest is there, with `merge_copies`.
    """
    twice = [path for path, count in Counter(path.resolve() for path in paths).items() if count > 1]
    if twice:
        raise UsageError(f"{twice[0]}: named twice; name each manifest once")
    rows = pd.concat([_rows_of(path, output) for path in paths], ignore_index=True).fillna("")
    doubled = rows.path[rows.path.duplicated()]
    if len(doubled):
        raise UsageError(f"{doubled.iloc[0]!r} is in two of the manifests; leave one of its rows out")
    pairs = _near_copies(rows, output, cache_dir) if merge_copies else _identical(rows)
    across = [pair for pair in pairs if rows.dataset[pair[0]] != rows.dataset[pair[1]]]
    if merge_copies:
        rows["patient_id"] = _one_patient_per_copy(rows, across)
    known = [*REQUIRED, *OPTIONAL]
    table = rows.reindex(columns=known + sorted(set(rows.columns) - set(known)), fill_value="").sort_values("path")
    write_text(output, table.to_csv(index=False, lineterminator="\n"))
    return MergeSummary(
        manifest=str(output),
        images={str(name): int(count) for name, count in rows.dataset.value_counts(sort=False).items()},
        classes={str(name): int(count) for name, count in rows.label.value_counts().items()},
        copies=len(across),
        examples=[(rows.path[first], rows.path[other]) for first, other in across[:EXAMPLES]],
        merged_patients=merge_copies,
    )


def _rows_of(path: Path, output: Path) -> pd.DataFrame:
    """The rows of a manifest as the merged one writes them."""
    manifest = read_manifest(path)
    rows = manifest.rows.copy()
    rows["dataset"] = rows.dataset.where(rows.dataset != "", path.resolve().parent.name)
    rows["patient_id"] = (rows.dataset + ":" + rows.patient_id).where(rows.patient_id != "", "")
    for column in ("path", "lung_mask"):
        rows[column] = [name and _relative(manifest, name, path, output) for name in rows[column]]
    return rows


def _relative(manifest: Manifest, name: str, path: Path, output: Path) -> str:
    file = manifest.locate(name) or path.resolve().parent / name
    try:
        return PurePosixPath(file.resolve().relative_to(output.resolve().parent)).as_posix()
    except ValueError:
        raise UsageError(f"--output {output}: {file} does not lie below its folder; write it above all images") from None


def _identical(rows: pd.DataFrame) -> list[Pair]:
    """Pairs of rows whose recorded checksums are the same."""
    groups = rows[rows.sha256 != ""].groupby("sha256").groups.values()
    return sorted((int(a), int(b)) for places in groups for i, a in enumerate(places) for b in places[i + 1 :])


def _near_copies(rows: pd.DataFrame, output: Path, cache_dir: Path) -> list[Pair]:
    """Pairs of rows that are identical or near copies, by their pixels."""
    checks = validate_files(Manifest(rows, (output.resolve().parent,)), cache_dir)
    usable = [row for row, check in enumerate(checks) if check.fault is None and check.file is not None]
    if not usable:
        raise DataError(f"--merge-copies: no image of {len(rows)} can be read; the first is {rows.path[0]} ({checks[0].fault})")
    files = [file for row in usable if (file := checks[row].file) is not None]
    sha256 = [checks[row].sha256 for row in usable]
    near = [(usable[a], usable[b]) for a, b in cached_near_duplicates(files, sha256, cache_dir)]
    return sorted({*near, *_identical(rows.assign(sha256=[check.sha256 for check in checks]))})


def _one_patient_per_copy(rows: pd.DataFrame, pairs: Sequence[Pair]) -> pd.Series:
    """Patient ids after all patients of copied images became one, the first by name; unknown patients that have no copy stay
    unknown."""
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
    return joined.where((rows.patient_id != "") | (joined.map(sizes) > 1), "")

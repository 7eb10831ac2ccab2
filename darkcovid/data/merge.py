"""Several manifests become one: datasets kept, patients of different datasets kept apart, copies between them found."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from darkcovid.core.errors import UsageError
from darkcovid.core.io import write_text
from darkcovid.core.log import logger
from darkcovid.data.duplicate_groups import identical_files, near_copies, one_patient_per_copy
from darkcovid.data.import_folder import check_output
from darkcovid.data.manifest import OPTIONAL, REQUIRED, Manifest, read_manifest

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


def merge_manifests(
    paths: Sequence[Path], output: Path, cache_dir: Path, merge_copies: bool = False, shared_patient_ids: bool = False
) -> MergeSummary:
    """Write the rows of several manifests to one, whole or not at all.

    A patient id gets its dataset in front, `ozturk:12`, since ids of different datasets mean different people, unless
    `shared_patient_ids` says otherwise. A row without a dataset gets the name of its manifest's folder.

    Args:
        paths: Manifests; their images must lie in or below the folder of `output`.
        output: The new manifest.
        cache_dir: Where reduced images are kept.
        merge_copies: Whether to look for near copies, and give images of different datasets that are copies one patient id.
        shared_patient_ids: Whether one id in two manifests is one patient.

    Returns:
        What was written.

    Raises:
        UsageError: A manifest is named twice, an image lies elsewhere or is in two manifests; and as `read_manifest` does.
        DataError: No image of a manifest is there, with `merge_copies`.
    """
    twice = [path for path, count in Counter(path.resolve() for path in paths).items() if count > 1]
    if twice:
        raise UsageError(f"{twice[0]}: named twice; name each manifest once")
    check_output(output)
    manifests = [read_manifest(path) for path in paths]
    parts = [_rows_of(manifest, path, output, shared_patient_ids) for manifest, path in zip(manifests, paths, strict=True)]
    rows = pd.concat(parts, ignore_index=True).fillna("")
    doubled = rows.path[rows.path.duplicated()]
    if len(doubled):
        raise UsageError(f"{doubled.iloc[0]!r} is in two of the manifests; leave one of its rows out")
    if not shared_patient_ids:
        _check_datasets_differ(dict(zip(paths, parts, strict=True)))
        _warn_of_shared_ids(manifests)
    pairs = near_copies(rows, output.resolve().parent, cache_dir) if merge_copies else identical_files(rows)
    across = [pair for pair in pairs if rows.dataset[pair[0]] != rows.dataset[pair[1]]]
    if merge_copies:
        rows["patient_id"] = one_patient_per_copy(rows, across)
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


def _warn_of_shared_ids(manifests: Sequence[Manifest]) -> None:
    """Say how many ids are in several manifests, which may be of the same people."""
    ids = [set(manifest.rows.patient_id) - {""} for manifest in manifests]
    shared = sorted(name for name, count in Counter(name for own in ids for name in own).items() if count > 1)
    if shared:
        logger.warning(
            "%d patient ids are in several manifests, such as %s, and count as different people; if they are the same, give "
            "--shared-patient-ids, or a patient may be in two sets",
            len(shared),
            shared[0],
        )


def _check_datasets_differ(parts: dict[Path, pd.DataFrame]) -> None:
    """Refuse two manifests whose patients have ids and one dataset's name: they could not be told apart."""
    seen: dict[str, Path] = {}
    for path, rows in parts.items():
        for name in sorted(set(rows.dataset[rows.patient_id != ""])):
            if name in seen:
                raise UsageError(
                    f"{seen[name]} and {path}: both are of the dataset {name!r}, so their patient ids cannot be told apart; "
                    "write other names into their dataset columns, or give --shared-patient-ids if one id is one person"
                )
            seen[name] = path


def _rows_of(manifest: Manifest, path: Path, output: Path, shared_patient_ids: bool) -> pd.DataFrame:
    """The rows of a manifest as the merged one writes them."""
    rows = manifest.rows.copy()
    rows["dataset"] = rows.dataset.where(rows.dataset != "", path.resolve().parent.name)
    if not shared_patient_ids:
        prefix = rows.dataset + ":"
        merged = [patient.startswith(before) for patient, before in zip(rows.patient_id, prefix, strict=True)]  # by another call
        plain = (rows.patient_id != "") & ~pd.Series(merged, rows.index)
        rows["patient_id"] = (prefix + rows.patient_id).where(plain, rows.patient_id)
    for column in ("path", "lung_mask"):
        rows[column] = [name and _relative(manifest, name, path, output) for name in rows[column]]
    return rows


def _relative(manifest: Manifest, name: str, path: Path, output: Path) -> str:
    beside = path.absolute().parent / name
    file = beside if beside.is_file() else manifest.locate(name) or beside
    for real in (os.path.abspath, os.path.realpath):  # as it is called, so that links stay links; else as it lies on the disk
        place, folder = Path(real(file)), Path(real(output.parent))
        if place.is_relative_to(folder):
            return place.relative_to(folder).as_posix()
    raise UsageError(
        f"--output {output}: a manifest's images lie below its own folder, and {file} does not; write it into a folder above "
        "all images, or below which they are linked"
    )

"""A downloaded folder becomes a manifest: its images by the folder's own form, labels mapped to classes, checksums and sizes."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import pandas as pd
from PIL import Image

from darkcovid.core.errors import DataError, UsageError
from darkcovid.core.io import sha256_file, write_text
from darkcovid.core.log import logger
from darkcovid.core.threads import map_in_threads
from darkcovid.data.cells import normalize_cells
from darkcovid.data.dicom import is_dicom
from darkcovid.data.image_folders import left_out_line, walk_images
from darkcovid.data.importers import ImportedImage, Importer
from darkcovid.data.importers.labels import known_class
from darkcovid.data.manifest import OPTIONAL, REQUIRED, read_manifest

MEASURED = ("sha256", "bytes", "width", "height")
AT_ONCE = 512  # files between two steps of the progress bar
MISSING, UNREADABLE, OUTSIDE = "missing", "not an image", "outside the folder"
UNLABELED, BAD_MASK = "without a label", "its lung mask is missing or outside the folder"
UNDECIDED = "its class depends on an uncertain finding (see --uncertain)"

Uncertain = Literal["exclude", "negative", "positive"]


@dataclass(frozen=True)
class ImportSummary:
    """What an import wrote.

    Attributes:
        form: The importer's name.
        source: Who published the form.
        note: What the importer had to assume.
        images: Rows of the manifest.
        patients: That are known.
        unknown_patients: Images whose patient is not known.
        classes: Of each label of the dataset its class and number of images.
        splits: Images of each set of the dataset's own split.
        masks: Images with a lung mask.
        left_out: Paths of images that are not in the manifest, by reason.
        manifest: Its path.
    """

    form: str
    source: str
    note: str
    images: int
    patients: int
    unknown_patients: int
    classes: dict[str, dict[str, str | int]]
    splits: dict[str, int]
    masks: int
    left_out: dict[str, list[str]]
    manifest: str


def list_images(folder: Path, importer: Importer, classes: Mapping[str, str], uncertain: Uncertain = "exclude") -> pd.DataFrame:
    """The images of a folder.

    Args:
        folder: The download.
        importer: Its form.
        classes: Label to class, before the defaults.
        uncertain: What findings that the dataset calls uncertain count as (U-Ignore, U-Zeros and U-Ones of Irvin et al. 2019,
            section 3); `exclude` leaves out only images whose class depends on it.

    Returns:
        One row of text per image, sorted by path, with the columns of a manifest: `label` the class, '' where it is undecided,
        `finding` the dataset's label.

    Raises:
        DataError: A damaged list, or an image that is listed twice.
        UsageError: No image, or a label in `classes` that does not occur.
    """
    files, others = walk_images(folder)
    relative = [PurePosixPath(file.relative_to(folder).as_posix()) for file in files]
    images = sorted(importer.images(folder, relative), key=lambda image: image.path)
    if not images:
        raise UsageError(f"{folder}: no PNG, JPEG or DICOM image in it, read as {importer.name}")
    labels_here = {label for image in images for label in (image.label, *image.label.split("|"), *image.uncertain.split("|"))}
    unknown = sorted(set(classes) - labels_here)
    if unknown:
        labels = ", ".join(sorted(labels_here - {""}))
        raise UsageError(f"--classes {unknown[0]}: no image has this label; the labels are: {labels}")
    twice = [path for path, count in Counter(image.path for image in images).items() if count > 1]
    if twice:
        raise DataError(f"{folder}: {twice[0]!r} is listed twice; remove one entry")
    linked = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_symlink() and path.is_dir()]
    if linked:
        logger.warning(f"{folder}: folders that are links are not entered: {', '.join(linked)}")
    left_out = left_out_line(others)
    if left_out:
        logger.info(f"{folder}: {left_out}")
    dataset = folder.resolve().name
    rows = pd.DataFrame([_row(image, dataset, importer, classes, uncertain) for image in images]).fillna("").astype(str)
    return rows if "lung_mask" in rows else rows.assign(lung_mask="")


def _row(
    image: ImportedImage, dataset: str, importer: Importer, classes: Mapping[str, str], uncertain: Uncertain
) -> dict[str, str]:
    classes = {**importer.classes, **classes}
    positive = "|".join(filter(None, (image.label, image.uncertain)))
    finding = positive if uncertain == "positive" else image.label
    known = known_class(finding, classes)
    undecided = uncertain == "exclude" and known_class(positive, classes) != known
    label = "" if undecided else known or finding
    row = {"path": image.path, "label": label, "patient_id": image.patient_id}
    row |= {"dataset": dataset, "source": importer.source, "finding": finding}
    if image.uncertain:
        row |= {"uncertain_findings": image.uncertain, "uncertain_as": uncertain}
    return row | {name: value for name, value in image.columns.items() if value and name not in MEASURED}


def add_file_facts(
    folder: Path, rows: pd.DataFrame, on_progress: Callable[[int], None] = lambda done: None
) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """Look at every file.

    Args:
        folder: The download.
        rows: As `list_images` gives them.
        on_progress: Called with the number of files done.

    Returns:
        The rows whose files are images, with `sha256`, `bytes`, `width` and `height`; and the paths of the others by reason.
    """
    facts: list[dict[str, str] | str] = []
    for start in range(0, len(rows), AT_ONCE):
        block = rows.iloc[start : start + AT_ONCE]
        facts += map_in_threads(
            lambda row: _file_facts(folder, *row), zip(block.path, block.label, block.lung_mask, _undecided(block), strict=True)
        )
        on_progress(len(facts))
    left_out: dict[str, list[str]] = {}
    for path, fact in zip(rows.path, facts, strict=True):
        if isinstance(fact, str):
            left_out.setdefault(fact, []).append(path)
    good = [isinstance(fact, dict) for fact in facts]
    known = pd.DataFrame([fact for fact in facts if isinstance(fact, dict)], index=rows.index[good])
    return pd.concat([rows[good], known], axis=1).reset_index(drop=True), left_out


def _undecided(rows: pd.DataFrame) -> pd.Series:
    """Whether a row has no class because a finding is uncertain."""
    return (rows.label == "") & (rows["uncertain_findings"] != "" if "uncertain_findings" in rows else False)


def _file_facts(folder: Path, path: str, label: str, lung_mask: str, undecided: bool) -> dict[str, str] | str:
    file = folder / path
    if not label:
        return UNDECIDED if undecided else UNLABELED
    if not file.is_file():
        return MISSING
    if not file.resolve().is_relative_to(folder.resolve()):
        return OUTSIDE
    mask = folder / lung_mask
    if lung_mask and not (mask.is_file() and mask.resolve().is_relative_to(folder.resolve())):
        return BAD_MASK
    try:
        width, height = _size(file)
        return {"sha256": sha256_file(file), "bytes": str(file.stat().st_size), "width": str(width), "height": str(height)}
    except (OSError, ValueError, Image.DecompressionBombError):
        return UNREADABLE


def _size(file: Path) -> tuple[int, int]:
    """(width, height) from a file's header."""
    with file.open("rb") as opened:
        if is_dicom(opened):
            import pydicom

            header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["Rows", "Columns"])
            return int(header.Columns), int(header.Rows)
    with Image.open(file) as image:
        return image.size


def import_folder(
    folder: Path,
    importer: Importer,
    listed: pd.DataFrame,
    output: Path,
    on_progress: Callable[[int], None] = lambda done: None,
    update: bool = False,
) -> ImportSummary:
    """Write the manifest of a folder, whole or not at all: the same folder gives the same bytes.

    Args:
        folder: The download.
        importer: Its form.
        listed: Its images, as `list_images` gives them.
        output: The manifest's path.
        on_progress: Called with the number of files done.
        update: Whether rows of an existing manifest at `output` keep what is written in them, edits included, but for checksums
            and sizes; images that are new are added, those that are gone leave.

    Returns:
        What was written.

    Raises:
        DataError: No file is an image that can be used.
        UsageError: The manifest would lie below or beside its images.
    """
    complete, left_out = add_file_facts(folder, listed, on_progress)
    if complete.empty:
        raise DataError(
            f"{folder}: none of {len(listed)} listed images can be used; the first is {listed.path[0]} ({next(iter(left_out))})"
        )
    known = [*REQUIRED, *OPTIONAL]
    columns = known + sorted(set(complete.columns) - set(known))
    table = normalize_cells(complete.reindex(columns=columns, fill_value="").fillna(""))
    if output.resolve().parent != folder.resolve():
        table["path"] = [_relative(folder / path, output) for path in table.path]
        table["lung_mask"] = [mask and _relative(folder / mask, output) for mask in table.lung_mask]
    if update and output.is_file():
        table = _with_edits(table, read_manifest(output).rows)
    write_text(output, table.to_csv(index=False, lineterminator="\n"))
    return _summary(importer, table, left_out, output)


def _with_edits(table: pd.DataFrame, before: pd.DataFrame) -> pd.DataFrame:
    """The table, its rows that an earlier manifest had as they stand there."""
    earlier = before.drop_duplicates("path").set_index("path")
    kept = table.path.isin(earlier.index)
    for column in [name for name in earlier if name not in MEASURED]:
        fresh = table.get(column, "")
        table[column] = table.path.map(earlier[column]).where(kept, fresh)
    return table


def _relative(file: Path, output: Path) -> str:
    try:
        place = file.parent.resolve() / file.name
        return PurePosixPath(place.relative_to(output.resolve().parent)).as_posix()
    except ValueError:
        raise UsageError(f"--output {output}: paths are relative to the manifest; write it above the images") from None


def _summary(importer: Importer, table: pd.DataFrame, left_out: dict[str, list[str]], output: Path) -> ImportSummary:
    pairs = table.groupby(["finding", "label"], sort=True).size()
    classes = {finding: {"class": label, "images": int(count)} for (finding, label), count in pairs.items()}
    splits = table.split.value_counts(sort=False) if "split" in table else {}
    return ImportSummary(
        form=importer.name,
        source=importer.source,
        note=importer.note,
        images=len(table),
        patients=int(table.patient_id[table.patient_id != ""].nunique()),
        unknown_patients=int((table.patient_id == "").sum()),
        classes=classes,
        splits={name: int(splits[name]) for name in sorted(dict(splits)) if name},
        masks=int((table.lung_mask != "").sum()),
        left_out=left_out,
        manifest=str(output),
    )

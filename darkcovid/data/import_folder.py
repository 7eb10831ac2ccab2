"""A downloaded folder becomes a manifest: its images by the folder's own form, labels mapped to classes, checksums and sizes."""

import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, Protocol

import pandas as pd

from darkcovid.core.errors import DataError, UsageError
from darkcovid.core.io import write_text
from darkcovid.core.log import logger
from darkcovid.core.threads import map_in_threads
from darkcovid.data.dicom_tags import PatientIds
from darkcovid.data.file_info import Facts, Journal, file_facts, remove_journal
from darkcovid.data.image_folders import left_out_line, walk_images
from darkcovid.data.importers import ImportedImage, Importer
from darkcovid.data.importers.labels import etiology_of, known_class
from darkcovid.data.manifest import OPTIONAL, REQUIRED, read_manifest
from darkcovid.data.splits import COPIES
from darkcovid.data.table_cells import INVISIBLE, NO_VALUE, normalize_cells, normalize_path

MEASURED = ("sha256", "bytes", "width", "height")
AT_ONCE = 512  # files between two steps of the progress bar, and two entries of the journal
QUALITY_AT_ONCE = 64
MISSING, OUTSIDE = "missing", "outside the folder"
UNWRITABLE = "its name has a blank at an end, a backslash or an invisible character; rename it"
UNLABELED, BAD_MASK = "without a label", "its lung mask is missing or outside the folder"
GOOD, DUPLICATE, UNREADABLE_QUALITY = "good", "duplicate", "unreadable"
UNDECIDED = "its class depends on an uncertain finding (see --uncertain)"

Uncertain = Literal["exclude", "negative", "positive"]
OnProgress = Callable[[int], None]
Progress = Callable[[str, int], AbstractContextManager[OnProgress]]


class QualityMeasure(Protocol):
    """Whatever measures image quality, see `lungs.image_quality`."""

    version: str

    def __call__(self, files: Sequence[Path], views: Sequence[str]) -> list[str]:
        """(n) faults of each image joined by `|`, given its file and its view."""
        ...


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
        copies: Pairs of identical or near copies, whose patients became one; None where they were not looked for.
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
    copies: int | None
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
    folded = Counter(image.path.casefold() for image in images)
    alike = sorted(image.path for image in images if folded[image.path.casefold()] > 1)
    if alike:
        logger.warning(f"{folder}: {alike[0]} and {alike[1]} differ in case alone: on Windows and macOS they are one file")
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
    label = "" if undecided or finding.strip().lower() in NO_VALUE else known or finding
    row = {"path": image.path, "label": label, "patient_id": image.patient_id}
    row |= {"dataset": dataset, "source": importer.source, "finding": finding, "etiology": etiology_of(finding, label)}
    if image.uncertain:
        row |= {"uncertain_findings": image.uncertain, "uncertain_as": uncertain}
    return row | {name: value for name, value in image.columns.items() if value and name not in MEASURED}


def add_file_facts(
    folder: Path, rows: pd.DataFrame, ids: PatientIds, journal: Journal, on_progress: OnProgress = lambda done: None
) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """Look at every file that the journal does not know.

    Args:
        folder: The download.
        rows: As `list_images` gives them.
        ids: How patient ids of DICOM files are shown.
        journal: Of an import that was interrupted; is added to.
        on_progress: Called with the number of files done.

    Returns:
        The rows whose files are images, with `sha256`, `bytes`, `width` and `height`, and what DICOM tags say where the dataset
        says nothing; and the paths of the others by reason.

    Raises:
        DataError: The salt of patient ids is damaged.
    """
    left_out: dict[str, list[str]] = {}
    known: list[dict[str, str]] = []
    good: list[bool] = []
    for start in range(0, len(rows), AT_ONCE):
        block = rows.iloc[start : start + AT_ONCE]
        reasons = [
            _why_left_out(folder, *cells)
            for cells in zip(block.path, block.label, block.lung_mask, _undecided(block), strict=True)
        ]
        files = {path: folder / path for path, reason in zip(block.path, reasons, strict=True) if reason is None}
        facts = _facts_of(files, ids, journal)
        for path, reason in zip(block.path, reasons, strict=True):
            fact = reason or facts[path]
            good.append(isinstance(fact, dict))
            if isinstance(fact, dict):
                known.append(fact)
            else:
                left_out.setdefault(fact, []).append(path)
        on_progress(start + len(block))
    table = rows[good].reset_index(drop=True)
    for column, texts in pd.DataFrame(known).fillna("").items():
        own = table.get(column, pd.Series("", table.index))
        table[column] = texts.where(own == "", own)
    return table, left_out


def _facts_of(files: Mapping[str, Path], ids: PatientIds, journal: Journal) -> dict[str, Facts]:
    """The facts of each file by path, from the journal or now."""
    recalled = {path: journal.recall(path, file) for path, file in files.items()}
    fresh = [path for path, facts in recalled.items() if facts is None or ("patient_id" in facts and not ids.lasting)]
    made = dict(zip(fresh, map_in_threads(lambda path: file_facts(files[path], ids), fresh, "reading images"), strict=True))
    sound = {path: (files[path], facts) for path, facts in made.items() if isinstance(facts, dict)}  # a fault may be mended
    if sound:
        journal.record(sound)
    return {path: facts for path, facts in {**recalled, **made}.items() if facts is not None}


def add_quality(
    folder: Path, rows: pd.DataFrame, measure: QualityMeasure, journal: Journal, on_progress: OnProgress = lambda done: None
) -> pd.DataFrame:
    """Measure the quality of every image that the journal does not know.

    Args:
        folder: The download.
        rows: As `add_file_facts` gives them.
        measure: The measure.
        journal: Of an import that was interrupted; is added to.
        on_progress: Called with the number of images done.

    Returns:
        The rows with `quality`: faults joined by `|`, `duplicate` among them where an earlier image is the same file; `good`
        where there are none.
    """
    faults: list[str] = []
    views = rows.view if "view" in rows else pd.Series("", index=rows.index)
    for start in range(0, len(rows), QUALITY_AT_ONCE):
        block = slice(start, start + QUALITY_AT_ONCE)
        files = {path: folder / path for path in rows.path[block]}
        recalled = {path: journal.recall(path, file) for path, file in files.items()}
        fresh = [path for path, known in recalled.items() if not isinstance(known, dict)]
        measured = measure([files[path] for path in fresh], [views[row] for row in rows.index[block] if rows.path[row] in fresh])
        made: dict[str, Facts] = {path: {"quality": text} for path, text in zip(fresh, measured, strict=True)}
        sound = {path: (files[path], facts) for path, facts in made.items() if UNREADABLE_QUALITY not in _quality_of(facts)}
        if sound:
            journal.record(sound)
        faults += [_quality_of(made.get(path) or recalled[path]) for path in files]
        on_progress(start + len(files))
    copies = rows.sha256.duplicated()
    texts = ["|".join(filter(None, (text, DUPLICATE * copy))) for text, copy in zip(faults, copies, strict=True)]
    return rows.assign(quality=[text or GOOD for text in texts])


def _quality_of(facts: Facts | None) -> str:
    return facts["quality"] if isinstance(facts, dict) else ""


def _undecided(rows: pd.DataFrame) -> pd.Series:
    """Whether a row has no class because a finding is uncertain."""
    return (rows.label == "") & (rows["uncertain_findings"] != "" if "uncertain_findings" in rows else False)


def _why_left_out(folder: Path, path: str, label: str, lung_mask: str, undecided: bool) -> str | None:
    """Why an image is left out before its file is looked at."""
    file = folder / path
    if not label:
        return UNDECIDED if undecided else UNLABELED
    if not file.is_file():
        return MISSING
    if not file.resolve().is_relative_to(folder.resolve()):
        return OUTSIDE
    if not _can_be_written(path):
        return UNWRITABLE
    mask = folder / lung_mask
    inside = mask.is_file() and mask.resolve().is_relative_to(folder.resolve()) and _can_be_written(lung_mask)
    return BAD_MASK if lung_mask and not inside else None


def _can_be_written(path: str) -> bool:
    """Whether a manifest that names the path is read as naming it."""
    return normalize_path(INVISIBLE.sub("", path.strip())) == unicodedata.normalize("NFC", path)


def import_folder(
    folder: Path,
    importer: Importer,
    listed: pd.DataFrame,
    output: Path,
    update: bool = False,
    raw_patient_ids: bool = False,
    quality: QualityMeasure | None = None,
    copies_cache: Path | None = None,
    progress: Progress = lambda what, total: nullcontext(lambda done: None),
) -> ImportSummary:
    """Write the manifest of a folder, whole or not at all: the same folder gives the same bytes.

    What is known of each file is kept beside the manifest until it is written, so an interrupted import goes on where it stopped.

    Args:
        folder: The download.
        importer: Its form.
        listed: Its images, as `list_images` gives them.
        output: The manifest's path.
        update: Whether rows of an existing manifest at `output` keep what is written in them, edits included, but for checksums
            and sizes; images that are new are added, those that are gone leave.
        raw_patient_ids: Whether patient and study ids of DICOM files stay as they are; else they are hashed with the salt in
            `OUTPUT.salt`, which is made when it is first needed.
        quality: Measures the quality of each image; None: it is not measured.
        copies_cache: The cache in which near copies are looked for, to give them one patient id; None: they are not.
        progress: A context that shows how far a step is, given its name and number of files.

    Returns:
        What was written.

    Raises:
        DataError: No file is an image that can be used, or the salt is damaged.
        UsageError: The manifest would lie below or beside its images.
    """
    check_output(output, folder)
    ids = PatientIds(None if raw_patient_ids else output.with_name(f"{output.stem}.salt"))
    with Journal(output, f"file, ids {ids.fingerprint}") as journal, progress("reading", len(listed)) as show:
        complete, left_out = add_file_facts(folder, listed, ids, journal, show)
    if complete.empty:
        raise DataError(
            f"{folder}: none of {len(listed)} listed images can be used; the first is {listed.path[0]} ({next(iter(left_out))})"
        )
    if quality is not None:
        with Journal(output, quality.version) as journal, progress("image quality", len(complete)) as show:
            complete = add_quality(folder, complete, quality, journal, show)
    known = [*REQUIRED, *OPTIONAL]
    columns = known + sorted(set(complete.columns) - set(known))
    table = normalize_cells(complete.reindex(columns=columns, fill_value="").fillna(""))
    copies = None
    if copies_cache is not None:
        from darkcovid.data.duplicate_groups import near_copies  # imports torch

        copies = near_copies(table, folder, copies_cache)
    if output.resolve().parent != folder.resolve():
        table["path"] = [_relative(folder / path, output) for path in table.path]
        table["lung_mask"] = [mask and _relative(folder / mask, output) for mask in table.lung_mask]
    if update and output.is_file():
        measured = MEASURED if quality is None else (*MEASURED, "quality")
        table = _with_edits(table, read_manifest(output).rows, measured)
    if copies is not None:
        from darkcovid.data.duplicate_groups import one_patient_per_copy

        table["patient_id"] = one_patient_per_copy(table, copies)
    write_text(output, table.to_csv(index=False, lineterminator="\n"))
    remove_journal(output)
    return _summary(importer, table, left_out, output, None if copies is None else len(copies))


def check_output(output: Path, *folders: Path) -> None:
    """Look whether a manifest of images below some folders can be written.

    Args:
        output: The manifest's path.
        *folders: Of its images.

    Raises:
        UsageError: It is no CSV by its name, its folder is not there, or it would not lie above the images.
    """
    if output.suffix.lower() != ".csv":
        raise UsageError(f"--output {output}: a manifest is written as CSV; give it a name that ends in .csv")
    if not output.resolve().parent.is_dir():
        raise UsageError(f"--output {output}: no such folder as {output.parent}; make it first")
    for folder in folders:
        _relative(folder / "image", output)


def _with_edits(table: pd.DataFrame, before: pd.DataFrame, measured: Sequence[str]) -> pd.DataFrame:
    """The table, its rows that an earlier manifest had as they stand there, but for what was measured anew."""
    earlier = before.drop_duplicates("path").set_index("path")
    kept = table.path.isin(earlier.index)
    for column in [name for name in earlier if name not in measured]:
        fresh = table.get(column, "")
        table[column] = table.path.map(earlier[column]).where(kept, fresh)
    if "quality" in table and "quality" not in measured:
        same_file = ~kept | (table.sha256 == table.path.map(earlier.sha256))
        table["quality"] = table.quality.where(same_file, "")
    return table


def _relative(file: Path, output: Path) -> str:
    try:
        place = file.parent.resolve() / file.name
        return PurePosixPath(place.relative_to(output.resolve().parent)).as_posix()
    except ValueError:
        raise UsageError(f"--output {output}: paths are relative to the manifest; write it above the images") from None


def _summary(
    importer: Importer, table: pd.DataFrame, left_out: dict[str, list[str]], output: Path, copies: int | None
) -> ImportSummary:
    pairs = table.groupby(["finding", "label"], sort=True).size()
    several = pairs.index.get_level_values("finding").duplicated(keep=False)
    classes = {
        f"{finding} -> {label}" if more else finding: {"class": label, "images": int(count)}
        for ((finding, label), count), more in zip(pairs.items(), several, strict=True)
    }
    splits = table.split.value_counts(sort=False) if "split" in table else {}
    known = (table.patient_id != "") & ~table.patient_id.str.startswith(COPIES)
    return ImportSummary(
        form=importer.name,
        source=importer.source,
        note=importer.note,
        images=len(table),
        patients=int(table.patient_id[known].nunique()),
        unknown_patients=int((~known).sum()),
        classes=classes,
        splits={name: int(splits[name]) for name in sorted(dict(splits)) if name},
        masks=int((table.lung_mask != "").sum()),
        left_out=left_out,
        copies=copies,
        manifest=str(output),
    )

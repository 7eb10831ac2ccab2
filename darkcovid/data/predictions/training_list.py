"""The images that a model was trained on, as a list that somebody kept: which of them the manifest has, and whose they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from darkcovid.core.errors import DataError
from darkcovid.core.words import counted
from darkcovid.data.manifest import KNOWN, Manifest, normalize_rows
from darkcovid.data.predictions.columns import IMAGE, known_columns, named_column, plain_name
from darkcovid.data.predictions.find_images import UNKNOWN_SIDE, table_sides
from darkcovid.data.predictions.join import EXTENSIONS, JoinRule, join_images
from darkcovid.data.predictions.table import TextTable, read_text_table
from darkcovid.data.table_cells import normalize_path, unify_patient_ids

PATIENT = ("patient_id", "patient", "patientid", "subject_id", "subject")


@dataclass(frozen=True)
class TrainingList:
    """Images that were trained on.

    Attributes:
        rows: (n) rows in a manifest's form, path and all else as in the manifest where that has the image.
        listed: (n,) int, the manifest's row of each image, -1 where it has none.
        folder: In which images are looked for besides.
        notes: How they were matched, sentences.
    """

    rows: pd.DataFrame
    listed: np.ndarray
    folder: Path
    notes: tuple[str, ...]


def read_training_list(path: str | Path, manifest: Manifest, rule: JoinRule, image_column: str = "") -> TrainingList:
    """Read a list of training images: a CSV with a column of names and, where they are known, patient_id and sha256; or one name
    per line. Of a table with a column `side` or `split`, the rows of the training set.

    Args:
        path: The file.
        manifest: Of the images that are scored.
        rule: How images are named.
        image_column: The column of names; '': found by its name.

    Returns:
        The images.

    Raises:
        UsageError: No such file, or it is not plain which images are meant.
        DataError: Not a readable CSV.
    """
    table = _with_header(read_text_table(path))
    sides = table_sides(table)
    chosen = np.isin(sides, ("train", UNKNOWN_SIDE))
    notes = [] if chosen.all() else [f"{counted(int(chosen.sum()), 'row')} of {len(chosen)} are of the training set"]
    if not chosen.any():
        raise DataError(f"--train {path}: no row is of the training set")
    table = table.take(np.flatnonzero(chosen))
    name = named_column(table.columns, image_column, "--train", table.where) if image_column in table.columns else ""
    name = name or next((each for each in known_columns(table.columns, IMAGE) if table.numbers(each) is None), "")
    if not name:
        raise DataError(f"--train {path}: no column names images; call it image or path")
    names = table.texts(name)
    prefixed = rule.strip_prefix and any(normalize_path(text).startswith(normalize_path(rule.strip_prefix)) for text in names)
    rule = rule if prefixed else JoinRule(rule.by, "", rule.ignore_case)
    join = join_images(names, manifest.rows.path.tolist(), f"--train {path}", rule, may_miss_all=True)
    found = join.rows >= 0
    notes.append(f"{counted(len(names), 'training image')}, {int(found.sum())} of them in the manifest")
    notes += [join.note] if join.note and found.any() else []
    alike = _same_file_name(names, ~found, manifest.rows.path.tolist())
    if alike:
        notes.append(
            f"{alike} more have the file name of an image of the manifest in another folder, and are taken for others; "
            "--match-by name takes them for the same"
        )
    folder = Path(path).expanduser().resolve().parent
    return TrainingList(_rows(table, name, join.rows, manifest), join.rows, folder, tuple(notes))


def _rows(table: TextTable, name: str, listed: np.ndarray, manifest: Manifest) -> pd.DataFrame:
    cells = {"path": table.texts(name), "label": [""] * len(listed), "patient_id": [""] * len(listed)}
    for column in table.columns:
        plain = plain_name(column)
        if plain in KNOWN and plain not in ("path", "lung_mask"):
            cells[plain] = table.texts(column)
    patients = [column for column in known_columns(table.columns, PATIENT) if any(table.texts(column))]
    if patients:
        cells["patient_id"] = table.texts(patients[0])
    rows = normalize_rows(pd.DataFrame(cells, dtype=str))
    theirs = manifest.rows.iloc[np.maximum(listed, 0)].reset_index(drop=True)
    in_manifest = pd.Series(listed >= 0)
    for column in rows:
        if column in theirs:
            rows[column] = rows[column].mask(in_manifest & (theirs[column] != ""), theirs[column])
    return rows.assign(patient_id=_unified(rows.patient_id, manifest.rows.patient_id))


def _unified(ids: pd.Series, theirs: pd.Series) -> pd.Series:
    """Patients spelled as the manifest spells them."""
    both, _ = unify_patient_ids(pd.concat([theirs, ids], ignore_index=True))
    own = dict(zip(both.iloc[: len(theirs)], theirs, strict=True))
    return both.iloc[len(theirs) :].map(lambda text: own.get(text, text)).reset_index(drop=True)


def _same_file_name(names: Sequence[str], unmatched: np.ndarray, paths: Sequence[str]) -> int:
    known = {path.rpartition("/")[2] for path in paths}
    return sum(normalize_path(name).rpartition("/")[2] in known for name, other in zip(names, unmatched, strict=True) if other)


def _with_header(table: TextTable) -> TextTable:
    """A list of one name per line has no header; its first line is an image too."""
    first = table.columns[0]
    if len(table.columns) > 1 or first.rpartition(".")[2].lower() not in EXTENSIONS:
        return table
    cells = pd.concat([pd.DataFrame({"image": [first]}), table.cells.set_axis(["image"], axis=1)], ignore_index=True)
    return TextTable(cells, [1, *table.lines], table.decimal_comma, table.where)

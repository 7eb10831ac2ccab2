"""The manifest is the only list of images: a CSV or Parquet file with one row per image."""

import os
import shlex
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from darkcovid.core.errors import DarkCovidError, DataError, UsageError, one_line
from darkcovid.core.io import user_cache_dir
from darkcovid.data.csv_table import csv_form, read_csv
from darkcovid.data.table_cells import (
    ROUNDED_BY_SPREADSHEET,
    normalize_cells,
    normalize_column_names,
    number_text,
    unify_patient_ids,
)

REQUIRED = ("path", "label", "patient_id")
OPTIONAL = ("dataset", "etiology", "view", "sex", "age", "manufacturer", "finding", "quality", "lung_mask", "width", "height",
            "bytes", "sha256", "url", "license", "source")  # fmt: skip
KNOWN = (*REQUIRED, *OPTIONAL)
COLUMNS_SHOWN, LETTERS_SHOWN = 8, 40


@dataclass(frozen=True, slots=True)
class Manifest:
    """The images of a manifest, and where they are.

    Attributes:
        rows: One row of text per image, every column of REQUIRED and OPTIONAL present, '' where unknown.
        roots: The folders in which a row's relative path is looked for, in order.
        merged_patients: Spellings of patient ids in the file that are taken as one patient, whose id is the first of them.
    """

    rows: pd.DataFrame
    roots: tuple[Path, ...]
    merged_patients: tuple[tuple[str, ...], ...] = ()

    def locate(self, relative: str) -> Path | None:
        """The first existing file called `relative` (composed Unicode, NFC) under `roots`, however its name on disk is composed;
        None when no root has it."""
        names = dict.fromkeys((relative, unicodedata.normalize("NFD", relative)))
        direct = next((root / name for root in self.roots for name in names if _is_file(root / name)), None)
        if direct is not None or relative.isascii():
            return direct
        return next(self._matching(relative, lambda name, part: unicodedata.normalize("NFC", name) == part), None)

    def in_other_case(self, relative: str) -> Path | None:
        """A file under `roots` whose path differs from `relative` in case alone."""
        for path in self._matching(relative, _same_but_case):
            name = next(path.relative_to(root) for root in self.roots if path.is_relative_to(root))
            if name.as_posix() != relative:
                return name
        return None

    def _matching(self, relative: str, same: Callable[[str, str], bool]) -> Iterator[Path]:
        """The files under `roots` each part of whose path is the `same` as that of `relative`."""
        for root in self.roots:
            paths = [root]
            for part in relative.split("/"):
                paths = [entry for folder in paths for entry in _entries(folder) if same(entry.name, part)]
            yield from (path for path in paths if _is_file(path))

    def select(self, keep: pd.Series) -> "Manifest":
        """The rows where `keep` is true, in their order."""
        rows = self.rows[keep].reset_index(drop=True)
        present = set(rows.patient_id)
        return replace(self, rows=rows, merged_patients=tuple(ids for ids in self.merged_patients if ids[0] in present))

    def of_datasets(self, names: Sequence[str], asked_by: str) -> "Manifest":
        """The rows of some datasets.

        Args:
            names: Of the datasets.
            asked_by: The key or option that names them, for the message.

        Returns:
            The rows.

        Raises:
            UsageError: One of them has none.
        """
        present = set(self.rows.dataset)
        missing = [name for name in names if name not in present]
        if missing:
            there = ", ".join(sorted(present - {""})) or "none"
            raise UsageError(f"{asked_by}: no row belongs to {missing[0]!r}; datasets in the manifest: {there}")
        return self.select(self.rows.dataset.isin(names))


def read_manifest(path: str | Path, data_root: str | Path | None = None) -> Manifest:
    """Read a manifest.

    Files are looked for beside the manifest, under `data_root`, under DARKCOVID_DATA, then in the user's cache.

    Args:
        path: A CSV or Parquet file.
        data_root: A folder of images; None: none.

    Returns:
        Its rows, each cell in its plain form.

    Raises:
        UsageError: No such file, a missing or doubled column, a path listed twice or leaving the data folder, or a patient id
            that a spreadsheet has rounded.
        DataError: Not a readable CSV or Parquet file.
        DarkCovidError: Parquet without pyarrow.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        there = path / "manifest.csv"
        raise UsageError(
            f"{path}: a folder; its manifest is {there}"
            if there.is_file()
            else f"{path}: a folder; make a manifest of it first: darkcovid data import {shlex.quote(str(path))}"
        )
    if not path.is_file():
        raise UsageError(f"{path}: no such file; `darkcovid data import FOLDER` writes a manifest, and --phantom needs none")
    rows, numbers = _read_parquet(path) if is_parquet(path) else _read_csv(path)
    rows = normalize_rows(rows)
    for row, fault in zip(numbers, row_errors(rows), strict=True):
        if fault:
            raise UsageError(f"{path}: row {row}: {fault}")
    twice = rows.duplicated(["dataset", "path"])
    if twice.any():
        raise UsageError(f"{path}: row {numbers[twice.argmax()]}: {rows.path[twice.argmax()]!r} is listed twice; remove one row")
    rows["patient_id"], merged = unify_patient_ids(rows.patient_id)
    environment = os.environ.get("DARKCOVID_DATA")
    roots = [path.resolve().parent, data_root, environment, user_cache_dir() / "data"]
    return Manifest(rows, tuple(Path(root) for root in roots if root), tuple(merged))


def is_manifest(path: Path) -> bool:
    """Whether a path is a manifest by its name."""
    return path.suffix.lower() in (".csv", ".tsv") or is_parquet(path)


def is_parquet(path: Path) -> bool:
    """Whether a path is a Parquet file by its name."""
    return path.suffix.lower() in (".parquet", ".pq")


def check_columns(path: Path, header: Sequence[str]) -> list[str]:
    """A table's column names, normalized.

    Args:
        path: The file, for messages.
        header: Names as they are written.

    Returns:
        One name per column; '' for a column without a name of its own.

    Raises:
        UsageError: A required column is missing, or a known one occurs twice.
    """
    names = normalize_column_names(header, KNOWN)
    missing = [column for column in REQUIRED if column not in names]
    if missing:
        shown = [one_line(name)[:LETTERS_SHOWN] for name in names[:COLUMNS_SHOWN]]
        empty = " (its cells may be empty where the patient is not known)" if missing[0] == "patient_id" else ""
        there = f"; the header has {', '.join(shown)}{', ...' if len(names) > COLUMNS_SHOWN else ''}"
        raise UsageError(f"{path}: column {missing[0]!r} is missing{empty}; a manifest needs {', '.join(REQUIRED)}{there}")
    for name, count in Counter(names).items():
        if name in KNOWN and count > 1:
            raise UsageError(f"{path}: column {name!r} is in the header {count} times; rename or remove all but one")
    return [name if name not in names[:number] else "" for number, name in enumerate(names)]


def normalize_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows as they were written, with every column of a manifest and each cell in its plain form."""
    rows = rows.assign(**{column: "" for column in OPTIONAL if column not in rows.columns})
    return normalize_cells(rows)


def row_errors(rows: pd.DataFrame) -> list[str]:
    """(n) reasons why a row cannot be used, '' for none: a path that is not inside the data folder, a rounded patient id."""
    return [_fault(*cells) for cells in zip(rows.path, rows.lung_mask, rows.patient_id, strict=True)]


def _fault(path: str, mask: str, patient: str) -> str:
    if not path or _is_outside(path) or _is_outside(mask):
        outside = mask if path and not _is_outside(path) else path
        return f"{outside!r} must be a relative path inside the data folder"
    if ROUNDED_BY_SPREADSHEET.fullmatch(patient):
        return f"patient_id {patient!r} was rounded by a spreadsheet; export that column as text"
    return ""


def _read_csv(path: Path) -> tuple[pd.DataFrame, Sequence[int]]:
    """The rows of a CSV and the line on which each begins."""
    form = csv_form(path, KNOWN)
    names = check_columns(path, form.header)
    rows, lines = read_csv(path, form, cells_needed(names))
    return _named(rows, names), lines


def _read_parquet(path: Path) -> tuple[pd.DataFrame, Sequence[int]]:
    """The rows of a Parquet file and their numbers, from 1."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise DarkCovidError(f"{path}: a Parquet manifest needs pyarrow; install `darkcovid[spark]`, or give a CSV") from None
    try:
        table = parquet.read_table(path)
    except (ValueError, OSError, NotImplementedError) as error:
        raise DataError(f"{path}: not a readable Parquet manifest ({one_line(error)[:200]})") from None
    names, texts = check_columns(path, table.column_names), {}
    for name, column in zip(names, table.columns, strict=True):
        try:
            floats = pa.types.is_floating(column.type)
            texts[name] = (
                list(map(number_text, column.to_pylist())) if floats else column.cast(pa.string()).fill_null("").to_pylist()
            )
        except (ValueError, NotImplementedError) as error:
            if name in KNOWN:  # a column of no use may hold anything
                raise DataError(f"{path}: column {name!r} is no text ({one_line(error)[:120]})") from None
    rows = pd.DataFrame(texts, dtype=str)
    return rows[[name for name in texts if name]], range(1, len(rows) + 1)


def _named(rows: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """The rows with those names of columns; a column without a name, as an exported index has, is left out."""
    return rows.set_axis(names, axis=1).loc[:, [bool(name) for name in names]]


def cells_needed(names: Sequence[str]) -> int:
    """How many cells a row must have for all required ones to be there."""
    return 1 + max(names.index(name) for name in REQUIRED)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _same_but_case(name: str, other: str) -> bool:
    return unicodedata.normalize("NFC", name).casefold() == other.casefold()


def _is_outside(relative: str) -> bool:
    parts = relative.split("/")
    return relative.startswith("/") or ".." in parts or ":" in parts[0] or "\0" in relative

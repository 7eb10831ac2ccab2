"""The manifest is the only list of images: a CSV or Parquet file, a row an image. Nothing walks folders behind its back."""

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from darkcovid.errors import DarkCovidError, DataError, RequestError, one_line
from darkcovid.paths import user_cache_dir

REQUIRED = ("path", "label", "patient_id")
OPTIONAL = ("dataset", "etiology", "view", "sex", "age", "finding", "lung_mask", "width", "height",
            "bytes", "sha256", "url", "license", "source")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Manifest:
    """`rows`: one string-typed row an image, every column of REQUIRED and OPTIONAL present ('' where unknown).
    `roots`: the folders in which a row's relative path is looked for, in order."""

    rows: pd.DataFrame
    roots: tuple[Path, ...]

    def locate(self, relative: str) -> Path | None:
        """The first existing file called `relative` under `roots`; None when no root has it."""
        candidates = (root / relative for root in self.roots)
        return next((path for path in candidates if _is_file(path)), None)

    def select(self, keep: pd.Series) -> "Manifest":
        """The rows where `keep` is true, in their order."""
        return Manifest(self.rows[keep].reset_index(drop=True), self.roots)

    def of_dataset(self, name: str, asked_by: str) -> "Manifest":
        """The rows of one dataset. Raises RequestError, naming the key or option `asked_by`, when there are none."""
        chosen = self.select(self.rows.dataset == name)
        if chosen.rows.empty:
            present = ", ".join(sorted(set(self.rows.dataset) - {""})) or "none"
            raise RequestError(f"{asked_by}: no row belongs to {name!r}; datasets in the manifest: {present}")
        return chosen


def read_manifest(path: str | Path, data_root: str | Path | None = None) -> Manifest:
    """Read a manifest. Raises RequestError: no such file, a missing column, a path listed twice or leaving the data folder;
    DataError: not a readable CSV or Parquet file; DarkCovidError: Parquet without pyarrow.

    Files are looked for beside the manifest, under `data_root`, under DARKCOVID_DATA, then in the user's cache.
    """
    path = Path(path)
    if not path.is_file():
        raise RequestError(f"data.manifest: {path}: no such file; name a manifest with --manifest PATH, or use --data phantom")
    rows = _read_parquet(path) if is_parquet(path) else _read_csv(path)
    refuse_missing_columns(path, rows.columns)
    rows = tidied(rows)
    twice = rows.duplicated(["dataset", "path"])
    if twice.any():
        raise RequestError(f"{path}: row {twice.idxmax() + 2}: {rows.path[twice.idxmax()]!r} is listed twice; remove one row")
    outside = leaving(rows)
    if outside.any():
        row = outside.idxmax()
        raise RequestError(f"{path}: row {row + 2}: {rows.path[row]!r} must be a relative path inside the data folder")
    environment = os.environ.get("DARKCOVID_DATA")
    roots = [path.resolve().parent, data_root, environment, user_cache_dir() / "data"]
    return Manifest(rows, tuple(Path(root) for root in roots if root))


def is_manifest(path: Path) -> bool:
    """Whether a path is a manifest by its name."""
    return path.suffix.lower() == ".csv" or is_parquet(path)


def is_parquet(path: Path) -> bool:
    return path.suffix.lower() in (".parquet", ".pq")


def refuse_missing_columns(path: Path, columns: Sequence[str]) -> None:
    missing = [column for column in REQUIRED if column not in columns]
    if missing:
        raise RequestError(f"{path}: column {missing[0]!r} is missing; a manifest needs {', '.join(REQUIRED)}")


def tidied(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows as they were written, with every column of a manifest and no blanks around what a cell says."""
    rows = rows.assign(**{column: "" for column in OPTIONAL if column not in rows.columns})
    return rows.apply(lambda column: column.str.strip())


def leaving(rows: pd.DataFrame) -> pd.Series:
    """(n,) bool: rows whose image or lung mask is not a relative path inside the data folder."""
    outside = [
        not path or _leaves_folder(path) or _leaves_folder(mask) for path, mask in zip(rows.path, rows.lung_mask, strict=True)
    ]
    return pd.Series(outside, index=rows.index, dtype=bool)


def _read_csv(path: Path) -> pd.DataFrame:
    header = _header(path)
    if header:
        refuse_missing_columns(path, [name.strip() for name in header])  # before pandas, which is slow with many columns
    try:
        rows = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", encoding_errors="strict")
    except (ValueError, OSError) as error:
        raise DataError(f"{path}: not a readable CSV manifest ({one_line(error)})") from None
    if not isinstance(rows.index, pd.RangeIndex):  # pandas takes what is too much for an index
        raise DataError(f"{path}: not a readable CSV manifest (its rows have more cells than its header)")
    return rows


def _header(path: Path) -> list[str]:
    """The cells of a CSV's first line; none where that cannot be read, which pandas then says."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return next(csv.reader(file), [])
    except (ValueError, OSError, csv.Error):
        return []


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise DarkCovidError(f"{path}: a Parquet manifest needs pyarrow; install `darkcovid[spark]`, or give a CSV") from None
    try:
        table = parquet.read_table(path)
        texts = {name: table[name].cast(pa.string()).fill_null("").to_pylist() for name in table.column_names}
    except (ValueError, OSError, NotImplementedError) as error:
        raise DataError(f"{path}: not a readable Parquet manifest ({one_line(error)[:200]})") from None
    return pd.DataFrame(texts, dtype=str)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _leaves_folder(relative: str) -> bool:
    parts = relative.replace("\\", "/").split("/")
    return relative.startswith(("/", "\\")) or ".." in parts or ":" in parts[0] or "\0" in relative

"""The manifest is the only list of images: a CSV with a row an image. Nothing walks folders behind its back."""

import os
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from darkcovid.errors import DataError, RequestError, one_line
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
        return next((path for path in candidates if path.is_file()), None)

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
    """Read a manifest CSV. Raises RequestError: no such file, a missing column, a path listed twice or leaving
    the data folder; DataError: not a readable CSV.

    Files are looked for beside the manifest, under `data_root`, under DARKCOVID_DATA, then in the user's cache.
    """
    path = Path(path)
    if not path.is_file():
        raise RequestError(f"data.manifest: {path}: no such file; name a manifest with --manifest PATH, or use --data phantom")
    try:
        rows = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", encoding_errors="strict")
    except (ValueError, OSError) as error:
        raise DataError(f"{path}: not a readable CSV manifest ({one_line(error)})") from None
    missing = [column for column in REQUIRED if column not in rows.columns]
    if missing:
        raise RequestError(f"{path}: column {missing[0]!r} is missing; a manifest needs {', '.join(REQUIRED)}")
    for column in OPTIONAL:
        if column not in rows.columns:
            rows[column] = ""
    rows = rows.apply(lambda column: column.str.strip())
    twice = rows.duplicated(["dataset", "path"])
    if twice.any():
        raise RequestError(f"{path}: row {twice.idxmax() + 2}: {rows.path[twice.idxmax()]!r} is listed twice; remove one row")
    outside = rows.path.map(_leaves_folder) | rows.lung_mask.map(_leaves_folder)
    if outside.any():
        row = outside.idxmax()
        raise RequestError(f"{path}: row {row + 2}: {rows.path[row]!r} must be a relative path inside the data folder")
    environment = os.environ.get("DARKCOVID_DATA")
    roots = [path.resolve().parent, data_root, environment, user_cache_dir() / "data"]
    return Manifest(rows, tuple(Path(root) for root in roots if root))


def _leaves_folder(relative: str) -> bool:
    parts = relative.replace("\\", "/").split("/")
    return relative.startswith(("/", "\\")) or ".." in parts or ":" in parts[0] or "\0" in relative

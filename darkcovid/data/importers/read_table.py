"""The rows of a dataset's own table, by the names of its columns; plain or gzipped."""

import csv
import gzip
from codecs import BOM_UTF8
from collections.abc import Collection, Iterator
from pathlib import Path

from darkcovid.core.errors import DataError, one_line
from darkcovid.data.csv_table import csv_form, rows_of_csv

MAX_BYTES = 1_000_000_000  # the largest of the published tables has about 60 MB


def table_rows(path: Path, needed: Collection[str], encoding: str | None = None) -> Iterator[dict[str, str]]:
    """Each row of a table that a dataset's authors published.

    Args:
        path: A CSV or TSV in UTF-8 or UTF-16, or one of these as `.gz` in UTF-8.
        needed: Columns without which the table is another one's.
        encoding: Python's name of another encoding; the table is then one with commas.

    Yields:
        The cells of a row, blanks around them removed, by the header's names.

    Raises:
        DataError: The table cannot be read, or lacks a column.
    """
    check_size(path)
    rows = _opened(path, encoding) if encoding or path.suffix == ".gz" else _plain(path, needed)
    for number, row in enumerate(rows):
        missing = [name for name in needed if name not in row]
        if number == 0 and missing:
            raise DataError(f"{path}: no column {missing[0]!r}; it has {', '.join(name for name in row if name)}")
        yield row


def check_size(path: Path) -> None:
    """Look whether a table may be a list of images.

    Args:
        path: The table.

    Raises:
        DataError: It is larger than any that was published.
    """
    if path.is_file() and path.stat().st_size > MAX_BYTES:
        raise DataError(
            f"{path}: {path.stat().st_size / 1e9:.1f} GB is no list of images; at most {MAX_BYTES / 1e9:.0f} GB are read"
        )


def _plain(path: Path, needed: Collection[str]) -> Iterator[dict[str, str]]:
    form = csv_form(path, {name.lower() for name in needed})
    for _, cells in rows_of_csv(path, form, 1):
        yield dict(zip(form.header, (cell.strip() for cell in cells), strict=True))


def _opened(path: Path, encoding: str | None) -> Iterator[dict[str, str]]:
    open_text = gzip.open if path.suffix == ".gz" else open
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as first:
            encoding = "utf-8-sig" if first.read(3) == BOM_UTF8 else encoding
        with open_text(path, "rt", encoding=encoding or "utf-8", newline="") as file:
            for row in csv.DictReader(file, restval=""):
                yield {name.strip(): (value or "").strip() for name, value in row.items() if isinstance(name, str)}
    except (OSError, EOFError, UnicodeError, csv.Error) as error:
        raise DataError(f"{path}: not a readable table ({one_line(error)})") from None


def lines_of(path: Path) -> list[str]:
    """The lines of a list of images.

    Raises:
        DataError: It is no text in UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeError) as error:
        raise DataError(f"{path}: not a list in UTF-8 ({one_line(error)}); save it as UTF-8") from None


def header_of(path: Path) -> set[str]:
    """The names of a table's columns, to tell whose it is.

    Args:
        path: A CSV with commas; letters that are not UTF-8 are passed over.

    Returns:
        Names without blanks around them; empty where there is no such file, or it cannot be read.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            return {name.strip() for name in next(csv.reader(file), [])}
    except (OSError, csv.Error):
        return set()


def find_table(folder: Path, *patterns: str) -> Path | None:
    """The last table by name of the first pattern that has any in `folder`, plain or gzipped.

    Args:
        folder: Where to look.
        *patterns: Globs without `.gz`.

    Returns:
        Its path; None where there is none.
    """
    for pattern in patterns:
        matches = sorted([*folder.glob(pattern), *folder.glob(f"{pattern}.gz")])
        if matches:
            return matches[-1]
    return None

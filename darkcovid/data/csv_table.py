"""How is a CSV written? Its encoding, its delimiter, its header, and the line on which each row begins.

Spreadsheets write commas, semicolons or tabs, in UTF-8 or UTF-16, and leave blank rows; all of these are read. A table in another
encoding is refused, because nothing in it says which one.
"""

import codecs
import csv
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pandas as pd

from darkcovid.core.errors import DataError, one_line

DELIMITERS = ",;\t|"
EXCEL_HINT = re.compile(r'"?sep=(.)"?[,;\t|]*', re.IGNORECASE)
ENCODING_OF_MARK = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
WORKBOOK = b"PK\x03\x04"
HEAD_BYTES = 256


@dataclass(frozen=True, slots=True)
class CsvForm:
    """How a CSV is written.

    Attributes:
        encoding: Python's name of it.
        delimiter: One character.
        header: Its cells without blanks around them.
        hint: Whether a line such as `sep=;`, which Excel writes, comes before the header.
    """

    encoding: str
    delimiter: str
    header: tuple[str, ...]
    hint: bool


def csv_form(path: Path, known: Collection[str] = ()) -> CsvForm:
    """How a CSV is written.

    Args:
        path: The file.
        known: Names in lower case; the delimiter is the one that splits the header into most of them, then into most cells.

    Returns:
        Its form.

    Raises:
        DataError: An Excel workbook, or not text in UTF-8 or UTF-16.
    """
    encoding = _encoding(path)
    with _readable(path), path.open(encoding=encoding, newline="") as lines:
        first = _first_with_text(lines)
        hint = EXCEL_HINT.fullmatch(first.rstrip("\r\n"))
        if hint:
            first = _first_with_text(lines)
        delimiter = hint[1] if hint else max(DELIMITERS, key=lambda candidate: _fitness(first, candidate, known))
        header = next(csv.reader(chain([first], lines), delimiter=delimiter), [])
    return CsvForm(encoding, delimiter, tuple(name.strip() for name in header), bool(hint))


def _fitness(line: str, delimiter: str, known: Collection[str]) -> tuple[int, int]:
    cells = next(csv.reader([line], delimiter=delimiter), [])
    return sum(cell.strip().lower() in known for cell in cells), len(cells)


def read_csv(path: Path, form: CsvForm, needed: int) -> tuple[pd.DataFrame, list[int]]:
    """The rows below the header.

    Args:
        path: The file.
        form: As `csv_form` gives it.
        needed: Cells that a row must have; Excel leaves out empty ones at its end.

    Returns:
        The rows, every cell as text, and the line of the file on which each begins.

    Raises:
        DataError: As `rows_of_csv` does.
    """
    rows, lines = [], []
    for line, row in rows_of_csv(path, form, needed):
        rows.append(row)
        lines.append(line)
    return pd.DataFrame(rows, columns=list(form.header), dtype=str), lines


def rows_of_csv(path: Path, form: CsvForm, needed: int) -> Iterator[tuple[int, list[str]]]:
    """Each row below the header; blank rows are left out.

    Args:
        path: The file.
        form: As `csv_form` gives it.
        needed: Cells that a row must have; Excel leaves out empty ones at its end.

    Yields:
        The line of the file on which the row begins, and as many cells as the header has.

    Raises:
        DataError: A row of fewer cells, or of more than the header, a last row that is cut off, an unclosed quote, or bytes that
            are not text.
    """
    width, last = len(form.header), [""]
    with _readable(path), path.open(encoding=form.encoding, newline="") as lines:
        reader = csv.reader(_remembering(lines, last), delimiter=form.delimiter, strict=True)
        for begins, row in islice(_with_lines(reader, path), 2 if form.hint else 1, None):
            cut_off = len(row) < width and not last[0].endswith(("\n", "\r"))
            if len(row) < needed or cut_off or any(cell.strip() for cell in row[width:]):
                counted = f"{len(row)} cells under a header of {width}"
                raise DataError(f"{path}: row {begins}: {counted}; check its delimiters and quotes")
            yield begins, row[:width] + [""] * (width - len(row))


def _with_lines(reader: Any, path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows of a `csv.reader` that are not blank, with the line on which each begins."""
    begins = 1
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield begins, row
            begins = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}: row {begins}: not readable as CSV ({error}); check its quotes") from None


def _remembering(lines: Iterator[str], last: list[str]) -> Iterator[str]:
    """The same lines; `last` holds the one that was read last."""
    for line in lines:
        last[0] = line
        yield line


def _encoding(path: Path) -> str:
    """By the byte order mark; without one UTF-16 is told from UTF-8 by the zeros in its commas."""
    with _readable(path), path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if head.startswith(WORKBOOK):
        raise DataError(f"{path}: an Excel workbook, not a CSV; save it as 'CSV UTF-8'")
    for mark, encoding in ENCODING_OF_MARK.items():
        if head.startswith(mark):
            return encoding
    zeros = head[0::2].count(0), head[1::2].count(0)
    if max(zeros) > len(head) // 4:
        return "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
    return "utf-8"


def _first_with_text(lines: Iterator[str]) -> str:
    return next((line for line in lines if line.strip()), "")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """What cannot be read within is a DataError that names the cause."""
    try:
        yield
    except UnicodeError as error:
        raise DataError(f"{path}: not text in UTF-8 or UTF-16 ({one_line(error)}); save it as 'CSV UTF-8'") from None
    except (csv.Error, OSError) as error:
        raise DataError(f"{path}: not a readable CSV ({one_line(error)})") from None

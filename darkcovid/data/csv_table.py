"""How is a CSV written? Its encoding, its delimiter, its header, and the line on which each row begins.

Spreadsheets write commas, semicolons or tabs, in UTF-8 or UTF-16, and leave blank rows; all of these are read. A table in another
encoding is refused, because nothing in it says which one.
"""

import codecs
import csv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pandas as pd

from darkcovid.core.errors import DataError, one_line

DELIMITERS = ",;\t|"
EXCEL_HINT = "sep="
ENCODING_OF_MARK = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
WORKBOOK = b"PK\x03\x04"
HEAD_BYTES = 256


@dataclass(frozen=True, slots=True)
class CsvForm:
    """encoding: Python's name of it; delimiter: one character; header: its cells without blanks around them; hint: whether a line
    such as `sep=;`, which Excel writes, comes before the header."""

    encoding: str
    delimiter: str
    header: tuple[str, ...]
    hint: bool


def csv_form(path: Path) -> CsvForm:
    """How a CSV is written. Raises DataError: an Excel workbook, not text in UTF-8 or UTF-16."""
    encoding = _encoding(path)
    with _lines(path, encoding) as lines:
        first = _first_with_text(lines)
        hint = first.lower().startswith(EXCEL_HINT) and len(first.rstrip("\r\n")) == len(EXCEL_HINT) + 1
        delimiter = first[len(EXCEL_HINT)] if hint else ""
        if hint:
            first = _first_with_text(lines)
        delimiter = delimiter or max(DELIMITERS, key=lambda one: len(next(csv.reader([first], delimiter=one), [])))
        header = next(csv.reader(chain([first], lines), delimiter=delimiter), [])
    return CsvForm(encoding, delimiter, tuple(name.strip() for name in header), hint)


def read_csv(path: Path, form: CsvForm) -> tuple[pd.DataFrame, list[int]]:
    """The rows below the header, every cell as text, and the line of the file on which each begins; blank rows are left out.

    Raises DataError: a row of more or fewer cells than the header, an unclosed quote, bytes that are not text.
    """
    width, rows, lines = len(form.header), [], []
    for line, row in _rows_with_lines(path, form):
        if len(row) < width or any(cell.strip() for cell in row[width:]):
            raise DataError(f"{path}: row {line}: {len(row)} cells under a header of {width}; check its delimiters and quotes")
        rows.append(row[:width])
        lines.append(line)
    return pd.DataFrame(rows, columns=list(form.header), dtype=str), lines


def _rows_with_lines(path: Path, form: CsvForm) -> Iterator[tuple[int, list[str]]]:
    with _lines(path, form.encoding) as lines:
        reader = csv.reader(lines, delimiter=form.delimiter, strict=True)
        begins, above = 1, 2 if form.hint else 1
        for row in reader:
            if any(cell.strip() for cell in row):
                if above:
                    above -= 1
                else:
                    yield begins, row
            begins = reader.line_num + 1


def _encoding(path: Path) -> str:
    """By the byte order mark; without one UTF-16 is told from UTF-8 by the zeros in its commas."""
    with _lines(path, "utf-8"), path.open("rb") as file:
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
def _lines(path: Path, encoding: str) -> Iterator[Iterator[str]]:
    """A text file's lines. What cannot be read is a DataError that names the cause."""
    try:
        with path.open(encoding=encoding, newline="") as file:
            yield iter(file)
    except UnicodeError as error:
        raise DataError(f"{path}: not text in UTF-8 or UTF-16 ({one_line(error)}); save it as 'CSV UTF-8'") from None
    except (csv.Error, OSError) as error:
        raise DataError(f"{path}: not a readable CSV ({one_line(error)})") from None

"""A table of predictions as text, from a CSV as any program writes it or from pandas, with the line of each row."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from darkcovid.core.errors import DataError, UsageError, one_line
from darkcovid.core.words import counted
from darkcovid.data.csv_table import csv_form, read_csv
from darkcovid.data.predictions.columns import ANSWER, IMAGE, TRUTH, is_index, plain_name
from darkcovid.data.predictions.scores import has_percent_sign, parse_numbers
from darkcovid.data.table_cells import INVISIBLE

MAX_BYTES = 2**28  # of a file; a larger one is not read
MAX_COLUMNS = 2000
MAX_NAME = 100  # letters of a column's name
BREAKS = re.compile(r"[\r\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029]+")
LIST = re.compile(r"\[([^\[\]]*)\]|\(([^()]*)\)")


@dataclass(frozen=True)
class TextTable:
    """n rows of text.

    Attributes:
        cells: (n) rows; every column a name of its own.
        lines: (n) line of the file on which each row begins, or its number.
        decimal_comma: Whether a comma may be a decimal mark.
        where: What a message calls it.
        note: How it is written; '' where nothing needs saying.
    """

    cells: pd.DataFrame
    lines: Sequence[int]
    decimal_comma: bool
    where: str
    note: str = ""

    @property
    def columns(self) -> list[str]:
        """Their names."""
        return list(self.cells.columns)

    def texts(self, column: str) -> list[str]:
        """The (n) cells of a column without blanks around them."""
        return self.cells[column].str.strip().tolist()

    def numbers(self, column: str):
        """The (n,) numbers of a column, nan where there is none; None where a cell is something else, or all are empty."""
        return parse_numbers(self.cells[column].tolist(), self.decimal_comma)

    def matrix(self, columns: Iterable[str]) -> np.ndarray:
        """(n, columns) float of columns of numbers, nan where there is none."""
        numbers = [self.numbers(column) for column in columns]
        return np.column_stack([np.full(len(self.cells), np.nan) if one is None else one for one in numbers])

    def percent_signs(self, columns: Sequence[str]) -> np.ndarray:
        """(n, columns) bool, which cells are written as percentages, `50%`."""
        signs = [[has_percent_sign(cell) for cell in self.cells[column]] for column in columns]
        return np.array(signs, bool).reshape(len(columns), len(self.cells)).T

    def take(self, rows) -> "TextTable":
        """The rows at `rows`, (m,) int, in that order."""
        lines = [self.lines[row] for row in rows]
        return TextTable(self.cells.iloc[rows].reset_index(drop=True), lines, self.decimal_comma, self.where, self.note)


def read_text_table(path: str | Path) -> TextTable:
    """A CSV of predictions, or of the names of images.

    Args:
        path: The file.

    Returns:
        Its rows.

    Raises:
        UsageError: No such file.
        DataError: Not a readable CSV, or one without rows.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        kind = "a folder; name a CSV file" if path.is_dir() else "no such file"
        raise UsageError(f"{path}: {kind}")
    if path.stat().st_size > MAX_BYTES:
        raise DataError(f"{path}: {path.stat().st_size / 2**20:.0f} MB; a table of predictions of at most 256 MB is read")
    form = csv_form(path, [*IMAGE, *TRUTH, *ANSWER])
    if len(form.header) > MAX_COLUMNS:
        raise DataError(f"{path}: {len(form.header)} columns; a table of predictions has at most {MAX_COLUMNS}")
    rows, lines = read_csv(path, form, needed=1)
    note = "" if form.delimiter == "," else f"columns are separated by {_name_of(form.delimiter)}"
    return _checked(rows, lines, form.delimiter != ",", str(path), note)


def table_of_frame(frame: pd.DataFrame, where: str = "the table of predictions") -> TextTable:
    """A pandas table as text; an index with names of images becomes a column.

    Args:
        frame: The table.
        where: What a message calls it.

    Returns:
        Its rows.

    Raises:
        DataError: It has no rows, or a column twice.
    """
    if frame.index.name is not None or not pd.api.types.is_integer_dtype(frame.index):
        frame = frame.reset_index() if frame.index.name not in frame else frame
    texts = pd.DataFrame(
        {number: [_text(value) for value in frame.iloc[:, number]] for number in range(frame.shape[1])}, dtype=str
    )
    return _checked(texts.set_axis([str(name) for name in frame.columns], axis=1), range(1, len(frame) + 1), False, where, "")


def _checked(rows: pd.DataFrame, lines: Sequence[int], decimal_comma: bool, where: str, note: str) -> TextTable:
    if rows.empty:
        raise DataError(f"{where}: no rows below the header")
    names = [one_line(INVISIBLE.sub("", str(name)))[:MAX_NAME] for name in rows.columns]
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{where}: column {twice!r} is in the header {names.count(twice)} times; rename or remove all but one")
    names = [
        name or ("index" if number == 0 and "index" not in names else f"unnamed {number}") for number, name in enumerate(names)
    ]
    rows = rows.set_axis(names, axis=1).apply(_plain_cells)
    return TextTable(_lists_as_columns(rows, where), lines, decimal_comma, where, note)


def _plain_cells(cells: pd.Series) -> pd.Series:
    """Without invisible characters and line breaks."""
    return cells.str.replace(INVISIBLE, "", regex=True).str.replace(BREAKS, " ", regex=True)


def _lists_as_columns(rows: pd.DataFrame, where: str) -> pd.DataFrame:
    """Columns of lists such as `[0.1, 0.9]`, as pandas writes arrays, as one column per place."""
    for name in list(rows.columns):
        first = rows[name].iloc[0].strip()
        if not LIST.fullmatch(first):
            continue
        lists = [re.split(r"[\s,;]+", cell.strip()[1:-1].strip()) for cell in rows[name]]
        if len({len(items) for items in lists}) != 1:
            raise DataError(f"{where}: column {name!r} has lists of different lengths")
        if parse_numbers([item for items in lists for item in items], False) is None or len(lists[0]) < 2:
            continue
        places = pd.DataFrame(lists, index=rows.index, columns=[f"{name}_{place}" for place in range(len(lists[0]))], dtype=str)
        rows = rows.drop(columns=name).join(places)
    return rows


def row_number_hint(table: TextTable) -> str:
    """What to do where no column names images: the columns of whole numbers may be rows of the manifest."""
    named = (*IMAGE, "row", "number", "nr")
    numbered = [
        name for name in table.columns if _are_row_numbers(table.texts(name)) and (is_index(name) or plain_name(name) in named)
    ]
    advice = "name it with --image-column"
    if numbered:
        advice += f"; if {numbered[0]!r} counts rows of the manifest, give --row-column {numbered[0]} and --first-row 0 or 1"
    return f"{advice}; if the rows are in the manifest's order, give --in-order ({counted(len(table.cells), 'row')})"


def counts_rows(texts: Sequence[str]) -> bool:
    """Whether cells count 0, 1, 2 or 1, 2, 3, as an index does: they may be names of files by chance alone."""
    return len(texts) > 1 and any([*map(str, range(first, first + len(texts)))] == list(texts) for first in (0, 1))


def _are_row_numbers(texts: Sequence[str]) -> bool:
    return all(text.isdecimal() for text in texts) and len(set(texts)) == len(texts)


def _name_of(delimiter: str) -> str:
    return {";": "semicolons", "\t": "tabs", "|": "bars"}[delimiter]


def _text(value: Any) -> str:
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value):
        return ""
    value = value.tolist() if isinstance(value, np.generic | np.ndarray) else value
    return repr(value) if isinstance(value, float) else str(value)

"""Which image is a row of predictions of, and of which set? By a column of names or of row numbers, or by the rows' order."""

import numpy as np
import pandas as pd

from darkcovid.core.errors import DataError, UsageError
from darkcovid.core.words import counted
from darkcovid.data.predictions.columns import IMAGE, SIDE, SIDES, known_columns, named_column
from darkcovid.data.predictions.join import join_images, unmatched_hint
from darkcovid.data.predictions.options import PredictionOptions
from darkcovid.data.predictions.table import TextTable, counts_rows, row_number_hint

ELSEWHERE = ("external:", "source:")
UNKNOWN_SIDE = "unknown"


def find_images(table: TextTable, manifest: pd.DataFrame, options: PredictionOptions, notes: list[str]) -> tuple[str, np.ndarray]:
    """Which image each row of a table is of.

    Args:
        table: n rows.
        manifest: (m) rows with path.
        options: What a person says.
        notes: To which is added how images were found.

    Returns:
        The column that names images, '' for none, and (n,) int, the manifest's rows, -1 where it has none.

    Raises:
        UsageError: It is not plain; the message says which option says it.
        DataError: Row numbers that are none.
    """
    columns, count = options.columns, len(manifest)
    if options.in_order:
        if len(table.cells) != count:
            raise UsageError(f"--in-order: {table.where} has {len(table.cells)} rows, the manifest {count}")
        notes.append("row by row in the manifest's order, as --in-order says")
        return "", np.arange(count)
    if columns.row:
        return _row_numbers(table, count, options, notes)
    if columns.image:
        name = named_column(table.columns, columns.image, "--image-column", table.where)
        join = join_images(table.texts(name), manifest.path.tolist(), f"{table.where}: column {name!r}", options.rule)
    else:
        name, join = _image_column(table, manifest, options)
    notes += filter(None, [f"images are named in column {name or 'without a name'}", join.note])
    return name, join.rows


def _image_column(table: TextTable, manifest: pd.DataFrame, options: PredictionOptions):
    """The column whose cells are the manifest's images, among those with such a name, else among all of text."""
    known = known_columns(table.columns, IMAGE)
    known = [name for name in known if not counts_rows(table.texts(name))]
    others = [name for name in table.columns if name not in known and table.numbers(name) is None]
    paths, refused = manifest.path.tolist(), []
    for names in (known, others):
        joins = {}
        for name in names:
            try:
                joins[name] = join_images(table.texts(name), paths, f"{table.where}: column {name!r}", options.rule)
            except UsageError as error:
                refused += [error] if table.numbers(name) is None else []
        best = [name for name, join in joins.items() if (join.rows >= 0).all()] or (list(joins) if names is known else [])
        if best and any((joins[name].rows != joins[best[0]].rows).any() for name in best):
            raise UsageError(f"{table.where}: columns {' and '.join(best)} name different images; choose with --image-column")
        if best:
            return best[0], joins[best[0]]
        if refused and names is known:
            ambiguous = [error for error in refused if "none of the" not in str(error)]
            raise (ambiguous or refused)[0]
    raise UsageError(f"{table.where}: no column names images of the manifest; {row_number_hint(table)}")


def _row_numbers(table: TextTable, count: int, options: PredictionOptions, notes: list[str]) -> tuple[str, np.ndarray]:
    name = named_column(table.columns, options.columns.row, "--row-column", table.where)
    if options.first_row is None:
        raise UsageError("--row-column: say what the manifest's first row is called with --first-row 0 (pandas) or 1")
    numbers = table.numbers(name)
    if numbers is None or not np.isfinite(numbers).all() or (numbers != numbers.astype(int)).any():
        raise DataError(f"--row-column {name}: {table.where} has cells there that are no whole numbers")
    rows = numbers.astype(int) - options.first_row
    outside = (rows < 0) | (rows >= count)
    if outside.any() and not options.skip_unusable:
        raise UsageError(
            f"--row-column {name}: {table.where} has row {int(numbers[outside.argmax()])}, the manifest rows "
            f"{options.first_row} to {count - 1 + options.first_row}"
        )
    notes.append(f"column {name} counts rows of the manifest from {options.first_row}")
    return name, np.where(outside, -1, rows)


def refuse_unmatched(
    table: TextTable, image: str, unmatched: np.ndarray, manifest: pd.DataFrame, options: PredictionOptions
) -> None:
    """Refuse rows whose image the manifest does not list, unless they are to be left out.

    Args:
        table: The predictions.
        image: The column that names images.
        unmatched: (k,) int, those rows.
        manifest: (m) rows with path.
        options: What a person says.

    Raises:
        UsageError: They are not to be left out.
    """
    if options.skip_unusable:
        return
    names = [table.texts(image)[row] for row in unmatched]
    hint = unmatched_hint(names, manifest.path.tolist(), []).removeprefix(f": the first is {names[0]!r}")
    raise UsageError(
        f"{table.where}: {counted(len(names), 'predicted image')} of {len(table.cells)} not in the manifest, the first is "
        f"{names[0]} (row {table.lines[unmatched[0]]}){hint.partition('; --image-column')[0]}; --skip-unusable leaves such "
        "rows out and says so"
    )


def table_sides(table: TextTable) -> np.ndarray:
    """(n,) train, valid, test, left_out or elsewhere; unknown where the table says nothing. table: n rows."""
    for name in known_columns(table.columns, SIDE):
        texts = [text.casefold() for text in table.texts(name)]
        known = [SIDES.get(text) or ("elsewhere" if text.startswith(ELSEWHERE) else None) for text in texts]
        if all(known):
            return np.array(known)
    return np.full(len(table.cells), UNKNOWN_SIDE)

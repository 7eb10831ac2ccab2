"""Predictions of any framework: each row joined to one image of the manifest, its label checked against the manifest's, its
scores as probabilities. What was found out is said in notes; what cannot be is asked for, and no row is dropped unsaid."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from darkcovid.core.errors import DataError, UsageError
from darkcovid.core.words import counted
from darkcovid.data.predictions.class_names import ClassNames, is_number, proven_names
from darkcovid.data.predictions.columns import (
    IMAGE,
    MAY_BE_AN_ANSWER,
    SIDE,
    SIDES,
    TRUTH,
    ColumnChoice,
    is_index,
    known_columns,
    named_column,
    plain_name,
)
from darkcovid.data.predictions.find_scores import Scored, find_scores
from darkcovid.data.predictions.join import JoinRule, join_images, unmatched_hint
from darkcovid.data.predictions.scores import Scores
from darkcovid.data.predictions.table import TextTable, counts_rows, row_number_hint

SEVERAL_FINDINGS = "|"
ELSEWHERE = ("external:", "source:")
UNKNOWN_SIDE = "unknown"


@dataclass(frozen=True)
class PredictionOptions:
    """What a person says of a table of predictions.

    Attributes:
        columns: Which is what.
        rule: How images are named.
        class_names: Class by label, number or column's name, on both sides.
        scores: What the numbers are.
        positive: The class of a single column of scores.
        truth: Whose labels count where the table's and the manifest's differ; '': refused.
        first_row: The number of the manifest's first row, for `columns.row`.
        in_order: Whether row i is of the manifest's row i.
        mean_of_duplicates: Whether several predictions of an image are averaged.
        skip_unusable: Whether rows without an image, a label or a number are left out, and counted.
        leave_out: Labels of the manifest whose images are not scored.
    """

    columns: ColumnChoice = field(default_factory=ColumnChoice)
    rule: JoinRule = field(default_factory=JoinRule)
    class_names: Mapping[str, str] = field(default_factory=dict)
    scores: Scores = "auto"
    positive: str = ""
    truth: Literal["", "manifest", "predictions"] = ""
    first_row: int | None = None
    in_order: bool = False
    mean_of_duplicates: bool = False
    skip_unusable: bool = False
    leave_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class PredictionTable:
    """What a table says of a manifest's images.

    Attributes:
        rows: (n,) int, the manifest's row of each scored image, ascending.
        sides: (n,) valid, test or unknown.
        scored: One classifier, or one per finding where findings stand alone; each of the n images.
        labels_only: Whether there were labels alone, and no scores.
        trained: Rows of the manifest that the table says were trained on.
        notes: How it was read, sentences.
        left_out: Images that are not scored, by reason.
    """

    rows: np.ndarray
    sides: np.ndarray
    scored: list[Scored]
    labels_only: bool
    trained: np.ndarray
    notes: tuple[str, ...]
    left_out: dict[str, int]


def join_predictions(table: TextTable, manifest: pd.DataFrame, options: PredictionOptions) -> PredictionTable:
    """Read predictions of a manifest's images.

    Args:
        table: The predictions.
        manifest: (m) rows with path and label.
        options: What a person says of them.

    Returns:
        The predictions.

    Raises:
        UsageError: Something is not plain; the message says which option says it.
        DataError: A row has no number, or no row is left.
    """
    notes, left_out = [table.note] if table.note else [], {}
    sides = table_sides(table)
    _tell_sides(sides, notes)
    ours = np.flatnonzero(~np.isin(sides, ("left_out", "elsewhere")))
    table, sides = table.take(ours), sides[ours]
    image, rows = _images(table, manifest, options, notes)
    unmatched = np.flatnonzero(rows < 0)
    if len(unmatched):
        _refuse_unmatched(table, image, unmatched, manifest, options)
        left_out["not in the manifest"] = len(unmatched)
    used = (rows >= 0) & np.isin(sides, ("valid", "test", UNKNOWN_SIDE))
    trained = np.unique(rows[(rows >= 0) & (sides == "train")])
    table, rows, sides = table.take(np.flatnonzero(used)), rows[used], sides[used]
    if not len(rows):
        raise DataError(f"{table.where}: no row is of an image that is to be scored")
    table, rows, sides = _single(table, rows, sides, image, options, notes)
    names, labels, truth = _labels(table, manifest, rows, options, image, notes)
    labeled = np.array([bool(label) and label not in options.leave_out for label in labels])
    for reason, count in pd.Series(labels)[~labeled].value_counts().items():
        left_out[f"labeled {reason}" if reason else "without a label"] = int(count)
    if not labeled.any():
        raise DataError(f"{table.where}: none of the images has a label, in the manifest or in the table")
    table, rows, sides = table.take(np.flatnonzero(labeled)), rows[labeled], sides[labeled]
    labels = [label for label, kept in zip(labels, labeled, strict=True) if kept]
    found = find_scores(table, labels, names, options.columns, options.scores, options.positive, (image, truth))
    notes += found.notes
    usable = np.isfinite(found.scored[0].probabilities).all(1)
    for part in found.scored[1:]:
        usable &= np.isfinite(part.probabilities).all(1)
    if not usable.all():
        if not options.skip_unusable:
            line = table.lines[int((~usable).argmax())]
            raise DataError(
                f"{table.where}: row {line}: no number in {found.columns}, as in {counted(int((~usable).sum()), 'row')}; fill "
                "in the scores, or --skip-unusable leaves such rows out and says so"
            )
        left_out["without a score"] = int((~usable).sum())
    order = np.flatnonzero(usable)
    order = order[np.argsort(rows[order], kind="stable")]
    if options.mean_of_duplicates:
        scored, kept = _averaged(found.scored, rows, order)
    else:
        scored, kept = [part.take(order) for part in found.scored], order
    if not len(kept):
        raise DataError(f"{table.where}: no row has scores")
    return PredictionTable(rows[kept], sides[kept], scored, found.labels_only, trained, tuple(notes), left_out)


def _images(table: TextTable, manifest: pd.DataFrame, options: PredictionOptions, notes: list[str]) -> tuple[str, np.ndarray]:
    """The column that names images ('' for none), and the manifest's row of each row, -1 where it has none."""
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
        best = [name for name, join in joins.items() if (join.rows >= 0).all()] or list(joins)
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


def _refuse_unmatched(table, image: str, unmatched: np.ndarray, manifest: pd.DataFrame, options: PredictionOptions) -> None:
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
    """(n,) train, valid, test, left_out or elsewhere; unknown where the table says nothing."""
    for name in known_columns(table.columns, SIDE):
        texts = [text.casefold() for text in table.texts(name)]
        known = [SIDES.get(text) or ("elsewhere" if text.startswith(ELSEWHERE) else None) for text in texts]
        if all(known):
            return np.array(known)
    return np.full(len(table.cells), UNKNOWN_SIDE)


def _tell_sides(sides: np.ndarray, notes: list[str]) -> None:
    for side, words in (("train", "of the training set"), ("left_out", "left out"), ("elsewhere", "of external sets")):
        count = int((sides == side).sum())
        if count:
            notes.append(f"{counted(count, 'row')} {words} by the table's own column: not scored")


def _single(table: TextTable, rows: np.ndarray, sides: np.ndarray, image: str, options: PredictionOptions, notes: list[str]):
    """One row per image: rows that are the same in every cell once; others refused, unless they are to be averaged."""
    same = pd.Series(rows).duplicated().to_numpy() & _repeats(table, rows)
    if same.any():
        notes.append(f"{counted(int(same.sum()), 'row')} twice in every cell: counted once")
        kept = np.flatnonzero(~same)
        table, rows, sides = table.take(kept), rows[kept], sides[kept]
    twice = pd.Series(rows).duplicated(keep=False).to_numpy()
    if twice.any() and not options.mean_of_duplicates:
        first = np.flatnonzero(rows == rows[twice.argmax()])
        names = table.texts(image) if image else [str(row) for row in rows]
        raise UsageError(
            f"{table.where}: {names[first[0]]} is predicted twice, in rows {table.lines[first[0]]} and {table.lines[first[1]]}"
            f"{_spelled(names, first)}, as {counted(len(set(rows[twice])), 'image')}; keep one row per image, or "
            "--duplicates mean averages their scores"
        )
    if twice.any():
        notes.append(
            f"{counted(len(set(rows[twice])), 'image')} predicted several times: scores are averaged, as --duplicates says"
        )
    return table, rows, sides


def _spelled(names: Sequence[str], rows: np.ndarray) -> str:
    return f" (there as {names[rows[1]]})" if names[rows[0]] != names[rows[1]] else ""


def _repeats(table: TextTable, rows: np.ndarray) -> np.ndarray:
    """(n,) bool, rows of which an earlier one is the same but for an index that pandas wrote."""
    kept = [name for name in table.columns if not is_index(name)]
    return table.cells[kept].assign(row=rows).duplicated().to_numpy()


def _labels(table, manifest: pd.DataFrame, rows: np.ndarray, options: PredictionOptions, image: str, notes: list[str]):
    """What labels mean, and each row's class: the manifest's, where it has none the table's, '' where neither has one."""
    listed = [options.class_names.get(label, label) for label in manifest.label.to_numpy()[rows]]
    present = {label for label in listed if label and label not in options.leave_out}
    if any(SEVERAL_FINDINGS in label for label in present):
        present |= {part for label in present for part in label.split(SEVERAL_FINDINGS)}
    names = ClassNames(present, options.class_names)
    asked = options.columns.truth
    if asked:
        columns = [named_column(table.columns, asked, "--label-column", table.where)]
    else:
        known = known_columns(table.columns, TRUTH)
        columns = [name for name in known if name != image and not _are_scores(table, name)]
    for column in columns:
        texts = table.texts(column)
        if not names.classes and not any(is_number(text) for text in texts):
            names = ClassNames(
                filter(None, texts), options.class_names
            )  # the manifest has no label, so the table's are the classes
        proven = proven_names(texts, listed)
        certain = asked or plain_name(column) not in MAY_BE_AN_ANSWER
        said = [names.meaning(text) if text else "" for text in texts]
        if None in said and proven:
            names.add_proven(texts, listed)
            said = [names.meaning(text) if text else "" for text in texts]
        differ = [row for row, (own, other) in enumerate(zip(said, listed, strict=True)) if other and own != "" and own != other]
        if not differ:
            notes.append(f"the labels of column {column} are the manifest's{_said_as(texts, said)}")
            return names, _merged(listed, said), column
        if options.truth == "manifest":
            notes.append(f"column {column} differs from the manifest in {counted(len(differ), 'label')}; the manifest's count")
            return names, _merged(listed, said), column
        if options.truth == "predictions" and None not in said:
            notes.append(f"column {column} differs from the manifest in {counted(len(differ), 'label')}; the table's count")
            return names, [own or other for own, other in zip(said, listed, strict=True)], column
        if certain:
            _refuse_labels(table, column, texts, said, listed, differ)
    return names, listed, ""


def _are_scores(table: TextTable, column: str) -> bool:
    numbers = table.numbers(column)
    return numbers is not None and bool((numbers != np.round(numbers))[np.isfinite(numbers)].any())


def _said_as(texts: Sequence[str], said: Sequence[str | None]) -> str:
    """The labels that are spelled otherwise, `0 is covid`."""
    other = sorted({(text, name) for text, name in zip(texts, said, strict=True) if name and text != name})
    return f" ({', '.join(f'{text} is {name}' for text, name in other)})" if other else ""


def _merged(listed: Sequence[str], said: Sequence[str | None]) -> list[str]:
    return [other or own or "" for own, other in zip(said, listed, strict=True)]


def _refuse_labels(table: TextTable, column: str, texts, said, listed, differ: Sequence[int]) -> None:
    unknown = sorted({text for text, name in zip(texts, said, strict=True) if name is None})
    first = differ[0]
    if unknown:
        example = ",".join(f"{text}=CLASS" for text in unknown[:4])
        raise UsageError(
            f"{table.where}: what {', '.join(unknown[:6])} of column {column!r} mean is not plain from the manifest's labels "
            f"({', '.join(sorted(set(filter(None, listed))))}), with which they do not go one to one: say it with --classes "
            f"{example}"
        )
    raise UsageError(
        f"{table.where}: row {table.lines[first]}: column {column!r} says {texts[first]}, the manifest {listed[first]}, as in "
        f"{counted(len(differ), 'row')} of {len(texts)}: check that rows belong to their images, then say whose labels count "
        "with --truth manifest or --truth predictions"
    )


def _averaged(scored: list[Scored], rows: np.ndarray, order: np.ndarray) -> tuple[list[Scored], np.ndarray]:
    """Scores of rows of one image as their mean, and the first row of each."""
    images, first, places = np.unique(rows[order], return_index=True, return_inverse=True)
    counts = np.bincount(places)
    averaged = []
    for part in scored:
        sums = np.zeros((len(images), len(part.classes)))
        np.add.at(sums, places, part.probabilities[order])
        averaged.append(Scored(part.name, part.classes, part.labels[order][first], sums / counts[:, None]))
    return averaged, order[first]

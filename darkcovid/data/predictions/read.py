"""Predictions of any framework: each row joined to one image of the manifest, its label checked against the manifest's, its
scores as probabilities. What was found out is said in notes; what cannot be is asked for, and no row is dropped unsaid."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from darkcovid.core.errors import DataError, UsageError
from darkcovid.core.words import counted
from darkcovid.data.predictions.columns import is_index
from darkcovid.data.predictions.find_images import UNKNOWN_SIDE, find_images, refuse_unmatched, table_sides
from darkcovid.data.predictions.find_labels import find_labels
from darkcovid.data.predictions.find_scores import find_scores
from darkcovid.data.predictions.options import PredictionOptions
from darkcovid.data.predictions.scored import Scored
from darkcovid.data.predictions.table import TextTable


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
    image, rows = find_images(table, manifest, options, notes)
    unmatched = np.flatnonzero(rows < 0)
    if len(unmatched):
        refuse_unmatched(table, image, unmatched, manifest, options)
        left_out["not in the manifest"] = len(unmatched)
    used = (rows >= 0) & np.isin(sides, ("valid", "test", UNKNOWN_SIDE))
    trained = np.unique(rows[(rows >= 0) & (sides == "train")])
    table, rows, sides = table.take(np.flatnonzero(used)), rows[used], sides[used]
    if not len(rows):
        raise DataError(f"{table.where}: no row is of an image that is to be scored")
    table, rows, sides = _single(table, rows, sides, image, options, notes)
    names, labels, truth = find_labels(table, manifest, rows, options, image, notes)
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

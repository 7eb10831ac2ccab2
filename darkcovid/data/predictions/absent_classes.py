"""Which further columns are scores of classes that no image of the manifest has? An answer of such a class is a wrong answer, so
they count wherever classes compete; what is not plain is asked for."""

from collections.abc import Mapping, Sequence

import numpy as np

from darkcovid.core.errors import UsageError
from darkcovid.data.importers.labels import SYNONYMS, default_class
from darkcovid.data.predictions.class_names import ClassNames, plain_word
from darkcovid.data.predictions.columns import CONFIDENCE, class_tokens, plain_name
from darkcovid.data.predictions.scored import some_of
from darkcovid.data.predictions.scores import SUM_TOLERANCE, Scores, adds_up
from darkcovid.data.predictions.table import TextTable

NO_CLASS = (*CONFIDENCE, "entropy", "uncertainty", "margin", "variance")


def absent_classes(
    table: TextTable,
    by_class: Mapping[str, str],
    unused: Mapping[str, str],
    names: ClassNames,
    words: Sequence[str],
    labels: Sequence[str],
    asked: Scores,
) -> tuple[dict[str, str], list[str]]:
    """Columns of scores of classes that no image has.

    Args:
        table: n rows.
        by_class: The column of each class of which there are images.
        unused: What the name of each further column of numbers says, by column.
        names: What labels mean.
        words: Predicted labels of the table.
        labels: (n) classes.
        asked: What the numbers are.

    Returns:
        The column of each such class, and notes.

    Raises:
        UsageError: Classes compete, and whether a column is of one is not plain.
    """
    if not by_class or not unused or asked == "per-finding" or any("|" in label for label in labels):
        return {}, []
    scores = table.matrix(by_class.values())
    scores = scores[np.isfinite(scores).all(1)]
    uncovered = set(labels) - set(by_class)
    if not len(scores) or (asked != "logits" and adds_up(scores)) or _logs_add_up(scores):
        return {}, []
    alike = _alike(by_class, unused, names, words)
    one_of_several = len(by_class) == 1 and uncovered  # a probability of one class can be read against the rest
    for columns in (alike, unused):
        wider = table.matrix([*by_class.values(), *columns])
        wider = wider[np.isfinite(wider).all(1)]
        if not columns or not len(wider):
            continue
        sums = asked in ("auto", "probabilities", "percent", "largest") and adds_up(wider) and not one_of_several
        if sums or (asked in ("auto", "logits") and _logs_add_up(wider)):
            return _by_class(table, by_class, columns), [
                f"columns {some_of(list(columns))} are of classes that no image has: all add up to 1 only with them"
            ]
    negative = asked == "auto" and scores.min() < 0 and (not uncovered or len(by_class) == 1)
    if asked not in ("logits", "largest") and not negative:
        return {}, []
    whole = bool((scores == np.round(scores)).all())
    others = [column for column in unused if column not in alike and plain_name(column) not in NO_CLASS]
    open_ones = [column for column in others if whole or not _is_whole(table, column)]
    if open_ones:
        some = f"{unused[open_ones[0]]}={unused[open_ones[0]]}"
        raise UsageError(
            f"{table.where}: columns {some_of(open_ones)} may be scores of classes that no image has, whose answers would be "
            f"wrong ones: --classes {some} counts one as a class, --probability CLASS=COLUMN for each class names all that are, "
            "and --scores per-finding says that none compete"
        )
    if not alike:
        return {}, []
    return _by_class(table, by_class, alike), [
        f"columns {some_of(list(alike))} are of classes that no image has: they compete, too"
    ]


def _alike(by_class: Mapping[str, str], unused: Mapping[str, str], names: ClassNames, words: Sequence[str]) -> dict[str, str]:
    """The further columns that are named as those of classes are, after a known class or after a predicted label."""
    forms = {_form(column, name, names) for name, column in by_class.items()} - {""}
    predicted = {plain_word(word) for word in words}
    return {
        column: token
        for column, token in unused.items()
        if default_class(token) in SYNONYMS
        or plain_word(token) in predicted
        or (token != column.strip() and column.strip().replace(token, "\0") in forms)
    }


def _form(column: str, name: str, names: ClassNames) -> str:
    """What stands around the class in a column's name; '' where nothing does, or it is not known."""
    token = class_tokens([column])[column]
    return column.strip().replace(token, "\0") if token != column.strip() and names.meaning(token) == name else ""


def _by_class(table: TextTable, by_class: Mapping[str, str], columns: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for column, token in columns.items():
        if token in found or token in by_class:
            raise UsageError(
                f"{table.where}: columns {found.get(token) or by_class[token]!r} and {column!r} may both be scores of {token}: "
                f"name the columns with --probability {token}=COLUMN, for each class"
            )
        found[token] = column
    return found


def _logs_add_up(scores: np.ndarray) -> bool:
    """Whether (n, k) scores are logarithms of probabilities."""
    return bool(scores.max() <= 0 and np.abs(np.exp(scores).sum(1) - 1).max() <= SUM_TOLERANCE)


def _is_whole(table: TextTable, column: str) -> bool:
    numbers = table.matrix([column])
    return bool((numbers == np.round(numbers))[np.isfinite(numbers)].all())

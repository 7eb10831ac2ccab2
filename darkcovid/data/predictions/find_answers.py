"""The column of predicted labels: an answer by itself where there are no scores, else checked against them."""

from collections.abc import Collection, Sequence

import numpy as np

from darkcovid.core.errors import UsageError
from darkcovid.core.words import counted
from darkcovid.data.predictions.class_names import ClassNames, is_number
from darkcovid.data.predictions.columns import (
    ANSWER,
    CONFIDENCE,
    MAY_BE_AN_ANSWER,
    ColumnChoice,
    known_columns,
    named_column,
    plain_name,
)
from darkcovid.data.predictions.scored import FoundScores, Scored, some_of
from darkcovid.data.predictions.table import TextTable
from darkcovid.recipe import REST


def answer_column(table: TextTable, columns: ColumnChoice, taken: Collection[str]) -> str:
    """The column of predicted labels.

    Args:
        table: n rows.
        columns: Which a person named.
        taken: Columns that are something else.

    Returns:
        Its name; '' for none.

    Raises:
        UsageError: There is none of the name that was given.
    """
    if columns.answer:
        return named_column(table.columns, columns.answer, "--predicted-column", table.where)
    for name in known_columns(table.columns, ANSWER):
        numbers = table.numbers(name)
        whole = numbers is None or bool((numbers == np.round(numbers))[np.isfinite(numbers)].all())
        if name not in taken and whole:
            return name
    return ""


def labels_alone(table: TextTable, answer: str, labels: Sequence[str], names: ClassNames, taken: Collection[str]) -> FoundScores:
    """A predicted label, and its confidence where two classes make that a probability.

    Args:
        table: n rows.
        answer: The column of predicted labels; '' for none.
        labels: (n) classes.
        names: What labels mean.
        taken: Columns that are something else.

    Returns:
        Each image's predicted class with probability 1, or with its confidence.

    Raises:
        UsageError: There is no such column, or what it says is not plain.
    """
    if not answer:
        same = next((name for name in taken if name and plain_name(name) in MAY_BE_AN_ANSWER), "")
        if same:
            raise UsageError(
                f"{table.where}: column {same!r} is the same as the labels in every row, so it may hold no predictions; say "
                "that it does with --predicted-column"
            )
        raise UsageError(
            f"{table.where}: no column of scores or of predicted labels; columns are {some_of([*filter(None, table.columns)])}: "
            "name them with --probability CLASS=COLUMN or --predicted-column, or say what names mean with --classes NAME=CLASS"
        )
    said = _answers(table, answer, names, labels)
    classes = tuple(sorted({*labels, *said}))
    if len(classes) < 2:
        raise UsageError(f"{table.where}: all images are labeled {labels[0]} and called so, so there is nothing to tell apart")
    codes = {name: code for code, name in enumerate(classes)}
    probabilities = np.eye(len(classes))[[codes[name] for name in said]]
    notes = [
        f"predicted labels are in column {answer}; there are no scores, so nothing is said of calibration, AUROC and thresholds"
    ]
    confident = [name for name in known_columns(table.columns, CONFIDENCE) if name not in taken and name != answer]
    numbers = table.numbers(confident[0]) if confident and len(classes) == 2 else None
    if numbers is not None and np.nanmin(numbers) >= 0.5 and np.nanmax(numbers) <= 1:
        probabilities = np.where(probabilities == 1, numbers[:, None], 1 - numbers[:, None])
        notes = [f"predicted labels are in column {answer}, of two classes, with their probability in column {confident[0]}"]
        return FoundScores([Scored("", classes, np.array(labels, object), probabilities)], confident[0], False, notes)
    return FoundScores([Scored("", classes, np.array(labels, object), probabilities)], answer, True, notes)


def _answers(table: TextTable, answer: str, names: ClassNames, labels: Sequence[str]) -> list[str]:
    texts = table.texts(answer)
    said = {text: names.meaning(text) for text in dict.fromkeys(texts)}
    unknown = [text or "an empty cell" for text, name in said.items() if name is None]
    if unknown:
        raise UsageError(
            f"{table.where}: column {answer!r} says {some_of(unknown)}, labels are {', '.join(sorted(set(labels)))}: say what is "
            f"meant with --classes {','.join(f'{text}=CLASS' for text in unknown[:3])}"
        )
    return [name for text in texts if (name := said[text]) is not None]


def checked_against(found: FoundScores, table: TextTable, answer: str, names: ClassNames) -> FoundScores:
    """Scores, with a note of how often a column of predicted labels is not the class of the largest one.

    Args:
        found: The scores.
        table: n rows.
        answer: The column of predicted labels; '' for none.
        names: What labels mean.

    Returns:
        The scores.

    Raises:
        UsageError: A column `label` or `class` is neither the true nor the predicted label.
    """
    part = found.scored[0]
    if not answer or len(found.scored) > 1:
        return found
    texts = table.texts(answer)
    said = {text: _class_of(text, names, part.classes) for text in set(texts)}
    best = [part.classes[place] for place in np.nan_to_num(part.probabilities).argmax(1)]
    compared = [text != "" and (said[text] is not None or not is_number(text)) for text in texts]
    differ = sum(known and said[text] != other for text, other, known in zip(texts, best, compared, strict=True))
    if plain_name(answer) in ("label", "class") and differ:
        raise UsageError(
            f"{table.where}: column {answer!r} is neither the manifest's label nor the class of the largest score in every "
            "row: name it with --label-column (the true label) or --predicted-column"
        )
    if differ:
        unknown = sorted(text for text, name in said.items() if text and name is None and not is_number(text))
        found.notes.append(
            f"column {answer} is another class than that of the largest score in {counted(differ, 'row')}; the score counts"
            + (f"; no column of scores is of {some_of(unknown)}" if unknown else "")
        )
    if not all(compared):
        missing = len(compared) - sum(compared)
        found.notes.append(f"column {answer} is empty or a number of no known class in {counted(missing, 'row')}: not compared")
    return found


def _class_of(text: str, names: ClassNames, classes: Sequence[str]) -> str | None:
    """The class of scores that a predicted label means: the rest, where there is one, for all that have no column."""
    name = names.meaning(text)
    if REST in classes and name not in classes and text and (name is not None or not is_number(text)):
        return REST
    return name

"""Which columns are the scores of which classes, and what do they say? Columns named after classes or numbered, one column of a
positive class, a probability for each finding by itself, or a predicted label alone."""

from collections.abc import Collection, Sequence

import numpy as np

from darkcovid.core.errors import UsageError
from darkcovid.core.words import counted
from darkcovid.data.predictions.absent_classes import absent_classes
from darkcovid.data.predictions.class_names import ClassNames, is_number, proven_names
from darkcovid.data.predictions.columns import (
    BINARY,
    CONFIDENCE,
    SIDE,
    ColumnChoice,
    class_tokens,
    is_index,
    known_columns,
    named_column,
    plain_name,
)
from darkcovid.data.predictions.find_answers import answer_column, checked_against, labels_alone
from darkcovid.data.predictions.scored import SHOWN, FoundScores, Scored, some_of
from darkcovid.data.predictions.scores import Scores, adds_up, kind_of_signed, to_binary, to_probabilities
from darkcovid.data.predictions.table import TextTable
from darkcovid.recipe import REST

NO_SCORES = ("patient", "patient_id", "patientid", "subject", "subject_id", "study", "study_id", "age", "sex", "gender", "view",
             "fit", "fold", "seed", "epoch", "width", "height", "bytes", "ood_score", "lungs_rejected", "loss", "top1conf",
             "top1_conf", "top5", "top5conf", "correct", "right", "error", "year", "follow_up")  # fmt: skip


def find_scores(
    table: TextTable,
    labels: Sequence[str],
    names: ClassNames,
    columns: ColumnChoice,
    asked: Scores,
    positive: str,
    taken: Collection[str],
) -> FoundScores:
    """The scores of a table's rows.

    Args:
        table: (n) rows.
        labels: (n) classes.
        names: What labels and columns mean.
        columns: Which a person named.
        asked: What the numbers are.
        positive: The class of a single column; '': by its name.
        taken: Columns that are something else.

    Returns:
        Probabilities; nan where a row has no number.

    Raises:
        UsageError: It is not plain which column is of which class, or what the numbers are.
    """
    answer = answer_column(table, columns, taken)
    parts = {part for label in labels for part in label.split("|")}
    by_class, unused = _class_columns(table, names, columns, {*taken, answer}, answer, labels)
    more, notes = absent_classes(table, by_class, unused, names, table.texts(answer) if answer else [], labels, asked)
    for name in (*by_class, *more):
        names.add_class(name)
    by_class |= more
    unused = [column for column in unused if column not in more.values()]
    if columns.scores or len(by_class) > 1:
        found = _of_classes(table, by_class, unused, labels, parts, asked)
    else:
        single = _single_column(table, by_class, names, positive, {*taken, answer}, answer)
        found = _of_one(table, *single, labels, parts, asked) if single else None
    if found is None:
        return labels_alone(table, answer, labels, names, taken)
    found.notes[:0] = notes
    return checked_against(found, table, answer, names)


def _class_columns(table, names: ClassNames, columns: ColumnChoice, taken: Collection[str], answer: str, labels):
    """The column of each class, and the further columns of numbers that may be of classes."""
    if columns.scores:
        by_class: dict[str, str] = {}
        for name, asked in columns.scores.items():
            column = named_column(table.columns, asked, "--probability", table.where)
            _take(table, by_class, names.meaning(name) or name, column)
        missing = [column for column in by_class.values() if table.numbers(column) is None]
        if missing:
            raise UsageError(f"--probability: column {missing[0]!r} of {table.where} has cells that are no numbers")
        return by_class, {}
    reserved = {*taken, *(name for name in table.columns if plain_name(name) in (*NO_SCORES, *SIDE) or is_index(name))}
    numeric = [name for name in table.columns if name and name not in reserved and table.numbers(name) is not None]
    tokens = class_tokens(numeric)
    numbered = {column: token for column, token in tokens.items() if is_number(token)}
    if len(numbered) > 1:
        _prove_numbers(table, numbered, names, answer, labels)
    by_class = {}
    for column, token in tokens.items():
        meant = names.meaning(token)
        if meant is not None:
            _take(table, by_class, meant, column)
    unknown = [column for column, token in numbered.items() if names.meaning(token) is None]
    if unknown and len(numbered) > 1:
        _refuse_numbers(table, numbered, names)
    return by_class, {column: token for column, token in tokens.items() if column not in by_class.values()}


def _take(table: TextTable, by_class: dict[str, str], name: str, column: str) -> None:
    """Add the column of a class."""
    if name in by_class:
        raise UsageError(
            f"{table.where}: columns {by_class[name]!r} and {column!r} may both be scores of {name}: name the columns with "
            f"--probability {name}=COLUMN, for each class"
        )
    by_class[name] = column


def _prove_numbers(table: TextTable, numbered, names: ClassNames, answer: str, labels: Sequence[str]) -> None:
    """The classes of numbered columns, where the predicted words and the largest score go one to one."""
    if not answer or all(names.meaning(token) for token in numbered.values()):
        return
    scores = table.matrix(list(numbered))
    best = [list(numbered.values())[place] for place in np.nan_to_num(scores, nan=-np.inf).argmax(1)]
    words = [names.meaning(text) or "" for text in table.texts(answer)]
    if not any(is_number(text) for text in table.texts(answer)):
        proven = proven_names(best, words)
        if len(proven) == len(numbered):
            names.said |= proven


def _refuse_numbers(table: TextTable, numbered, names: ClassNames) -> None:
    numbers = list(numbered.values())
    classes = sorted(names.classes)
    same = len(classes) == len(numbers)
    example = ",".join(f"{number}={classes[place] if same else 'CLASS'}" for place, number in enumerate(numbers))
    raise UsageError(
        f"{table.where}: which class each of columns {', '.join(list(numbered)[:SHOWN])} is of is not said: give --classes "
        f"{example} in your model's order"
        + (" (Keras and scikit-learn number classes in alphabetical order, as here)" if same else "")
    )


def _of_classes(table, by_class: dict[str, str], unused: Sequence[str], labels, parts: set[str], asked: Scores) -> FoundScores:
    """A column per class: competing where all labels have one, else each by itself."""
    classes, notes = list(by_class), []
    scores = table.matrix([by_class[name] for name in classes])
    known = np.isfinite(scores).all(1)
    uncovered = sorted(set(labels) - set(classes))
    several = any("|" in label for label in labels)
    if not known.any():
        raise UsageError(
            f"{table.where}: no row has a number in all of {', '.join(by_class.values())}; name columns with --probability"
        )
    signed = table.percent_signs([by_class[name] for name in classes])[known]
    asked = kind_of_signed(signed, scores[known], asked, ", ".join(by_class.values()), table.where)
    complete = not uncovered and not several
    alone = asked == "per-finding" or (asked == "auto" and not complete and not adds_up(scores[known]))
    if not complete and not alone:
        raise UsageError(
            f"{table.where}: {counted(sum(label in uncovered for label in labels), 'image')} labeled "
            f"{', '.join(uncovered[:SHOWN])} have no column of scores; columns are of {', '.join(classes)}: say what they are "
            f"with --classes {uncovered[0]}={classes[0]}, or leave them out with --leave-out {uncovered[0]}"
        )
    kind: Scores = "per-finding" if asked == "auto" and alone else asked
    probabilities = np.full(scores.shape, np.nan)
    read = to_probabilities(scores[known], [by_class.get(name, name) for name in classes], kind, table.where, complete)
    probabilities[known] = read.values
    where = ", ".join(by_class.get(name, name) for name in classes)
    notes.append(f"{read.note} ({_columns(by_class)})")
    if unused:
        notes.append(f"not used: {some_of(unused)}")
    if not read.alone:
        return FoundScores([Scored("", tuple(classes), np.array(labels, object), probabilities)], where, False, notes)
    scored = []
    for place, name in enumerate(classes):
        truth = [name in label.split("|") for label in labels]
        if any(truth) and not all(truth):
            two = np.column_stack([probabilities[:, place], 1 - probabilities[:, place]])
            scored.append(Scored(name, (name, REST), np.where(truth, name, REST).astype(object), two))
    if not scored:
        raise UsageError(f"{table.where}: no finding of {', '.join(classes)} tells any two of the images' labels apart")
    others = sorted(parts - {*classes, REST})
    notes.append(
        "each finding is scored against the rest"
        + (f"; labels without a column count as rest: {some_of(others)}" if others else "")
    )
    return FoundScores(scored, where, False, notes)


def _single_column(table: TextTable, by_class: dict[str, str], names: ClassNames, positive: str, taken, answer: str):
    """One column of scores and its class; None where there is none."""
    if positive and names.meaning(positive) is None:
        raise UsageError(f"--positive {positive}: no image has such a label; labels are {', '.join(sorted(names.classes))}")
    meant = names.meaning(positive) if positive else None
    if by_class:
        name, column = next(iter(by_class.items()))
        if meant not in (None, name):
            raise UsageError(f"--positive {positive}: column {column!r} is of {name}")
        return column, name
    floats = [name for name in known_columns(table.columns, BINARY) if name not in taken and table.numbers(name) is not None]
    floats = [name for name in floats if not (answer and plain_name(name) in CONFIDENCE)]
    if not floats:
        return None
    if len(floats) > 1:
        raise UsageError(
            f"{table.where}: columns {', '.join(floats)} may be the scores; name one with --probability CLASS=COLUMN"
        )
    if meant is None and {"0", "1"} <= set(names.said) and len(names.classes) == 2:
        meant = names.said["1"]
    if meant is None:
        raise UsageError(
            f"{table.where}: column {floats[0]!r} is one column of scores: say of which class with --positive "
            f"{' or --positive '.join(sorted(names.classes)[:SHOWN])}"
        )
    return floats[0], meant


def _of_one(table: TextTable, column: str, positive: str, labels: Sequence[str], parts: set[str], asked: Scores) -> FoundScores:
    """A positive class against the one other, or against the rest."""
    others = sorted(parts - {positive})
    negative = others[0] if len(others) == 1 else REST
    numbers = table.matrix([column])[:, 0]
    known = np.isfinite(numbers)
    probabilities = np.full((len(numbers), 2), np.nan)
    if known.any():
        asked = kind_of_signed(table.percent_signs([column])[known], numbers[known, None], asked, column, table.where)
    read = to_binary(numbers[known], column, asked, table.where)
    probabilities[known] = read.values[:, ::-1]
    notes = [f"{read.note}, of {positive} against {negative}"]
    if negative == REST and others not in ([], [REST]):
        notes.append(f"labels without a column count as rest: {some_of([name for name in others if name != REST])}")
    truth = np.where([positive in label.split("|") for label in labels], positive, negative).astype(object)
    return FoundScores([Scored("", (positive, negative), truth, probabilities)], column, False, notes)


def _columns(by_class: dict[str, str]) -> str:
    return ", ".join(column if column == name else f"{column}: {name}" for name, column in by_class.items())

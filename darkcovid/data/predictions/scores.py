"""What are these numbers: probabilities, percent, logits, or a probability for each finding by itself?

What the numbers themselves cannot say is asked for: columns of 0..1 that do not add up to 1 may compete or stand alone.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import expit, softmax

from darkcovid.core.errors import DataError, UsageError

Scores = Literal["auto", "probabilities", "percent", "logits", "per-finding", "largest"]
SUM_TOLERANCE = 0.02  # of probabilities that were rounded to two digits
LARGEST_LOGIT = 20.0  # of a single column: a larger number is a percentage, since 1 / (1 + exp(-20)) is 1 to eight digits
NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")
NO_NUMBER = frozenset(["", "nan", "na", "n/a", "#n/a", "<na>", "none", "null", "-nan", "inf", "-inf", "infinity", "-infinity"])


@dataclass(frozen=True, slots=True)
class Probabilities:
    """values: (n, k) float in 0..1, rows sum to 1 unless each column stands alone; alone: whether it does; note: what the numbers
    were."""

    values: np.ndarray
    alone: bool
    note: str


def parse_numbers(cells: Sequence[str], decimal_comma: bool) -> np.ndarray | None:
    """The numbers of a column.

    Args:
        cells: (n) of text.
        decimal_comma: Whether a comma may be a decimal mark.

    Returns:
        (n,) float, nan where there is none, `50%` as 0.5; None where a cell is something else, or all are empty.
    """
    numbers = np.full(len(cells), np.nan)
    some = False
    for place, cell in enumerate(cells):
        percent = has_percent_sign(cell)
        text = cell.strip().removesuffix("%").rstrip()
        if text.lower() in NO_NUMBER:
            continue
        if NUMBER.fullmatch(text) is None or ("," in text and not decimal_comma):
            return None
        number = float(text.replace(",", "."))
        numbers[place], some = number / 100 if percent else number, True
    return numbers if some else None


def has_percent_sign(cell: str) -> bool:
    """Whether a cell is written as a percentage, `50%`."""
    return cell.rstrip().endswith("%")


def kind_of_signed(signed: np.ndarray, scores: np.ndarray, asked: Scores, columns: str, where: str) -> Scores:
    """What numbers are of which some or all are written with a percent sign, and are read as 0.5 where `50%` is written.

    Args:
        signed: (n, k) bool, which have a sign.
        scores: (n, k) float, finite.
        asked: What they are said to be.
        columns: For messages.
        where: The file, for messages.

    Returns:
        What they are after the sign is taken for a hundredth.

    Raises:
        DataError: Some have a sign and others none, or one is no share of 100.
        UsageError: They are said to be something else.
    """
    if not signed.any():
        return asked
    if not signed.all():
        raise DataError(f"{where}: some numbers of {columns} have a percent sign and others none; write all in one way")
    if asked == "logits":
        raise UsageError(f"{where}: numbers of {columns} have a percent sign, so they are no logits; leave --scores out")
    if scores.min() < 0 or scores.max() > 1:
        raise DataError(f"{where}: percentages of {columns} lie between {scores.min() * 100:g} and {scores.max() * 100:g}")
    one_column = scores.shape[1] == 1 and asked == "auto"
    return "probabilities" if asked == "percent" or one_column else asked


def to_probabilities(scores: np.ndarray, names: Sequence[str], asked: Scores, where: str, complete: bool = True) -> Probabilities:
    """Scores of several classes as probabilities.

    Args:
        scores: (n, k) float, k of 2 or more, finite.
        names: (k) of the columns, for messages.
        asked: What they are; auto: found out.
        where: The file, for messages.
        complete: Whether every class has a column, so that columns may compete.

    Returns:
        The probabilities.

    Raises:
        UsageError: The numbers may mean several things.
        DataError: They are not what they are said to be.
    """
    low, high, total = scores.min(), scores.max(), scores.sum(1)
    worst = int(np.abs(total - 1).argmax())
    if asked == "auto":
        asked = kind_of_scores(scores, names, where, complete)
    if asked == "probabilities":
        if low < 0 or abs(total[worst] - 1) > SUM_TOLERANCE:
            raise DataError(f"{where}: the probabilities of {', '.join(names)} add up to {total[worst]:.2f} in a row, not to 1")
        return Probabilities(scores / total[:, None], False, "scores are probabilities that add up to 1")
    if asked == "percent":
        if low < 0 or not np.allclose(total, 100, atol=100 * SUM_TOLERANCE):
            raise DataError(f"{where}: --scores percent: numbers of 0 to 100 that add up to 100 are expected")
        return Probabilities(scores / total[:, None], False, "scores are percentages that add up to 100")
    if asked == "logits":
        values = np.asarray(softmax(scores, axis=1))
        logs = np.allclose(np.exp(scores).sum(1), 1, atol=SUM_TOLERANCE) if high <= 0 else False
        return Probabilities(
            values, False, "scores are log-probabilities" if logs else "scores are logits: a softmax was applied"
        )
    outside = low < 0 or high > 1
    values = np.asarray(expit(scores)) if outside else scores
    applied = ", of which the sigmoid was taken" if outside else ""
    if asked == "per-finding":
        return Probabilities(values, True, f"each column is a probability by itself{applied}")
    total = values.sum(1, keepdims=True)
    if (total <= 0).any():
        raise DataError(f"{where}: row {int((total[:, 0] <= 0).argmax()) + 1} of the matched rows has no probability above 0")
    note = f"columns do not add up to 1{applied}: the largest is the answer, and each was divided by their sum"
    return Probabilities(values / total, False, note)


def to_binary(scores: np.ndarray, name: str, asked: Scores, where: str) -> Probabilities:
    """One column of scores of the positive class as the probabilities of the other class and of it.

    Args:
        scores: (n,) float, finite.
        name: Of the column.
        asked: What they are; auto: found out.
        where: The file, for messages.

    Returns:
        (n, 2) probabilities: of the negative and of the positive class.

    Raises:
        UsageError: The numbers may mean several things.
        DataError: They are not what they are said to be.
    """
    low, high = scores.min(), scores.max()
    if asked == "auto":
        asked = kind_of_column(scores, name, where)
    scale = {"percent": 100.0}.get(asked, 1.0)
    if asked == "logits" or (asked in ("per-finding", "largest") and (low < 0 or high > 1)):
        positive, note = np.asarray(expit(scores)), f"{name} is a logit: the sigmoid was taken"
    elif low < 0 or high > scale:
        raise DataError(f"{where}: --scores {asked}: column {name!r} has numbers of {low:g} to {high:g}")
    else:
        positive, note = scores / scale, f"{name} is one column of {'percent' if scale > 1 else 'probabilities'}"
    return Probabilities(np.column_stack([1 - positive, positive]), False, note)


def adds_up(scores: np.ndarray) -> bool:
    """Whether (n, k) scores are probabilities or percentages: none below 0, every row's sum 1 or 100."""
    total = scores.sum(1)
    sums = np.abs(total - 1).max() <= SUM_TOLERANCE or np.abs(total - 100).max() <= 100 * SUM_TOLERANCE
    return bool(scores.min() >= 0 and sums)


def kind_of_column(scores: np.ndarray, name: str, where: str) -> Scores:
    """What the numbers of a single column are.

    Args:
        scores: (n,) float, finite.
        name: Of the column.
        where: The file, for messages.

    Returns:
        probabilities, percent or logits.

    Raises:
        UsageError: They may be several of these.
    """
    low, high = scores.min(), scores.max()
    if low >= 0 and high <= 1:
        return "probabilities"
    if low >= 0 and LARGEST_LOGIT < high <= 100:
        return "percent"
    if low < 0:
        return "logits"
    raise UsageError(
        f"{where}: column {name!r} has numbers of {low:g} to {high:g}: say what they are with --scores percent or --scores logits"
    )


def kind_of_scores(scores: np.ndarray, names: Sequence[str], where: str, complete: bool = True) -> Scores:
    """What the numbers of several columns are.

    Args:
        scores: (n, k) float, finite.
        names: (k) of the columns, for messages.
        where: The file, for messages.
        complete: Whether every class has a column, so that columns may compete.

    Returns:
        probabilities, percent, logits or per-finding.

    Raises:
        UsageError: They may be several of these.
        DataError: Probabilities below 0.
    """
    total = scores.sum(1)
    if scores.min() >= 0 and np.abs(total - 1).max() <= SUM_TOLERANCE:
        return "probabilities"
    if scores.min() >= 0 and np.abs(total - 100).max() <= 100 * SUM_TOLERANCE:
        return "percent"
    if scores.min() >= 0 and scores.max() <= 1:
        if not complete:
            return "per-finding"
        worst = int(np.abs(total - 1).argmax())
        raise UsageError(
            f"{where}: the scores of {', '.join(names)} add up to {total[worst]:.2f} in a row, not to 1: say whether classes "
            "compete (--scores largest), each stands alone (--scores per-finding) or they are logits (--scores logits)"
        )
    if scores.min() < 0 and np.abs(total - 1).max() <= SUM_TOLERANCE:
        raise DataError(f"{where}: the scores of {', '.join(names)} add up to 1, and one is {scores.min():g}: no probability is")
    if complete and scores.min() < 0:
        return "logits"
    raise UsageError(
        f"{where}: the scores of {', '.join(names)} lie between {scores.min():g} and {scores.max():g}: say what they are with "
        "--scores logits, --scores percent or --scores per-finding"
    )

"""Several findings of one image, each with a column of its own, become one label; findings that are uncertain stay apart."""

from collections.abc import Iterable, Mapping

POSITIVE, UNCERTAIN = (1.0,), (-1.0,)


def join_findings(row: Mapping[str, str], names: Iterable[str]) -> tuple[str, str]:
    """The findings of one row in the form of CheXpert's labeler: 1 positive, 0 negative, -1 uncertain, blank not mentioned.

    Args:
        row: The cells by column.
        names: The columns that are findings.

    Returns:
        Positive findings, and uncertain ones, each joined by `|` in the columns' order.
    """
    values = {name: _number(row.get(name, "")) for name in names}
    positive = [name for name, value in values.items() if value in POSITIVE]
    return "|".join(positive), "|".join(name for name, value in values.items() if value in UNCERTAIN)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None

"""A few images of each arm under several explanations, side by side, and in words how far the explanations agree."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from darkcovid.audits.checks import RunEvidence
from darkcovid.audits.explanations import METHODS, RANDOM_PAIR, RANDOM_WEIGHTS, agreement_words, mean_agreement
from darkcovid.core.words import counted
from darkcovid.report.arm_charts import DAMAGE
from darkcovid.report.thumbnails import read_thumbnails

EXPLANATIONS = "explanations.csv"  # in a fit's folder
SHOWN = 4  # images of an arm
SIDE_BY_SIDE = (*METHODS, RANDOM_WEIGHTS)


@dataclass(frozen=True)
class ExplainedArm:
    """An arm's images under several explanations.

    Attributes:
        name: Of the arm.
        words: How many images, and how far explanations of them agree.
        images: Of each, `thumbnail`, as `report.thumbnails.thumbnail` gives it, `maps` by method, and `text`.
    """

    name: str
    words: str
    images: list[dict[str, Any]]


def explained_arms(run: Path, evidence: RunEvidence, images: bool) -> list[ExplainedArm]:
    """What the arms of a run left of several explanations.

    Args:
        run: The run's folder.
        evidence: What is known of it.
        images: Whether radiographs are shown.

    Returns:
        Arms that have explanations.
    """
    return [arm for name in evidence.arms if (arm := _arm(run / name, name, images)) is not None]


def _arm(folder: Path, name: str, images: bool) -> ExplainedArm | None:
    tables = {file.parent.relative_to(folder).as_posix().removeprefix("."): file for file in sorted(folder.rglob(EXPLANATIONS))}
    try:
        table = pd.concat([pd.read_csv(file, dtype={"image": str}).assign(fit=fit) for fit, file in tables.items()])
        rows = [_Row.of(row) for row in table.to_dict("records")]
        means = {pair: _number(table[pair].astype(float).mean()) for pair in rows[0].agreement}
    except (*DAMAGE, IndexError):
        return None
    thumbnails = read_thumbnails(folder) if images else {}
    pictures = []
    for row in rows:
        thumbnail = thumbnails.get(row.fit, {}).get(row.image, {})
        maps = thumbnail.get("maps")
        if isinstance(maps, dict) and len(pictures) < SHOWN:
            pictures.append(
                {"thumbnail": thumbnail, "maps": {method: maps.get(method, "") for method in SIDE_BY_SIDE}, "text": row.text}
            )
    said = f"{counted(len(rows), 'image')}: of each class the most confident wrong and right answer, as far as there is room."
    words = f"{said} {agreement_words(means)}"
    return ExplainedArm(name, words, pictures)


@dataclass(frozen=True)
class _Row:
    """An image of the table."""

    fit: str
    image: str
    text: str
    agreement: dict[str, float | None]

    @classmethod
    def of(cls, row: dict[Any, Any]) -> "_Row":
        agreement = {key: _number(value) for key, value in row.items() if ", " in str(key)}
        said = [("the four", mean_agreement(agreement)), ("random weights", agreement[RANDOM_PAIR])]
        correlations = ", ".join(f"{name} {'not known' if value is None else format(value, '.2f')}" for name, value in said)
        answer = f"{row['label']}, called {row['predicted']} ({row['confidence']:.2f})"
        return cls(row["fit"], row["image"], f"{answer}. Rank correlation: {correlations}", agreement)


def _number(value: float) -> float | None:
    return None if pd.isna(value) else float(value)

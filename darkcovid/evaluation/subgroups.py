"""Is the score the same for women and men, for each view, for the old and the young? Groups below ten patients are refused."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from darkcovid.evaluation.estimates import Interval, proportion
from darkcovid.evaluation.intervals import codes_of

LEAST = 10
AGES = [0, 18, 40, 60, 75, 200]
VARIABLES = ("sex", "view", "age")


@dataclass(frozen=True, slots=True)
class Subgroup:
    """Images and patients of one group, each counted once however many fits said something of it, the accuracy on them and its
    95 % interval; None below ten patients."""

    variable: str
    value: str
    images: int
    patients: int
    accuracy: float | None
    interval: Interval | None


def subgroups(table: pd.DataFrame, right: np.ndarray) -> list[Subgroup]:
    """Of every value of sex, view and age band that the table's images have, unknown ones as a group of their own.

    table: (n) rows with image, patient, sex, view, age as text; right: (n,) bool.
    """
    groups = {"sex": table.sex, "view": table["view"], "age": age_bands(table.age)}
    groups_of = []
    for variable in VARIABLES:
        values = groups[variable].replace("", "unknown")
        groups_of += [
            _subgroup(variable, value, table[values == value], right[(values == value).to_numpy()])
            for value in sorted(set(values))
        ]
    return groups_of


def age_bands(ages: pd.Series) -> pd.Series:
    """Ages in years as text to bands such as 40-59, '' where unknown."""
    names = [f"{low}-{high - 1}" if high < AGES[-1] else f"{low} and over" for low, high in pairwise(AGES)]
    return pd.cut(pd.to_numeric(ages, errors="coerce"), AGES, right=False, labels=names).astype(object).fillna("")


def _subgroup(variable: str, value: str, rows: pd.DataFrame, right: np.ndarray) -> Subgroup:
    images, patients = int(rows.image.nunique()), int(rows.patient.nunique())
    if patients < LEAST:
        return Subgroup(variable, value, images, patients, None, None)
    accuracy = proportion(right, np.ones(len(right), bool), codes_of(rows.patient, len(right)))
    return Subgroup(variable, value, images, patients, accuracy.value, accuracy.interval)

"""Is the score the same for women and men, for each view, for the old and the young? Groups below ten patients are refused.

The largest difference among several groups is seldom small by chance, so groups are compared by a test: patients, with all that
was right and wrong of them, are dealt to the groups at random (Good 2005, "Permutation, parametric and bootstrap tests").
"""

from itertools import pairwise

import numpy as np
import pandas as pd

from darkcovid.data.table_cells import parse_age
from darkcovid.evaluation.results import Subgroup, SubgroupTest
from darkcovid.metrics.confidence_intervals import accuracy
from darkcovid.metrics.metrics_with_intervals import codes_of

MIN_SUBGROUP_PATIENTS = 10
AGES = [0, 18, 40, 60, 75, 200]
VARIABLES = ("sex", "view", "age")
UNKNOWN = "unknown"
PERMUTATIONS = 1999
ROUNDING = 1e-12


def subgroup_metrics(table: pd.DataFrame, right: np.ndarray) -> list[Subgroup]:
    """Accuracy of every value of sex, view and age band that the images have, unknown ones as a group of their own.

    Args:
        table: (n) rows with image, patient, sex, view, age as text.
        right: (n,) bool.

    Returns:
        One entry per group.
    """
    groups_of = []
    for variable in VARIABLES:
        values = _values(table, variable)
        groups_of += [
            _subgroup(variable, value, table[values == value], right[(values == value).to_numpy()])
            for value in sorted(set(values))
        ]
    return groups_of


def subgroup_tests(table: pd.DataFrame, right: np.ndarray) -> list[SubgroupTest]:
    """Permutation tests of differences among subgroups, for each variable with two known groups of ten patients or more.

    Of a patient with several values the first counts, with the images that have it.

    Args:
        table: (n) rows, as `subgroup_metrics` takes them.
        right: (n,) bool.

    Returns:
        p by variable: how often dealing the patients to the groups at random sets their accuracies as far apart.
    """
    tests = []
    for variable in VARIABLES:
        values = _values(table, variable)
        first = values.groupby(table.patient.to_numpy()).transform("first")
        rows = ((values == first) & (values != UNKNOWN)).to_numpy()
        large = table.patient[rows].groupby(values[rows]).nunique()
        names = sorted(large.index[large >= MIN_SUBGROUP_PATIENTS])
        rows = rows & values.isin(names).to_numpy()
        if len(names) > 1:
            tests.append(SubgroupTest(variable, names, _permutation_p(table.patient[rows], values[rows], right[rows])))
    return tests


def _permutation_p(patients: pd.Series, values: pd.Series, right: np.ndarray) -> float:
    by_patient = pd.DataFrame({"value": values.to_numpy(), "right": right, "images": 1}).groupby(patients.to_numpy())
    sums = by_patient[["right", "images"]].sum().to_numpy(float)
    codes = pd.factorize(by_patient.value.first())[0]
    random = np.random.default_rng(0)
    dealt = np.stack([codes, *(random.permutation(codes) for _ in range(PERMUTATIONS))])
    total = sums[:, 0].sum() / sums[:, 1].sum()
    spread = np.zeros(len(dealt))
    for code in range(codes.max() + 1):
        hits, images = ((dealt == code) @ sums).T
        spread += images * (hits / images - total) ** 2
    return float((spread >= spread[0] - ROUNDING).mean())


def _values(table: pd.DataFrame, variable: str) -> pd.Series:
    values = age_bands(table.age) if variable == "age" else table[variable]
    return values.replace("", UNKNOWN)


def age_bands(ages: pd.Series) -> pd.Series:
    """Ages in years as text to bands such as 40-59, '' where unknown."""
    names = [f"{low}-{high - 1}" if high < AGES[-1] else f"{low} and over" for low, high in pairwise(AGES)]
    return pd.cut(ages.map(parse_age), AGES, right=False, labels=names).astype(object).fillna("")


def _subgroup(variable: str, value: str, rows: pd.DataFrame, right: np.ndarray) -> Subgroup:
    images, patients = int(rows.image.nunique()), int(rows.patient.nunique())
    if patients < MIN_SUBGROUP_PATIENTS:
        return Subgroup(variable, value, images, patients, None, None)
    estimate = accuracy(right, codes_of(rows.patient, len(right)))
    return Subgroup(variable, value, images, patients, estimate.value, estimate.interval)

"""What a manifest says of an image gives its class away how well? Each variable alone, asked for the class in a cross-validation
by patient, from counts alone, so that an archive's size does not matter.

After Maguolo and Nanni 2021. The arithmetic is scikit-learn's and scipy's. Images of a patient share its class and most of what
is known of it, so chance is judged by dealing classes to patients, of whom each counts once, by one image; and over all variables
and class sets together (Holm 1979), since the most telling one is what is reported.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.special import xlogy
from scipy.stats import random_table
from scipy.stats.contingency import association
from sklearn.tree import DecisionTreeClassifier

from darkcovid.audits.metadata import CATEGORIES, NUMBERS, UNKNOWN
from darkcovid.metrics.p_values import holm

PERMUTATIONS = 4999
ROUNDING = 1e-9
DEPTH, LEAF = 4, 3
QUARTERS = 4
BELOW_ALL = -1.0


@dataclass(frozen=True, slots=True)
class Confounder:
    """How well one variable alone tells classes apart.

    Attributes:
        variable: A column of the manifest.
        classes: That are told apart.
        accuracy: Cross-validated by patient.
        balanced_accuracy: Likewise.
        chance: Accuracy of the majority class.
        cramers_v: Strength of association, 0..1 (numbers cut into quarters).
        p: That as much shared information comes by chance (permutations of the patients' classes).
        p_holm: Corrected for all variables and class sets.
        missing: Share of images that lack it.
    """

    variable: str
    classes: tuple[str, ...]
    accuracy: float
    balanced_accuracy: float
    chance: float
    cramers_v: float
    p: float
    p_holm: float
    missing: float


def confounders(counts: pd.DataFrame) -> list[Confounder]:
    """Every variable alone, for all classes and, where there are more than two, for each pair of them.

    Args:
        counts: As `MetadataCounts.counts` gives them.

    Returns:
        The most telling first.
    """
    names = sorted(set(counts.label))
    tasks = [tuple(names), *(combinations(names, 2) if len(names) > 2 else ())]
    results = []
    for classes in tasks:
        chosen = counts[counts.label.isin(classes)]
        for variable, of_one in chosen.groupby("variable", sort=False):
            if of_one.value.nunique() > 1:
                results.append(_confounder(variable, of_one, classes))
    corrected = holm({(confounder.variable, confounder.classes): confounder.p for confounder in results})
    results = [replace(confounder, p_holm=corrected[confounder.variable, confounder.classes]) for confounder in results]
    return sorted(results, key=lambda confounder: (confounder.chance - confounder.accuracy, confounder.variable))


def missing_rate(counts: pd.DataFrame, variable: str) -> dict[str, float]:
    """Share of each class's images that lack a value.

    Args:
        counts: As `MetadataCounts.counts` gives them.
        variable: A column of the manifest.

    Returns:
        0..1 by class.
    """
    of_one = counts[counts.variable == variable]
    lacking = of_one[of_one.value.isin(["", UNKNOWN])].groupby("label").images.sum()
    return {name: float(lacking.get(name, 0) / total) for name, total in of_one.groupby("label").images.sum().items()}


def class_sizes(counts: pd.DataFrame) -> dict[str, int]:
    """Images of each class; every image has a value, or none, of every variable."""
    of_variable = counts[counts.variable == NUMBERS[0]]
    return {name: int(total) for name, total in of_variable.groupby("label").images.sum().items()}


def _confounder(variable: str, counts: pd.DataFrame, classes: tuple[str, ...]) -> Confounder:
    codes = _codes(variable, counts.value)
    accuracy, balanced = _cross_validated(codes, counts)
    groups = codes if variable in CATEGORIES else _quartiles(codes, counts.images.to_numpy())
    table, of_patients = (_table(groups, counts.label, counts[unit]) for unit in ("images", "patients"))
    total = counts.images.sum()
    lacking = counts.images[counts.value.isin(["", UNKNOWN])].sum()
    return Confounder(
        variable,
        classes,
        accuracy,
        balanced,
        chance=float(counts.groupby("label").images.sum().max() / total),
        cramers_v=float(association(table, method="cramer")) if min(table.shape) > 1 else 0.0,
        p=permutation_p_value(of_patients),
        p_holm=1.0,
        missing=float(lacking / total),
    )


def _codes(variable: str, values: pd.Series) -> np.ndarray:
    """Categories numbered in the order of their names; numbers as they are, what is unknown below all."""
    if variable in CATEGORIES:
        return pd.factorize(values, sort=True)[0].astype(float)
    return pd.to_numeric(values, errors="coerce").fillna(BELOW_ALL).to_numpy()


def _quartiles(numbers: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Numbers to the quarter in which the middle one of their equals falls; what is unknown stays apart."""
    per_number = pd.Series(images).groupby(numbers).sum()
    known = per_number[per_number.index != BELOW_ALL]
    middle = (known.cumsum() - known / 2) / known.sum()
    quarter = (middle * QUARTERS).astype(int)
    return pd.Series(numbers).map(quarter).fillna(BELOW_ALL).to_numpy()


def _table(groups: np.ndarray, labels: pd.Series, counts: pd.Series) -> np.ndarray:
    """(groups, classes) sums of the counts."""
    return pd.crosstab(groups, labels.to_numpy(), values=counts.to_numpy(), aggfunc="sum").fillna(0).to_numpy(int)


def permutation_p_value(table: np.ndarray) -> float:
    """How often classes dealt to patients at random share as much information with the groups as is seen.

    Class and group sizes stay as they are, so the mutual information rises and falls with the sum of n log n over the table's
    cells.

    Args:
        table: (groups, classes) numbers of patients.

    Returns:
        p, from 1 / (1 + PERMUTATIONS) to 1.
    """
    dealt = random_table(table.sum(1), table.sum(0)).rvs(PERMUTATIONS, random_state=np.random.default_rng(0))
    by_chance, seen = xlogy(dealt, dealt).sum((1, 2)), xlogy(table, table).sum()
    return float((1 + (by_chance >= seen - ROUNDING).sum()) / (1 + PERMUTATIONS))


def _cross_validated(codes: np.ndarray, counts: pd.DataFrame) -> tuple[float, float]:
    """(accuracy, balanced accuracy) of a small tree on one variable, every fold of patients judged by the others; of a class
    whose patients are all in one fold, what guessing gives."""
    labels, folds, images = (counts[name].to_numpy() for name in ("label", "fold", "images"))
    sizes = counts.groupby("label").images.sum()
    if counts.groupby("label").fold.nunique().min() < 2:
        return float(sizes.max() / sizes.sum()), 1 / len(sizes)
    right = np.zeros(len(counts), bool)
    for fold in np.unique(folds):
        held = folds == fold
        right[held] = _tree(codes[~held], labels[~held], images[~held]).predict(codes[held, None]) == labels[held]
    hits = pd.Series(images * right).groupby(labels).sum()
    return float(hits.sum() / sizes.sum()), float((hits / sizes).mean())


def _tree(codes: np.ndarray, labels: Sequence[str], images: np.ndarray) -> DecisionTreeClassifier:
    leaf = min(0.5, LEAF / images.sum())
    return DecisionTreeClassifier(max_depth=DEPTH, min_weight_fraction_leaf=leaf, random_state=0).fit(
        codes[:, None], labels, sample_weight=images
    )

"""What besides the lungs gives the class away? Each thing that is known of an image without looking at it, alone and all
together, and plain statistics of its pixels, asked for the class in a cross-validation by patient.

After Maguolo and Nanni 2021 and DeGrave et al. 2021. The arithmetic is scikit-learn's and scipy's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import xlogy
from scipy.stats.contingency import association
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.preprocessing import OrdinalEncoder
from sklearn.tree import DecisionTreeClassifier

FOLDS = 5
PERMUTATIONS = 200
ROUNDING = 1e-9
FEW = 20
THUMBNAIL = 16
SOURCES = ("source", "patient_prefix", "license")
CATEGORIES = ("extension", "patient_prefix", "view", "sex", "license", "source")
NUMBERS = ("width", "height", "aspect", "bytes", "bytes_per_pixel", "age")


@dataclass(frozen=True, slots=True)
class Confounder:
    """How well one variable alone tells classes apart. accuracy and balanced_accuracy: cross-validated by patient; chance:
    of always guessing the largest class; cramers_v: strength of association, 0..1 (numbers cut into quarters); p: that as
    much shared information comes by chance (permutations); missing: share of images that lack it."""

    variable: str
    classes: tuple[str, ...]
    accuracy: float
    balanced_accuracy: float
    chance: float
    cramers_v: float
    p: float
    missing: float


def metadata(rows: pd.DataFrame) -> pd.DataFrame:
    """What a manifest's rows say of images without showing them: text for categories ('' unknown), numbers (nan unknown).
    A variable that never varies, and a category with more than 20 values, is left out."""
    table = pd.DataFrame(index=rows.index)
    table["extension"] = [PurePosixPath(path).suffix.lower().replace("jpeg", "jpg") for path in rows.path]
    table["patient_prefix"] = rows.patient_id.str.split("-").str[0].where(rows.patient_id.str.contains("-"), "")
    for name in ("view", "sex", "license", "source"):
        table[name] = rows[name]
    for name in ("width", "height", "bytes", "age"):
        table[name] = pd.to_numeric(rows[name], errors="coerce")
    table["aspect"] = table.width / table.height
    table["bytes_per_pixel"] = table.bytes / (table.width * table.height)
    kept = [name for name in CATEGORIES if 1 < table[name].nunique() <= FEW]
    return table[kept + [name for name in NUMBERS if table[name].nunique(dropna=False) > 1]]


def image_statistics(pixels: np.ndarray) -> pd.DataFrame:
    """Of (n, h, w) uint8: mean, standard deviation, and the means of a border strip and of each corner."""
    height, width = pixels.shape[1:]
    strip, corner = max(1, height // 20), (max(1, height // 8), max(1, width // 8))
    scaled = pixels.astype(np.float32) / 255
    inner = scaled[:, strip:-strip, strip:-strip]
    border = (scaled.sum((1, 2)) - inner.sum((1, 2))) / (height * width - inner[0].size)
    tall, wide = corner
    return pd.DataFrame(
        {
            "mean": scaled.mean((1, 2)),
            "std": scaled.std((1, 2)),
            "border": border,
            "top_left": scaled[:, :tall, :wide].mean((1, 2)),
            "top_right": scaled[:, :tall, -wide:].mean((1, 2)),
            "bottom_left": scaled[:, -tall:, :wide].mean((1, 2)),
            "bottom_right": scaled[:, -tall:, -wide:].mean((1, 2)),
        }
    )


def usual_statistics(pixels: np.ndarray, rows: np.ndarray) -> dict[str, tuple[float, float]]:
    """The lowest and highest value of each statistic among the `rows` of (n, h, w) or (n, c, h, w) uint8 pixels."""
    chosen = pixels[rows] if pixels.ndim == 3 else pixels[rows][:, 0]
    statistics = image_statistics(chosen)
    return {name: (float(values.min()), float(values.max())) for name, values in statistics.items()}


def source_from_pixels(rows: pd.DataFrame, pixels: np.ndarray, patients: Sequence[str]) -> dict[str, Any] | None:
    """How well a forest tells the images' sources apart by 16 pixels a side and `image_statistics`, cross-validated by patient:
    variable (which column names the source), accuracy, balanced_accuracy, chance. None where there is but one source.

    pixels: (n, h, w) uint8, h and w multiples of 16.
    """
    known = metadata(rows)
    variable = next((name for name in SOURCES if name in known), None)
    if variable is None:
        return None
    height, width = pixels.shape[1:]
    small = pixels.reshape(len(pixels), THUMBNAIL, height // THUMBNAIL, THUMBNAIL, width // THUMBNAIL).mean((2, 4))
    table = pd.DataFrame(small.reshape(len(pixels), -1)).rename(columns=str).join(image_statistics(pixels))
    accuracy, balanced = forest_accuracy(table, known[variable], patients)
    return {
        "variable": variable,
        "accuracy": accuracy,
        "balanced_accuracy": balanced,
        "chance": chance(known[variable]),
    }


def confounders(table: pd.DataFrame, labels: Sequence[str], patients: Sequence[str]) -> list[Confounder]:
    """Every column of `metadata` alone, for all classes and, where there are more than two, for each pair of them; the most
    telling first. labels, patients: (n)."""
    labels, patients = np.asarray(labels), np.asarray(patients)
    names = sorted(set(labels))
    tasks = [tuple(names), *(combinations(names, 2) if len(names) > 2 else ())]
    found = []
    for classes in tasks:
        chosen = np.isin(labels, classes)
        found += [
            _confounder(name, table.loc[chosen, name], labels[chosen], patients[chosen], classes)
            for name in table.columns
            if table.loc[chosen, name].nunique(dropna=False) > 1
        ]
    return sorted(found, key=lambda one: one.chance - one.accuracy)


def forest_accuracy(table: pd.DataFrame, labels: Sequence[str], patients: Sequence[str]) -> tuple[float, float]:
    """(accuracy, balanced accuracy) of a forest on all columns together, cross-validated by patient."""
    forest = RandomForestClassifier(100, min_samples_leaf=2, random_state=0, n_jobs=-1)
    return _cross_validated(forest, _coded(table), np.asarray(labels), np.asarray(patients))


def chance(labels: Sequence[str]) -> float:
    """Accuracy of always guessing the largest class."""
    return float(pd.Series(labels).value_counts(normalize=True).iloc[0])


def _confounder(name: str, values: pd.Series, labels: np.ndarray, patients: np.ndarray, classes: tuple[str, ...]) -> Confounder:
    coded = _coded(values.to_frame())
    tree = DecisionTreeClassifier(max_depth=4, min_samples_leaf=3, random_state=0)
    accuracy, balanced = _cross_validated(tree, coded, labels, patients)
    groups = values if name in CATEGORIES else _quarters(values)
    counts = pd.crosstab(groups.to_numpy(), labels)
    strength = float(association(counts.to_numpy(), method="cramer")) if min(counts.shape) > 1 else 0.0
    missing = float((values == "").mean() if name in CATEGORIES else values.isna().mean())
    return Confounder(name, classes, accuracy, balanced, chance(labels), strength, _permutation_p(groups, labels), missing)


def _quarters(values: pd.Series) -> pd.Series:
    """Numbers cut into four groups of equal size, as text; what is unknown is a group of its own. Where most are the same
    number, it is that one against the others."""
    groups = pd.qcut(values, 4, duplicates="drop", labels=False)
    if groups.nunique() < 2:
        groups = (values == values.mode().iloc[0]).where(values.notna())
    return groups.map(lambda place: "unknown" if pd.isna(place) else f"quarter {int(place) + 1}")


def _permutation_p(groups: pd.Series, labels: np.ndarray) -> float:
    """How often labels dealt at random share as much information with the groups. Class and group sizes stay as they are, so
    the mutual information rises and falls with the sum of n log n over the table's cells."""
    rows, columns = pd.factorize(groups)[0], pd.factorize(labels)[0]
    width, random = columns.max() + 1, np.random.default_rng(0)

    def shared(dealt: np.ndarray) -> float:
        cells = np.bincount(rows * width + dealt)
        return float(xlogy(cells, cells).sum())

    seen = shared(columns)
    by_chance = [shared(random.permutation(columns)) for _ in range(PERMUTATIONS)]
    return (1 + sum(value >= seen - ROUNDING for value in by_chance)) / (1 + PERMUTATIONS)


def _coded(table: pd.DataFrame) -> np.ndarray:
    texts = [name for name in table if name in CATEGORIES]
    coded = table.copy()
    if texts:
        coded[texts] = OrdinalEncoder().fit_transform(table[texts].astype(str))
    return coded.astype(float).fillna(-1.0).to_numpy()


def _cross_validated(model, features: np.ndarray, labels: np.ndarray, patients: np.ndarray) -> tuple[float, float]:
    folds = min(FOLDS, pd.Series(patients).groupby(labels).nunique().min())
    if folds < 2:
        return chance(labels), 1 / len(set(labels))
    split = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
    predicted = cross_val_predict(model, features, labels, groups=patients, cv=split)
    right = predicted == labels
    recalls = [right[labels == name].mean() for name in set(labels)]
    return float(right.mean()), float(np.mean(recalls))

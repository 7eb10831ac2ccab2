"""What besides the lungs gives the class away? All that is known of an image together, and plain statistics of its pixels, asked
for the class by a forest in a cross-validation by patient; each known thing alone is asked in `confounders.py`.

After Maguolo and Nanni 2021 and DeGrave et al. 2021. The arithmetic is scikit-learn's.
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.preprocessing import OrdinalEncoder

from darkcovid.audits.metadata import CATEGORIES, FOLDS, metadata, varying
from darkcovid.core.array_cache import StoredArray
from darkcovid.metrics.confidence_intervals import Interval, accuracy
from darkcovid.metrics.metrics_with_intervals import Names, codes_of

LOW_RESOLUTION = 16
SOURCES = ("source", "patient_prefix", "license")


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


def statistic_ranges(pixels: StoredArray, rows: np.ndarray) -> dict[str, tuple[float, float]]:
    """The lowest and highest value of each image statistic.

    Args:
        pixels: (n, h, w) or (n, c, h, w) uint8.
        rows: (m,) int, which of them.

    Returns:
        (lowest, highest) by statistic.
    """
    chosen = pixels[rows] if pixels.ndim == 3 else pixels[rows][:, 0]
    statistics = image_statistics(chosen)
    return {name: (float(values.min()), float(values.max())) for name, values in statistics.items()}


def source_predictability(rows: pd.DataFrame, pixels: np.ndarray, patients: Names) -> dict[str, Any] | None:
    """How well a forest tells the images' sources apart by 16 pixels per side and `image_statistics`, cross-validated by
    patient.

    Args:
        rows: (n) rows of a manifest.
        pixels: (n, h, w) uint8, h and w multiples of 16.
        patients: (n,) names.

    Returns:
        variable (which column names the source), accuracy, balanced_accuracy, interval, chance; None where there is one
        source.
    """
    known = varying(metadata(rows))
    variable = next((name for name in SOURCES if name in known), None)
    if variable is None:
        return None
    height, width = pixels.shape[1:]
    small = pixels.reshape(len(pixels), LOW_RESOLUTION, height // LOW_RESOLUTION, LOW_RESOLUTION, width // LOW_RESOLUTION).mean(
        (2, 4)
    )
    table = pd.DataFrame(small.reshape(len(pixels), -1)).rename(columns=str).join(image_statistics(pixels))
    scores = cross_validated_forest_accuracy(table, known[variable], patients)
    return {
        "variable": variable,
        **scores._asdict(),
        "interval": list(scores.interval),
        "chance": majority_baseline(known[variable]),
    }


class Baseline(NamedTuple):
    """A cross-validated classifier that sees no lungs; interval: of the accuracy, 95 % over patients."""

    accuracy: float
    balanced_accuracy: float
    interval: Interval


def cross_validated_forest_accuracy(table: pd.DataFrame, labels: Names, patients: Names) -> Baseline:
    """A forest on all columns together, cross-validated by patient.

    Args:
        table: (n) rows.
        labels: (n,) classes.
        patients: (n,) names.

    Returns:
        Its accuracy; the majority class's where a class is one patient's.
    """
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(100, min_samples_leaf=2, random_state=0, n_jobs=-1)
    return _cross_validated(forest, _coded(table), np.asarray(labels), np.asarray(patients))


def majority_baseline(labels: Names) -> float:
    """Accuracy of the majority class."""
    return float(pd.Series(labels).value_counts(normalize=True).iloc[0])


def _coded(table: pd.DataFrame) -> np.ndarray:
    texts = [name for name in table if name in CATEGORIES]
    coded = table.copy()
    if texts:
        coded[texts] = OrdinalEncoder().fit_transform(table[texts].astype(str))
    return coded.astype(float).fillna(-1.0).to_numpy()


def _cross_validated(model, features: np.ndarray, labels: np.ndarray, patients: np.ndarray) -> Baseline:
    folds = min(FOLDS, pd.Series(patients).groupby(labels).nunique().min())
    if folds < 2:
        return Baseline(majority_baseline(labels), 1 / len(set(labels)), (majority_baseline(labels), majority_baseline(labels)))
    split = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
    right = cross_val_predict(model, features, labels, groups=patients, cv=split) == labels
    recalls = [right[labels == name].mean() for name in set(labels)]
    estimate = accuracy(right, codes_of(patients, len(right)))
    return Baseline(estimate.value, float(np.mean(recalls)), estimate.interval)

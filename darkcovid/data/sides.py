"""On which side is each row of a manifest: training, validation, or the held-out test? As the recipe's split says."""

import numpy as np
import pandas as pd

from darkcovid.core.errors import UsageError
from darkcovid.data.split import (
    n_per_class_split,
    per_class_targets,
    random_folds,
    stratified_group_folds,
    stratified_group_split,
    stratified_random_split,
)
from darkcovid.recipe import Split
from darkcovid.recipe.errors import suggest_name

TEST_SEED = 1_000_003


def patient_groups(rows: pd.DataFrame) -> pd.Series:
    """(n,) patient of each row; a row without a known patient is its own group."""
    return rows.patient_id.where(rows.patient_id != "", "unknown:" + rows.path)


def assign_splits(rows: pd.DataFrame, labels: pd.Series, split: Split) -> tuple[np.ndarray, np.ndarray]:
    """(n,) bool twice, true on the validation and on the test side, by the recipe's split."""
    if split.method == "by_column":
        return _splits_of_column(rows, split.column)
    test = _test_mask(rows, labels, split)
    valid = np.zeros(len(rows), bool)
    valid[~test] = _validation_mask(rows[~test], labels[~test], split)
    return valid, test


def _validation_mask(rows: pd.DataFrame, labels: pd.Series, split: Split) -> np.ndarray:
    patients, names = patient_groups(rows).tolist(), image_ids(rows)
    strata = labels.tolist() if split.method != "random" else ["all"] * len(rows)
    if split.folds is not None:
        grouped = split.method == "stratified_group"
        folds = (stratified_group_folds if grouped else random_folds)(
            *((strata, patients) if grouped else (names, strata)), split.folds, split.seed
        )
        return folds == split.fold - 1
    if split.method == "stratified_group":
        return stratified_group_split(strata, patients, per_class_targets(strata, split.valid), split.seed)
    return stratified_random_split(names, strata, split.valid, split.seed)


def _test_mask(rows: pd.DataFrame, labels: pd.Series, split: Split) -> np.ndarray:
    """Drawn with a seed of its own, so that it does not follow the validation side's order."""
    if split.test is None:
        return np.zeros(len(rows), bool)
    strata, seed = labels.tolist(), split.seed + TEST_SEED
    counted = isinstance(split.test, int)
    if split.method == "stratified_group":
        wanted = dict.fromkeys(strata, float(split.test)) if counted else per_class_targets(strata, split.test)
        return stratified_group_split(strata, patient_groups(rows).tolist(), wanted, seed)
    if counted:
        return n_per_class_split(image_ids(rows), strata, split.test, seed)
    return stratified_random_split(image_ids(rows), strata, split.test, seed)


def _splits_of_column(rows: pd.DataFrame, column: str) -> tuple[np.ndarray, np.ndarray]:
    if column not in rows:
        raise UsageError(f"data.split.column: the manifest has no column {column!r}{suggest_name(column, rows.columns)}")
    unknown = sorted(set(rows[column]) - {"train", "valid", "test"})
    if unknown:
        raise UsageError(f"data.split.column: {column} holds {unknown[0]!r}; only train, valid and test are sides")
    return (rows[column] == "valid").to_numpy(), (rows[column] == "test").to_numpy()


def image_ids(rows: pd.DataFrame) -> list[str]:
    """(n) name of each image, the same on every machine."""
    return (rows.dataset + "/" + rows.path).tolist()


def check_all_classes_present(
    labels: np.ndarray, valid: np.ndarray, test: np.ndarray, classes: tuple[str, ...], split: Split
) -> None:
    """Raises UsageError when a class has no image on a side that needs some."""
    sides = {"training": ~(valid | test), "validation": valid} | ({"test": test} if split.test is not None else {})
    for index, name in enumerate(classes):
        for side, where in sides.items():
            if not (labels[where] == index).any():
                raise UsageError(
                    f"data.split: {_describe_split(split)} leaves no image of {name!r} on the {side} side; "
                    "use another share, seed or number of folds, or more images"
                )


def _describe_split(split: Split) -> str:
    if split.method == "by_column":
        return f"the column {split.column}"
    how = f"fold {split.fold} of {split.folds}" if split.folds else f"valid={split.valid}"
    return f"{split.method} with {how} and seed={split.seed}"

"""The training set of a recipe, cut off from its validation and test set, and its inner folds of whole patients."""

from dataclasses import replace

import numpy as np
import pandas as pd

from darkcovid.core.errors import UsageError
from darkcovid.data.cohort import Cohort
from darkcovid.data.splits import stratified_group_folds


def training_side(cohort: Cohort) -> Cohort:
    """The training set as a cohort of its own: no row, file or label of another set is in it.

    Args:
        cohort: Split by the recipe.

    Returns:
        Its training images, without those of patients who have images in another set, as image-wise splits leave them.
    """
    patients = cohort.patients
    locked = patients.isin(set(patients[cohort.valid | cohort.test])).to_numpy()
    side = cohort.take(np.flatnonzero(cohort.train & ~locked))
    nobody = np.zeros(len(side), bool)
    rows = cohort.manifest.rows
    kept = set(zip(side.rows.dataset, side.rows.path, strict=True))
    own = pd.Series([key in kept for key in zip(rows.dataset, rows.path, strict=True)], index=rows.index)
    return replace(side, valid=nobody, test=nobody, bad=(), left_out=frozenset(), manifest=cohort.manifest.select(own))


def inner_folds(side: Cohort, folds: int, seed: int) -> list[Cohort]:
    """A training set as several cohorts, each with another fold of its patients as the validation set.

    Args:
        side: As `training_side` gives it.
        folds: How many.
        seed: Of the folds.

    Returns:
        One cohort per fold.

    Raises:
        UsageError: A class has no image in a fold, or outside one.
    """
    names = np.array(side.classes)[side.labels].tolist()
    codes = stratified_group_folds(names, side.patients.tolist(), folds, seed)
    cohorts = [replace(side, valid=codes == fold) for fold in range(folds)]
    for cohort in cohorts:
        for code, name in enumerate(side.classes):
            of_class = side.labels == code
            if not (of_class & cohort.valid).any() or not (of_class & ~cohort.valid).any():
                patients = side.patients[of_class].nunique()
                raise UsageError(
                    f"sweep.folds: {folds} inner folds leave one without {name!r}, of which {patients} patients are in the "
                    "training set; use fewer folds, or more images"
                )
    return cohorts

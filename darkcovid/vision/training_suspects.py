"""Training images whose label a network doubts, looked for within one fit's training set: no label that is scored has a part in
it, as it would through predictions of networks that were trained on those labels."""

from dataclasses import replace

import numpy as np
import pandas as pd

from darkcovid.audits.label_errors import find_label_errors
from darkcovid.core.array_cache import StoredArray
from darkcovid.core.device import Device
from darkcovid.core.distributed import Distributed
from darkcovid.data.cohort import Cohort
from darkcovid.data.splits import stratified_group_folds
from darkcovid.lungs.crop import LungRegions
from darkcovid.metrics.classification import probability_columns
from darkcovid.recipe import Recipe
from darkcovid.vision.learner import classifier_learner

INNER_FOLDS = 4


def training_suspects(
    cohort: Cohort, recipe: Recipe, pixels: StoredArray, compute: Device, lungs: LungRegions | None = None
) -> pd.DataFrame | None:
    """Training images whose label the recipe's own network doubts (confident learning, Northcutt et al. 2021), by predictions of
    networks that are fitted to the rest of the training set: `INNER_FOLDS` fits, patients apart.

    Args:
        cohort: Of one fit.
        recipe: Of the fit.
        pixels: (n, h, w) or (n, c, h, w) uint8 in the cohort's order.
        compute: Device and precision.
        lungs: As `classifier_learner` takes them.

    Returns:
        As `find_label_errors` lists them; None where it cannot, as of networks that are no better than the majority class.
    """
    train = np.flatnonzero(cohort.train)
    names = np.array(cohort.classes)[cohort.labels]
    patients = cohort.patients.to_numpy()
    folds = stratified_group_folds(names[train].tolist(), patients[train].tolist(), INNER_FOLDS, recipe.training.seed)
    plain = recipe.model_copy(update={"data": recipe.data.model_copy(update={"leave_out": None})})
    alone = replace(compute, distributed=Distributed())
    tables = []
    for fold in range(INNER_FOLDS):
        judged = train[folds == fold]
        if not len(judged):
            continue
        valid = np.zeros(len(cohort), bool)
        valid[judged] = True
        inner = replace(cohort, valid=valid, test=~cohort.train)  # nothing outside the training set is trained on
        probabilities = classifier_learner(plain, inner, pixels, alone, lungs).fit_recipe().probabilities[judged]
        about = {"image": cohort.rows.path.to_numpy()[judged], "patient": patients[judged], "label": names[judged]}
        tables.append(pd.DataFrame(about).join(pd.DataFrame(probabilities, columns=probability_columns(cohort.classes))))
    found = find_label_errors(pd.concat(tables, ignore_index=True), cohort.classes, recipe.name)
    return None if found is None else found[1]

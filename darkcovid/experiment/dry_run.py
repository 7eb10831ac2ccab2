"""What would a recipe cost? Its cohort, split and input sizes, and time and memory from a few real steps of each arm.

Trains nothing that is kept. Lungs are found where an arm's input size depends on them, and stay in the cache.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from darkcovid.core.device import Device, get_device
from darkcovid.data.cohort import Cohort, load_classification_cohort, load_segmentation_cohort
from darkcovid.data.resize import Size
from darkcovid.lungs.crop import LungRegions
from darkcovid.lungs.unet import INPUT_SIZE
from darkcovid.models.pretrained import pretrained_file
from darkcovid.recipe import SUSPECTS, Recipe
from darkcovid.training.fit import FitResult
from darkcovid.training.schedule import total_epochs
from darkcovid.training.segmenter import fit_segmenter
from darkcovid.vision.arm_inputs import InputBuilder, check_networks, select_arms
from darkcovid.vision.learner import classifier_learner
from darkcovid.vision.training_suspects import INNER_FOLDS

BATCHES = 3


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one arm would cost.

    Attributes:
        image_size: (height, width) of its input in pixels.
        epochs: Of all its fits together.
        train_seconds: Of all those epochs.
        peak_host_bytes: Of host memory.
        peak_device_bytes: Of device memory.
    """

    image_size: Size
    epochs: int
    train_seconds: float
    peak_host_bytes: int
    peak_device_bytes: int


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What a run would do, and cost.

    Attributes:
        recipe: Resolved, as JSON.
        images: Of each class, by set.
        patients: By set.
        bad_images: How many could not be read.
        unknown_patients: Images without a patient id, each of which counts as a patient.
        arms: The cost of each.
        absent_weights: Networks whose ImageNet weights are not on this machine, so that a run fetches them.
    """

    recipe: dict[str, Any]
    images: dict[str, dict[str, int]]
    patients: dict[str, int]
    bad_images: int
    unknown_patients: int
    arms: dict[str, Estimate]
    absent_weights: list[str]


def dry_run(recipe: Recipe, cache_dir: Path, arms: list[str]) -> RunPlan:
    """What a run would do, and cost.

    Args:
        recipe: What would be run.
        cache_dir: Where decoded images are kept.
        arms: Names of those to estimate; none means all.

    Returns:
        The plan.

    Raises:
        UsageError, DataError: What a run would raise before training.
    """
    names = select_arms(recipe, arms)
    check_networks(recipe, names)
    segmentation = recipe.task == "lung_segmentation"
    first = next(iter(recipe.fits().values()))
    cohort = (load_segmentation_cohort if segmentation else load_classification_cohort)(first.data, cache_dir)
    builder = InputBuilder(recipe, cohort, get_device(recipe.training.device), cache_dir)
    estimates = {}
    for name in names:
        arm = builder.arms[name]
        size = INPUT_SIZE if segmentation else builder.size(name)
        estimates[name] = estimate(arm, cohort, size, cache_dir)
    return RunPlan(
        recipe=recipe.model_dump(mode="json"),
        images=cohort.counts(),
        patients={name: int(cohort.patients[rows].nunique()) for name, rows in cohort.sides.items()},
        bad_images=len(cohort.bad),
        unknown_patients=int((cohort.rows.patient_id == "").sum()),
        arms=estimates,
        absent_weights=[] if segmentation else _absent_weights([builder.arms[name] for name in names]),
    )


def _absent_weights(arms: Iterable[Recipe]) -> list[str]:
    wanted = sorted({arm.model.arch for arm in arms if arm.model.weights == "imagenet"})
    return [name for name in wanted if not pretrained_file(name).present]


def estimate(recipe: Recipe, cohort: Cohort, size: Size, cache_dir: Path) -> Estimate:
    """Two short epochs of a few batches, the second one scaled up to the whole cohort and all epochs.

    Args:
        recipe: The arm's.
        cohort: All images.
        size: (height, width) of its input in pixels.
        cache_dir: Where decoded images are kept.

    Returns:
        The arm's cost.
    """
    compute = get_device(recipe.training.device, recipe.training.precision)
    batch = recipe.training.batch_size
    train, valid = (_classes_in_turn(cohort, rows) for rows in (cohort.train, cohort.valid))
    few = cohort.take(np.concatenate([train[: BATCHES * batch], valid[:batch]]))
    two = {
        "epochs": 2,
        "schedule": "constant",
        "unfreeze_epoch": None,
        "early_stopping_patience": None,
        "reduce_lr_on_plateau": None,
        "tta_views": 0,
    }
    weights = {"weights": "none"} if recipe.model.weights == "imagenet" else {}  # of the same cost, and without a download
    short = recipe.model_copy(
        update={"training": recipe.training.model_copy(update=two), "model": recipe.model.model_copy(update=weights)}
    )
    fitted = _fit(short, few, size, compute, cache_dir)
    row = fitted.history.rows[-1]
    train_images = len(train) // batch * batch or len(train)
    epoch = (row["data_seconds"] + row["step_seconds"]) * train_images / row["train_images"]
    epoch += row["valid_seconds"] * len(valid) / int(few.valid.sum())
    cost = fitted.cost
    epochs = total_epochs(recipe) * len(recipe.fits())
    if recipe.data.leave_out == SUSPECTS:
        epochs *= INNER_FOLDS  # as many fits as there are inner folds, each without one of them, and the fit itself
    return Estimate(size, epochs, epoch * epochs, cost.peak_host_bytes, cost.peak_device_bytes)


def _classes_in_turn(cohort: Cohort, rows: np.ndarray) -> np.ndarray:
    """Indices of a set's images, the first of each class, then the second of each, so that a few of them have every class."""
    labels = pd.Series(cohort.labels[rows])
    return np.flatnonzero(rows)[np.argsort(labels.groupby(labels).cumcount(), kind="stable")]


def _fit(recipe: Recipe, cohort: Cohort, size: Size, compute: Device, cache_dir: Path) -> FitResult:
    if recipe.task == "lung_segmentation":
        return fit_segmenter(recipe, cohort, compute, cache_dir).fitted
    shape = (len(cohort), recipe.channels, *size) if recipe.channels > 1 else (len(cohort), *size)
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    lungs = LungRegions(noise % 2, np.ones(len(cohort), bool))
    return classifier_learner(recipe, cohort, noise, compute, lungs).fit_recipe().fitted

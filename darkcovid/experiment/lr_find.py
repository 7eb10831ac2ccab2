"""A recipe's learning-rate range test, from its files to a table and a plot."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from darkcovid.core.device import get_device
from darkcovid.core.errors import UsageError
from darkcovid.core.slow_progress import slow_step
from darkcovid.data.cohort import load_classification_cohort
from darkcovid.recipe import SUSPECTS, Recipe
from darkcovid.report.plots import plot_range_test
from darkcovid.training.lr_range_test import lr_find
from darkcovid.vision.arm_inputs import InputBuilder, select_arms
from darkcovid.vision.learner import classifier_learner


def find_learning_rate(
    recipe: Recipe, arm: str | None, cache_dir: Path, start_lr: float, end_lr: float, steps: int, plot: Path
) -> dict[str, Any]:
    """Learning-rate range test of one arm.

    Args:
        recipe: Of the whole run.
        arm: The arm's name; None takes the first.
        cache_dir: Where decoded images are kept.
        start_lr: The lowest learning rate.
        end_lr: The highest.
        steps: Training steps from one to the other.
        plot: The PNG file to write.

    Returns:
        `arm`, `lrs`, `losses`, `suggestions` and the path of `plot`.

    Raises:
        UsageError: The recipe is not of a classifier, has no such arm, or a probe, one that looks for suspects, or
            the rates are not in order. And as `Cohort.leaving_out` does.
    """
    if recipe.task != "classification":
        raise UsageError("task: lr-find works on classification recipes")
    if start_lr >= end_lr:
        raise UsageError(f"--start-lr {start_lr:g}: must be below --end-lr {end_lr:g}")
    name = select_arms(recipe, [arm] if arm else [])[0]
    if recipe.arm_recipes()[name].model.is_probe:
        raise UsageError(f"model.head: {name} is a probe, fitted without a learning rate; name another arm with --arm")
    data = recipe.arm_recipes()[name].data
    if data.leave_out == SUSPECTS:
        raise UsageError(
            f"arms.{name}.data.leave_out: lr-find looks for no suspects; name the suspects.csv of a fit, or "
            f"--set arms.{name}.data.leave_out=null"
        )
    cohort = load_classification_cohort(recipe.data, cache_dir)
    inputs = InputBuilder(recipe, cohort, get_device(recipe.training.device), cache_dir).make(name)
    compute = get_device(recipe.training.device, recipe.training.precision)
    learner = classifier_learner(inputs.recipe, cohort.leaving_out(data), inputs.pixels, compute, inputs.areas)
    with slow_step(f"{name}: {steps} steps of rising learning rate"):
        test = lr_find(learner.trained_part(), start_lr, end_lr, steps)
    plot_range_test(test.lrs, test.losses, test.suggestions, plot)
    return {"arm": name, **asdict(test), "plot": str(plot)}

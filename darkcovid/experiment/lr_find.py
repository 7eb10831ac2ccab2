"""A recipe's learning-rate range test, from its files to a table and a plot."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from darkcovid.core.device import get_device
from darkcovid.core.errors import UsageError
from darkcovid.data.cohort import load_classification_cohort
from darkcovid.experiment.inputs import InputBuilder, select_arms
from darkcovid.recipe import Recipe
from darkcovid.report.plots import plot_range_test
from darkcovid.training.classifier import setup_classifier
from darkcovid.training.lr_finder import lr_find


def find_learning_rate(
    recipe: Recipe, arm: str | None, cache_dir: Path, start_lr: float, end_lr: float, steps: int, plot: Path
) -> dict[str, Any]:
    """Range test of one arm (the first by default): lrs, losses, suggestions, and the plot's path."""
    if recipe.task != "classification":
        raise UsageError("task: lr-find works on classification recipes")
    if start_lr >= end_lr:
        raise UsageError(f"--start-lr {start_lr:g}: must be below --end-lr {end_lr:g}")
    name = select_arms(recipe, [arm] if arm else [])[0]
    cohort = load_classification_cohort(recipe.data, cache_dir)
    inputs = InputBuilder(recipe, cohort, get_device(recipe.training.device), cache_dir).make(name)
    compute = get_device(recipe.training.device, recipe.training.precision)
    learner = setup_classifier(inputs.recipe, cohort, inputs.pixels, compute).learner
    found = lr_find(learner, start_lr, end_lr, steps)
    plot_range_test(found.lrs, found.losses, found.suggestions, plot)
    return {"arm": name, **asdict(found), "plot": str(plot)}

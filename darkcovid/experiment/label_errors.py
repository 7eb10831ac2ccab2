"""Training without the images whose labels a network doubts."""

from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd

from darkcovid.core.device import get_device
from darkcovid.core.errors import UsageError
from darkcovid.core.io import write_text
from darkcovid.data.cohort import Cohort, read_image_list
from darkcovid.experiment.train_arm import FitJob
from darkcovid.recipe import SUSPECTS, Data, Recipe
from darkcovid.recipe.recipe import validate
from darkcovid.report.progress import Progress
from darkcovid.vision.arm_inputs import ArmInputs, select_arms
from darkcovid.vision.training_suspects import INNER_FOLDS, training_suspects

WITHOUT = "_without_suspects"


def add_arm_without_suspects(recipe: Recipe, names: Sequence[str] = ()) -> tuple[Recipe, str]:
    """A recipe with one more arm: one of its own, trained without the images whose labels it doubts.

    Args:
        recipe: Of the whole run.
        names: Of the arms that are run, of which the first in the recipe is meant; none means all.

    Returns:
        The recipe with the arm `<first arm>_without_suspects`, and that name.

    Raises:
        UsageError: There is no arm of such a name, or it is one of the audit's.
    """
    arms = recipe.arms or {recipe.name: {}}
    first = select_arms(recipe, names)[0]
    if first not in arms:
        raise UsageError(f"--without-suspects --arm {first}: an arm of the audit; name one of {', '.join(arms)}")
    name = f"{first}{WITHOUT}"
    arms = arms | {name: {**arms[first], "data.leave_out": SUSPECTS}}
    return validate(recipe.model_dump(mode="json") | {"arms": arms}, where=""), name


def leave_suspects_out(job: FitJob, cohort: Cohort, inputs: ArmInputs, progress: Progress) -> Cohort:
    """The cohort of a fit without the training images whose labels its network doubts, which `suspects.csv` in the fit's folder
    lists.

    Args:
        job: Which fit.
        cohort: Its images.
        inputs: What the network gets.
        progress: Shown to a person.

    Returns:
        The cohort.

    Raises:
        UsageError: No training image of a class is left.
    """
    training = job.recipe.training
    compute = get_device(training.device, training.precision)
    progress.stage(f"{job.name}: looking for labels to doubt, {INNER_FOLDS} fits within the training set")
    started = perf_counter()
    suspects = training_suspects(cohort, job.recipe, inputs.pixels, compute, inputs.areas)
    if suspects is None:
        found = "no image is left out: the networks that would doubt labels are not shown to be better than the majority class"
        suspects = pd.DataFrame({"image": []})
    else:
        found = f"{len(suspects)} of {int(cohort.train.sum())} training images are suspects, and left out"
    if compute.distributed.is_main:
        write_text(job.folder / "suspects.csv", suspects.to_csv(index=False, float_format="%.4f"))
    progress.stage(f"{job.name}: {found} ({INNER_FOLDS} fits, {perf_counter() - started:.0f} s)")
    return cohort.without(frozenset(suspects.image), f"data.leave_out: {SUSPECTS}")


def tell_left_out(name: str, data: Data, cohorts: Sequence[Cohort], progress: Progress) -> None:
    """Say how many images that would else be trained on are on an arm's list, and warn of a list that a network made.

    Args:
        name: The arm's.
        data: The section of its recipe.
        cohorts: Of its fits.
        progress: Shown to a person.

    Raises:
        UsageError: None is trained on in any fit.
    """
    if data.leave_out in (None, SUSPECTS):
        return
    named = read_image_list(Path(data.leave_out))
    for cohort in cohorts:
        cohort.leaving_out(data)  # raises where that cannot be
    listed = [cohort.rows.path.isin(named).to_numpy() & cohort.train for cohort in cohorts]
    count = int(np.any(listed, axis=0).sum())
    if not count:
        raise UsageError(
            f"{name}: data.leave_out: no image on the list is in a training set, so nothing is left out; of a run without folds, "
            "label_errors.csv lists validation images"
        )
    unknown = len(named - set(cohorts[0].rows.path))
    of_no_use = f"; {unknown} on the list are not in the cohort" if unknown else ""
    images = "1 image is" if count == 1 else f"{count} images are"
    progress.stage(f"{name}: {images} left out of the training sets (data.leave_out){of_no_use}")
    if {"suggested", "label_quality"} <= set(pd.read_csv(data.leave_out, nrows=0)):
        progress.stage(
            f"{name}: WARNING: a network made this list from labels; where those are labels that are scored here, scores are too "
            "good. `--without-suspects` looks for suspects within each training set"
        )

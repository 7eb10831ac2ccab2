"""The order of the stages: cohort, inputs, then each arm trained, scored and written; at the end the comparison.

An arm's `metrics.json` is written last, so an arm that has one is finished and a resumed run passes it by.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darkcovid.arms import classification_arm, segmentation_arm
from darkcovid.compute import pick_compute
from darkcovid.data.cohort import classification_cohort, lung_mask_cohort
from darkcovid.errors import Interrupted, one_line
from darkcovid.evaluation.comparison import arm_summary, side_by_side
from darkcovid.evaluation.lungs import read_scores, summarise
from darkcovid.inputs import InputMaker, chosen_arms, make_inputs
from darkcovid.paths import write_json, write_text
from darkcovid.recipe import Recipe
from darkcovid.report.plots import plot_comparison
from darkcovid.report.progress import Progress
from darkcovid.report.tables import comparison_markdown
from darkcovid.rundir import RunDir
from darkcovid.training.classify import build_network


@dataclass(frozen=True, slots=True)
class Folders:
    """Where runs and caches go."""

    runs: Path
    cache: Path


def run(recipe: Recipe, folders: Folders, progress: Progress, arms: Iterable[str] = (), resume: bool = False) -> dict[str, Any]:
    """Run a recipe's arms and return the comparison that is also in the run folder's `comparison.json`.

    Nothing is written to the runs folder before the recipe, the cohort, the split, every arm's inputs and network are sound.
    Raises DarkCovidError and its kinds, and Interrupted; a run that began is then marked so and can be resumed.
    """
    names = chosen_arms(recipe, arms)
    progress.stage(f"reading {recipe.data.manifest}")
    segmentation = recipe.task == "lung_segmentation"
    inputs, cohorts = {}, {}
    if segmentation:
        recipes = recipe.arm_recipes()
        cohorts = {name: lung_mask_cohort(recipes[name].data, folders.cache) for name in names}
        progress.cohort(cohorts[names[0]])
    else:
        cohort = classification_cohort(recipe.data, folders.cache)
        progress.cohort(cohort)
        maker = InputMaker(recipe, cohort, pick_compute(recipe.training.device), folders.cache)
        inputs = make_inputs(maker, names, progress.stage)
        for arm in inputs.values():
            build_network(arm.recipe, len(cohort.classes), arm.size)

    directory = RunDir.unfinished(folders.runs, recipe) if resume else RunDir.create(folders.runs, recipe)
    progress.run_folder(directory.path)
    directory.set_state("running", arms=names)
    try:
        for name in names:
            if (directory.arm(name) / "metrics.json").is_file():
                progress.stage(f"{name} is finished already")
                continue
            directory.event("arm", arm=name)
            if segmentation:
                segmentation_arm(directory, name, recipes[name], cohorts[name], folders.cache, progress, resume)
            else:
                classification_arm(directory, name, inputs[name], cohort, progress, resume)
        comparison = side_by_side(
            {name: arm_summary(directory.arm(name)) for name in names}, str(directory.path), reference=names[0]
        )
        if segmentation and recipe.data.split.folds is not None:
            scores = [score for name in names for score in read_scores(directory.arm(name) / "predictions.csv")]
            comparison["pooled"] = summarise(scores)
        write_json(directory.path / "comparison.json", comparison)
        write_text(directory.path / "comparison.md", comparison_markdown(comparison))
        plot_comparison(comparison, directory.path / "comparison.png")
        directory.set_state("done")
    except KeyboardInterrupt:
        directory.set_state("interrupted")
        raise Interrupted from None
    except BaseException as error:
        directory.set_state("failed", reason=one_line(error))
        raise
    return comparison

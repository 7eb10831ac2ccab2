"""The order of the stages: cohort, inputs, then each arm trained, scored and written; at the end the comparison.

An arm is one fit, or one for each fold and seed. A fit's `metrics.json` is written last, so a fit that has one is finished
and a resumed run passes it by.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darkcovid.arms import Job, fit_one_classifier, fit_one_segmenter
from darkcovid.audit import audit_cohort
from darkcovid.compute import pick_compute
from darkcovid.data.cohort import Cohort, classification_cohort, lung_mask_cohort
from darkcovid.data.leaks import leaks_of, refuse_leaks
from darkcovid.errors import Interrupted, one_line
from darkcovid.evaluation.comparison import arm_summary, pairs_of, side_by_side
from darkcovid.inputs import InputMaker, chosen_arms, make_inputs
from darkcovid.paths import write_json, write_text
from darkcovid.pooling import pool_fits
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


class Cohorts:
    """A recipe's cohort by the split of each of its fits, each made once."""

    def __init__(self, recipe: Recipe, cache_dir: Path):
        self.make = classification_cohort if recipe.task == "classification" else lung_mask_cohort
        self.cache_dir, self._made = cache_dir, {}

    def of(self, fit: Recipe) -> Cohort:
        split = fit.data.split
        if split not in self._made:
            self._made[split] = self.make(fit.data, self.cache_dir)
        return self._made[split]


def run(recipe: Recipe, folders: Folders, progress: Progress, arms: Iterable[str] = (), resume: bool = False) -> dict[str, Any]:
    """Run a recipe's arms and return the comparison that is also in the run folder's `comparison.json`.

    Nothing is written to the runs folder before the recipe, the cohort, the split, every arm's inputs and network are sound.
    Raises DarkCovidError and its kinds, and Interrupted; a run that began is then marked so and can be resumed.
    """
    names = chosen_arms(recipe, arms)
    progress.stage(f"reading {recipe.data.manifest}")
    plan = {name: recipe.arm_recipes()[name].fits() for name in names}
    cohorts = Cohorts(recipe, folders.cache)
    progress.cohort(cohorts.of(next(iter(plan[names[0]].values()))))
    inputs, audit = {}, None
    fits = list(plan[names[0]].values())
    if recipe.task == "classification":
        for fit in fits:
            leaks = leaks_of(cohorts.of(fit), folders.cache)
            refuse_leaks(leaks, recipe.data.allow_leaks)
        cohort = cohorts.of(fits[0])
        progress.stage("auditing the images")
        audit = audit_cohort(cohort, folders.cache, leaks)
        maker = InputMaker(recipe, cohort, pick_compute(recipe.training.device), folders.cache)
        inputs = make_inputs(maker, names, progress.stage)
        for arm in inputs.values():
            build_network(arm.recipe, len(cohort.classes), arm.size)

    directory = RunDir.unfinished(folders.runs, recipe) if resume else RunDir.create(folders.runs, recipe)
    progress.run_folder(directory.path)
    directory.set_state("running", arms=names)
    if audit is not None:
        write_json(directory.path / "audit.json", audit)
    try:
        for name in names:
            folder, fits = directory.arm(name), plan[name]
            jobs = [Job(directory, "/".join(filter(None, (name, fit))), wanted, folder / fit) for fit, wanted in fits.items()]
            for job in jobs:
                if (job.folder / "metrics.json").is_file():
                    progress.stage(f"{job.name} is finished already")
                    continue
                directory.event("arm", arm=job.name)
                if recipe.task == "classification":
                    fit_one_classifier(job, inputs[name], cohorts.of(job.recipe), progress, resume)
                else:
                    fit_one_segmenter(job, cohorts.of(job.recipe), folders.cache, progress, resume)
            if len(jobs) > 1:
                pool_fits(folder, {job.folder.name: job.folder for job in jobs}, recipe.task)
        comparison = side_by_side(
            {name: arm_summary(directory.arm(name)) for name in names}, str(directory.path), reference=names[0]
        )
        comparison |= pairs_of(comparison, {name: directory.arm(name) for name in names})
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

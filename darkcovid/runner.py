"""The order of the stages: cohort, inputs, then each arm trained, scored and written; at the end the comparison.

An arm is one fit, or one for each fold and seed. A fit's `metrics.json` is written last, so a fit that has one is finished
and a resumed run passes it by.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from darkcovid.arms import Job, fit_one_classifier, fit_one_segmenter
from darkcovid.audit import audit_cohort
from darkcovid.compute import pick_compute
from darkcovid.data.cohort import Cohort, classification_cohort, lung_mask_cohort
from darkcovid.data.external import external_sets
from darkcovid.data.leaks import leaks_of_splits, refuse_leaks
from darkcovid.errors import Interrupted, one_line
from darkcovid.evaluation.comparison import arm_summary, pairs_of, side_by_side
from darkcovid.inputs import ArmInputs, InputMaker, chosen_arms, make_inputs
from darkcovid.paths import write_json, write_text
from darkcovid.pooling import pool_fits
from darkcovid.recipe import Recipe, Split
from darkcovid.report.page import write_report
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


@dataclass(frozen=True)
class Prepared:
    """Everything that a run needs, found sound: each arm's fits, the cohort of each split, each arm's inputs (none for lung
    segmenters), and the audit of the images."""

    fits: dict[str, dict[str, Recipe]]
    cohorts: dict[Split, Cohort]
    inputs: dict[str, ArmInputs]
    audit: dict[str, Any] | None


def run(
    recipe: Recipe,
    folders: Folders,
    progress: Progress,
    arms: Iterable[str] = (),
    resume: bool = False,
    profile: bool = False,
) -> dict[str, Any]:
    """Run a recipe's arms and return the comparison that is also in the run folder's `comparison.json`. profile: every fit
    also leaves a `profile.txt` of where its time went, and a `trace.json.gz`.

    Nothing is written to the runs folder before the recipe, the cohort, the split, every arm's inputs and network are sound.
    Raises DarkCovidError and its kinds, and Interrupted; a run that began is then marked so and can be resumed.
    """
    names = chosen_arms(recipe, arms)
    prepared = prepare(recipe, names, folders, progress)
    directory = RunDir.unfinished(folders.runs, recipe) if resume else RunDir.create(folders.runs, recipe)
    progress.run_folder(directory.path)
    directory.set_state("running", arms=names)
    try:
        if prepared.audit is not None:
            write_json(directory.path / "audit.json", prepared.audit)
        for name in names:
            run_arm(name, recipe.task, prepared, directory, folders, progress, resume, profile)
        comparison = compare_arms(directory, names)
        if prepared.inputs:
            progress.stage(f"report: {write_report(directory.path)}")
        directory.set_state("done")
    except KeyboardInterrupt:
        directory.set_state("interrupted")
        raise Interrupted from None
    except BaseException as error:
        directory.set_state("failed", reason=one_line(error))
        raise
    return comparison


def prepare(recipe: Recipe, names: list[str], folders: Folders, progress: Progress) -> Prepared:
    """Read the cohort, audit it, and make every arm's inputs."""
    progress.stage(f"reading {recipe.data.manifest}")
    fits = {name: recipe.arm_recipes()[name].fits() for name in names}
    classification = recipe.task == "classification"
    make_cohort = classification_cohort if classification else lung_mask_cohort
    first, *others = fits[names[0]].values()
    cohorts = {fit.data.split: make_cohort(fit.data, folders.cache) for fit in (first, *others)}
    cohort = cohorts[first.data.split]
    progress.cohort(cohort)
    if not classification:
        return Prepared(fits, cohorts, {}, None)
    audit = None
    if recipe.audit != "none":
        progress.stage("auditing the images")
        started = perf_counter()
        worst = max(leaks_of_splits(list(cohorts.values()), folders.cache), key=lambda found: found.across)
        refuse_leaks(worst, recipe.data.allow_leaks)
        audit = audit_cohort(cohort, folders.cache, worst) | {"seconds": perf_counter() - started}
    maker = InputMaker(recipe, cohort, pick_compute(recipe.training.device), folders.cache)
    external = external_sets(recipe.data, cohort, folders.cache)
    progress.external(external)
    inputs = make_inputs(maker, external, names, progress.stage)
    for arm in inputs.values():
        build_network(arm.recipe, len(cohort.classes), arm.size)
    return Prepared(fits, cohorts, inputs, audit)


def run_arm(
    name: str,
    task: str,
    prepared: Prepared,
    directory: RunDir,
    folders: Folders,
    progress: Progress,
    resume: bool,
    profile: bool,
) -> None:
    """Every fit of an arm that is not finished yet; several are then pooled."""
    folder = directory.arm(name)
    jobs = [
        Job(directory, "/".join(filter(None, (name, fit))), recipe, folder / fit, profile)
        for fit, recipe in prepared.fits[name].items()
    ]
    for job in jobs:
        if (job.folder / "metrics.json").is_file():
            progress.stage(f"{job.name} is finished already")
            continue
        directory.event("arm", arm=job.name)
        cohort = prepared.cohorts[job.recipe.data.split]
        if task == "classification":
            fit_one_classifier(job, prepared.inputs[name], cohort, progress, resume)
        else:
            fit_one_segmenter(job, cohort, folders.cache, progress, resume)
    if len(jobs) > 1:
        pool_fits(folder, {job.folder.name: job.folder for job in jobs}, task)


def compare_arms(directory: RunDir, names: list[str]) -> dict[str, Any]:
    """Write the comparison of finished arms as JSON, Markdown and a plot, and return it."""
    folders = {name: directory.arm(name) for name in names}
    summaries = {name: arm_summary(folder) for name, folder in folders.items()}
    comparison = side_by_side(summaries, str(directory.path), reference=names[0])
    comparison |= pairs_of(comparison, folders)
    write_json(directory.path / "comparison.json", comparison)
    write_text(directory.path / "comparison.md", comparison_markdown(comparison))
    plot_comparison(comparison, directory.path / "comparison.png")
    return comparison

"""The order of the stages: cohort, inputs, then each arm trained, scored and written; at the end the comparison.

An arm is one fit, or one for each fold and seed. A fit's `metrics.json` is written last, so a fit that has one is finished
and a resumed run passes it by. Fits know nothing of one another: several processes may do them, and one collects.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import filelock

from darkcovid import __version__
from darkcovid.audit.data_audit import audit_cohort
from darkcovid.audit.leakage import check_no_leaks, find_leaks_of_splits
from darkcovid.core.array_cache import content_key
from darkcovid.core.device import get_device
from darkcovid.core.distributed import get_distributed
from darkcovid.core.errors import Interrupted, UsageError, one_line
from darkcovid.core.io import remove_partial, write_json, write_text
from darkcovid.data.cohort import Cohort, load_classification_cohort, load_segmentation_cohort
from darkcovid.data.external import external_sets
from darkcovid.evaluation.results import parse_comparison
from darkcovid.experiment.aggregate import aggregate_fits
from darkcovid.experiment.compare import build_comparison, load_arm_metrics, pairs_of
from darkcovid.experiment.fingerprint import check_cohort_unchanged, check_files_unchanged, check_one_cohort, given_files
from darkcovid.experiment.inputs import ArmInputs, InputBuilder, build_inputs, select_arms
from darkcovid.experiment.run_dir import ReadOnlyRunDir, RunDir
from darkcovid.experiment.train_arm import CHECKPOINT, FitJob, fit_one_classifier, fit_one_segmenter
from darkcovid.recipe import FitSelector, Recipe, Split
from darkcovid.report.html import write_report
from darkcovid.report.plots import plot_comparison
from darkcovid.report.progress import Progress
from darkcovid.report.tables import comparison_markdown
from darkcovid.training.classifier import build_model
from darkcovid.training.ddp import check_ranks_agree


@dataclass(frozen=True, slots=True)
class RunPaths:
    """Where runs and caches go."""

    runs: Path
    cache: Path


@dataclass(frozen=True)
class PreparedRun:
    """Everything that a run needs, found sound: each arm's fits, the cohort of each split, each arm's inputs (none for lung
    segmenters), the audit of the images, and the checksums of what else was given as files."""

    fits: dict[str, dict[str, Recipe]]
    cohorts: dict[Split, Cohort]
    inputs: dict[str, ArmInputs]
    audit: dict[str, Any] | None
    files: dict[str, str]


@dataclass(frozen=True)
class RunContext:
    """One call's share of a run: what it needs, where it writes, and how it goes about it."""

    recipe: Recipe
    prepared: PreparedRun
    directory: RunDir
    folders: RunPaths
    progress: Progress
    resume: bool = False
    profile: bool = False


def run(
    recipe: Recipe,
    folders: RunPaths,
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
    names, ranks = select_arms(recipe, arms), get_distributed()
    prepared = prepare_distributed(recipe, names, folders, progress)
    directory = None
    if ranks.main:
        directory = RunDir.unfinished(folders.runs, recipe) if resume else RunDir.create(folders.runs, recipe)
        check_same_inputs(directory.path, recipe, prepared)
    path = ranks.mains(directory and directory.path)
    directory = directory or ReadOnlyRunDir(path)
    work = RunContext(recipe, prepared, directory, folders, progress, resume, profile)
    with track_status(work, names):
        for name in names:
            run_arm(work, name)
        return aggregate_run(directory, recipe, names, progress) if ranks.main else {}


def prepare_distributed(recipe: Recipe, names: list[str], folders: RunPaths, progress: Progress) -> PreparedRun:
    """`prepare`, of several processes first in the main one, which fills the cache for all. Raises UsageError: they were
    given different things, or what only one process can fit."""
    ranks = get_distributed()
    if ranks.size > 1 and recipe.task != "classification":
        raise UsageError(f"task: {recipe.task} is fitted by one process; start it without accelerate")
    if not ranks.main:
        ranks.wait()
    prepared = prepare(recipe, names, folders, progress)
    if ranks.main:
        ranks.wait()
    seen = [[*cohort.sha256, *cohort.side_names] for cohort in prepared.cohorts.values()]
    check_ranks_agree({"recipe": recipe.to_yaml(), "cohort": content_key(cohorts=seen), "version": __version__}, ranks)
    return prepared


def run_subset(
    recipe: Recipe,
    path: Path,
    folders: RunPaths,
    progress: Progress,
    arms: Iterable[str],
    part: FitSelector,
    profile: bool = False,
) -> list[str]:
    """Some fits of a recipe, into a folder that other calls share, on this machine or others; `aggregate_run` finishes it.
    Returns the names of the fits. Raises as `run` does, and UsageError: another recipe's folder, or no such fit."""
    names = select_arms(recipe, arms)
    wanted = {name: [fit for fit in recipe.arm_recipes()[name].fits() if part.has(fit)] for name in names}
    if not any(wanted.values()):
        raise UsageError(f"{part}: the recipe has no such fit; see training.folds and training.seeds")
    prepared = prepare(recipe, names, folders, progress)
    work = RunContext(recipe, prepared, RunDir.shared(path, recipe), folders, progress, resume=True, profile=profile)
    check_same_inputs(path, recipe, prepared)
    progress.run_folder(work.directory.path)
    write_audit(work)
    for name in names:
        run_arm(work, name, part)
    return [f"{name}/{fit}".rstrip("/") for name, fits in wanted.items() for fit in fits]


def check_same_inputs(path: Path, recipe: Recipe, prepared: PreparedRun) -> None:
    """Raises UsageError: fits in the run folder began with other images, labels, splits, external sets or weights."""
    check_cohort_unchanged(path, recipe, prepared.cohorts)
    check_files_unchanged(path, prepared.files)


@contextmanager
def track_status(work: RunContext, names: list[str]) -> Iterator[None]:
    """The folder says how the run stands: running, then done, failed or interrupted."""
    directory = work.directory
    work.progress.run_folder(directory.path)
    directory.set_state("running", arms=names)
    try:
        write_audit(work)
        yield
        directory.set_state("done")
    except KeyboardInterrupt:
        directory.set_state("interrupted")
        raise Interrupted from None
    except BaseException as error:
        directory.set_state("failed", reason=one_line(error))
        raise


def write_audit(work: RunContext) -> None:
    if work.prepared.audit is not None and get_distributed().main:
        write_json(work.directory.path / "audit.json", work.prepared.audit)


def prepare(recipe: Recipe, names: list[str], folders: RunPaths, progress: Progress) -> PreparedRun:
    """Read the cohort, audit it, and make every arm's inputs."""
    progress.stage(f"reading {recipe.data.manifest}")
    fits = {name: recipe.arm_recipes()[name].fits() for name in names}
    classification = recipe.task == "classification"
    make_cohort = load_classification_cohort if classification else load_segmentation_cohort
    first, *others = fits[names[0]].values()
    cohorts = {fit.data.split: make_cohort(fit.data, folders.cache) for fit in (first, *others)}
    cohort = cohorts[first.data.split]
    progress.cohort(cohort)
    if not classification:
        return PreparedRun(fits, cohorts, {}, None, given_files(recipe, []))
    audit = None
    if recipe.audit != "none":
        progress.stage("auditing the images")
        started = perf_counter()
        worst = max(find_leaks_of_splits(list(cohorts.values()), folders.cache), key=lambda found: found.across)
        check_no_leaks(worst, recipe.data.allow_leaks)
        audit = audit_cohort(cohort, folders.cache, worst) | {"seconds": perf_counter() - started}
    maker = InputBuilder(recipe, cohort, get_device(recipe.training.device), folders.cache)
    external = external_sets(recipe.data, cohort, folders.cache)
    progress.external(external)
    inputs = build_inputs(maker, external, names, progress.stage)
    for arm in inputs.values():
        build_model(arm.recipe, len(cohort.classes), arm.size)
    return PreparedRun(fits, cohorts, inputs, audit, given_files(recipe, external))


def run_arm(work: RunContext, name: str, part: FitSelector = FitSelector()) -> None:  # noqa: B008 (it is frozen)
    """Every fit of an arm, or of a part of it, that is not finished yet."""
    for fit, recipe in work.prepared.fits[name].items():
        if not part.has(fit):
            continue
        folder = work.directory.arm(name) / fit
        job = FitJob(work.directory, "/".join(filter(None, (name, fit))), recipe, folder, work.profile)
        with exclusive_fit_lock(job):
            if (folder / "metrics.json").is_file():
                (folder / CHECKPOINT).unlink(missing_ok=True)
                work.progress.stage(f"{job.name} is finished already")
                continue
            work.directory.event("arm", arm=job.name)
            cohort = work.prepared.cohorts[recipe.data.split]
            if work.recipe.task == "classification":
                fit_one_classifier(job, work.prepared.inputs[name], cohort, work.progress, work.resume)
            else:
                fit_one_segmenter(job, cohort, work.folders.cache, work.progress, work.resume)


@contextmanager
def exclusive_fit_lock(job: FitJob) -> Iterator[None]:
    """No other run fits this meanwhile; the lock of one that died is free. Raises UsageError when one does."""
    if not get_distributed().main:
        yield
        return
    job.folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(job.folder / ".lock", blocking=False)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise UsageError(f"{job.folder}: another process is fitting {job.name}; wait for it, or stop it first") from None
    remove_partial(job.folder)
    try:
        yield
    finally:
        with suppress(OSError):
            (job.folder / ".lock").unlink(missing_ok=True)
        lock.release()


def aggregate_run(directory: RunDir, recipe: Recipe, names: list[str], progress: Progress) -> dict[str, Any]:
    """Pool the arms' fits, compare the arms and write the report; returns the comparison. Raises UsageError: fits that are
    not finished."""
    fits = {name: {fit: directory.arm(name) / fit for fit in recipe.arm_recipes()[name].fits()} for name in names}
    missing = [folder for folders in fits.values() for folder in folders.values() if not (folder / "metrics.json").is_file()]
    if missing:
        shown = ", ".join(str(folder.relative_to(directory.path)) for folder in missing[:3])
        raise UsageError(f"{directory.path}: {len(missing)} fits are not finished ({shown}); run them first")
    check_one_cohort(directory.path, recipe, names)
    remove_partial(directory.path)
    for name, folders in fits.items():
        if len(folders) > 1:
            remove_partial(directory.arm(name))
            aggregate_fits(directory.arm(name), folders, recipe.task)
    comparison = compare_arms(directory, names)
    if recipe.task == "classification":
        progress.stage(f"report: {write_report(directory.path)}")
    return comparison


def compare_arms(directory: RunDir, names: list[str]) -> dict[str, Any]:
    """Write the comparison of finished arms as JSON, Markdown and a plot, and return it."""
    folders = {name: directory.arm(name) for name in names}
    summaries = {name: load_arm_metrics(folder) for name, folder in folders.items()}
    comparison = build_comparison(summaries, str(directory.path), reference=names[0])
    comparison |= pairs_of(comparison, folders)
    write_json(directory.path / "comparison.json", comparison)
    parsed = parse_comparison(comparison)
    write_text(directory.path / "comparison.md", comparison_markdown(parsed))
    plot_comparison(parsed, directory.path / "comparison.png")
    return comparison

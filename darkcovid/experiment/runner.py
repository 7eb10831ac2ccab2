"""The order of the stages: cohort, inputs, then each arm trained, scored and written; at the end the comparison.

An arm is one fit, or one for each fold and seed. A fit's `metrics.json` is written last, so a fit that has one is finished
and a resumed run passes it by. Fits know nothing of one another: several processes may do them, and one collects.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import filelock

from darkcovid import __version__
from darkcovid.audits.checks import run_checks
from darkcovid.audits.data_audit import audit_cohort
from darkcovid.audits.leakage import check_no_leaks, find_leaks_of_splits
from darkcovid.core.array_cache import content_key
from darkcovid.core.cpu_threads import computing_with
from darkcovid.core.device import get_device
from darkcovid.core.distributed import ALONE, Distributed, join_process_group
from darkcovid.core.errors import UsageError
from darkcovid.core.io import remove_partial, write_json, write_text
from darkcovid.core.slow_progress import slow_step
from darkcovid.data.cohort import Cohort, load_classification_cohort, load_segmentation_cohort
from darkcovid.data.external import external_sets
from darkcovid.data.near_duplicates.search import SIZE as NEAR_COPY_SIZE
from darkcovid.evaluation.results import parse_comparison
from darkcovid.experiment.aggregate import aggregate_fits
from darkcovid.experiment.classifier_task import ClassifierTask
from darkcovid.experiment.compare import build_comparison, fits_ran_alone, load_arm_metrics
from darkcovid.experiment.ensemble import write_ensemble
from darkcovid.experiment.fingerprint import check_cohort_unchanged, check_files_unchanged, check_one_cohort, given_files
from darkcovid.experiment.label_error_files import write_label_errors
from darkcovid.experiment.label_errors import leave_suspects_out, tell_left_out
from darkcovid.experiment.paired_arms import pairs_of
from darkcovid.experiment.run_dir import ReadOnlyRunDir, RunDir
from darkcovid.experiment.run_state import LOCK_SECONDS
from darkcovid.experiment.run_summary import write_run_summary
from darkcovid.experiment.segmenter_task import SegmenterTask
from darkcovid.experiment.train_arm import CHECKPOINT, ArmTask, FitJob, train_arm
from darkcovid.recipe import SUSPECTS, FitId, FitSelector, Recipe, Split
from darkcovid.report.html import read_evidence, write_report
from darkcovid.report.plots import plot_comparison
from darkcovid.report.progress import Progress
from darkcovid.report.tables import comparison_markdown
from darkcovid.report.verdict import verdict
from darkcovid.training.classifier import build_model
from darkcovid.training.ddp import check_ranks_agree
from darkcovid.vision.arm_inputs import ArmInputs, InputBuilder, build_inputs, check_networks, check_sources, in_arm, select_arms


@dataclass(frozen=True, slots=True)
class RunPaths:
    """Where runs and caches go."""

    runs: Path
    cache: Path


@dataclass(frozen=True)
class PreparedRun:
    """Everything that a run needs, found sound.

    Attributes:
        fits: Each arm's fits, with the recipe of each.
        cohorts: The cohort of each split.
        inputs: Each arm's; none for lung segmenters.
        audit: Of the images; None for lung segmenters, and where the recipe asks for none.
        files: SHA-256 of what else was given as files, by what it is.
    """

    fits: dict[str, dict[FitId, Recipe]]
    cohorts: dict[Split, Cohort]
    inputs: dict[str, ArmInputs]
    audit: dict[str, Any] | None
    files: dict[str, str]

    @property
    def images(self) -> dict[str, Path]:
        """The file of each image of the cohort."""
        cohort = next(iter(self.cohorts.values()))
        return dict(zip(cohort.rows.path, cohort.files, strict=True))


@dataclass(frozen=True)
class RunContext:
    """One call's share of a run: what it needs, where it writes, and how.

    Attributes:
        recipe: Of the whole run.
        prepared: What `prepare` returned.
        directory: The run's.
        folders: Of all runs, and of the cache.
        progress: Shown to a person.
        resume: Whether unfinished fits continue from their checkpoints.
        profile: Whether every fit leaves a `profile.txt`.
        distributed: This process's place among those that fit together.
    """

    recipe: Recipe
    prepared: PreparedRun
    directory: RunDir
    folders: RunPaths
    progress: Progress
    resume: bool = False
    profile: bool = False
    distributed: Distributed = ALONE


def run(
    recipe: Recipe,
    folders: RunPaths,
    progress: Progress,
    arms: Iterable[str] = (),
    resume: bool = False,
    profile: bool = False,
    watch: Callable[[RunDir], AbstractContextManager[None]] = nullcontext,
) -> dict[str, Any]:
    """Run a recipe's arms.

    Nothing is written to the runs folder before the recipe, the cohort, the split, every arm's inputs and network are sound.

    Args:
        recipe: What to run.
        folders: Where runs and caches go.
        progress: Shown to a person.
        arms: Names of those to run; none means all.
        resume: Whether to continue the newest unfinished run of this recipe.
        profile: Whether every fit leaves a `profile.txt` of where its time went, and a `trace.json.gz`.
        watch: Makes a context of the run's folder, in which the run is made; of the main process.

    Returns:
        The comparison that is also in the run folder's `comparison.json`; of several processes, {} in all but the main one.

    Raises:
        DarkCovidError: And its kinds; a run that began is then marked as failed and can be resumed.
        Interrupted: Stopped by SIGINT or SIGTERM; the run can be resumed.
    """
    names, ranks = select_arms(recipe, arms), join_process_group()
    prepared = prepare_distributed(recipe, names, folders, progress, ranks)
    directory = None
    if ranks.is_main:
        directory = RunDir.unfinished(folders.runs, recipe) if resume else RunDir.create(folders.runs, recipe)
        check_same_inputs(directory.path, recipe, prepared)
    path = ranks.broadcast_object(directory and directory.path)
    directory = directory or ReadOnlyRunDir(path)
    work = RunContext(recipe, prepared, directory, folders, progress, resume, profile, ranks)
    threads = computing_with(RunDir(path).environment().torch_threads if resume else None)
    with threads, watch(directory) if ranks.is_main else nullcontext(), track_status(work, names):
        for name in names:
            run_arm(work, name)
        return aggregate_run(directory, recipe, names, progress, prepared.images) if ranks.is_main else {}


def prepare_distributed(
    recipe: Recipe, names: list[str], folders: RunPaths, progress: Progress, ranks: Distributed
) -> PreparedRun:
    """`prepare`, of several processes first in the main one, which fills the cache for all.

    Args:
        recipe: What to run.
        names: Of its arms.
        folders: Where runs and caches go.
        progress: Shown to a person.
        ranks: This process's place.

    Returns:
        What `prepare` returns, in every process.

    Raises:
        UsageError: The processes were given different things, or what only one process can fit; and as `prepare` does.
    """
    if ranks.size > 1 and recipe.task != "classification":
        raise UsageError(f"task: {recipe.task} is fitted by one process; start it without accelerate")
    if not ranks.is_main:
        ranks.barrier()
    prepared = prepare(recipe, names, folders, progress)
    if ranks.is_main:
        ranks.barrier()
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

    Args:
        recipe: Of the whole run.
        path: The shared run folder.
        folders: Of all runs, and of the cache.
        progress: Shown to a person.
        arms: Names of those to run; none means all.
        part: Which of their fits.
        profile: Whether every fit leaves a `profile.txt`.

    Returns:
        The names of the fits.

    Raises:
        UsageError: Another recipe's folder, or no such fit; and as `run` does.
    """
    names = select_arms(recipe, arms)
    selected = [(name, fit) for name in names for fit in recipe.arm_recipes()[name].fits() if part.matches(fit)]
    if not selected:
        raise UsageError(f"{part}: the recipe has no such fit; see training.folds and training.seeds")
    prepared = prepare(recipe, names, folders, progress)
    work = RunContext(recipe, prepared, RunDir.shared(path, recipe), folders, progress, resume=True, profile=profile)
    check_same_inputs(path, recipe, prepared)
    progress.run_folder(work.directory.path)
    write_audit(work)
    for name in names:
        run_arm(work, name, part)
    return [fit.name(name) for name, fit in selected]


def check_same_inputs(path: Path, recipe: Recipe, prepared: PreparedRun) -> None:
    """Whether fits in the run folder began with the same inputs.

    Args:
        path: The run folder.
        recipe: Of the whole run.
        prepared: What this call would fit.

    Raises:
        UsageError: They began with other images, labels, splits, external sets or weights.
    """
    check_cohort_unchanged(path, recipe, prepared.cohorts)
    check_files_unchanged(path, prepared.files)


@contextmanager
def track_status(work: RunContext, names: list[str]) -> Iterator[None]:
    """A context in which the folder's `status.json` says how the run stands: running, then done, failed or interrupted.

    Args:
        work: Of this call.
        names: Of the arms that it runs.

    Yields:
        Nothing.

    Raises:
        Interrupted: For a KeyboardInterrupt inside; everything else is raised as it is.
    """
    directory = work.directory
    work.progress.run_folder(directory.path)
    with directory.tracked(arms=names):
        write_audit(work)
        yield


def write_audit(work: RunContext) -> None:
    """`audit.json`, where the images were audited."""
    if work.prepared.audit is not None and work.distributed.is_main:
        write_json(work.directory.path / "audit.json", work.prepared.audit)


def prepare(recipe: Recipe, names: list[str], folders: RunPaths, progress: Progress) -> PreparedRun:
    """Read the cohort, audit it, and make every arm's inputs.

    Args:
        recipe: What to run.
        names: Of its arms.
        folders: Where runs and caches go.
        progress: Shown to a person.

    Returns:
        What the fits need.

    Raises:
        UsageError, DataError: The first thing that is wrong with the recipe, the images or a network.
    """
    check_networks(recipe, names)
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
    builder = InputBuilder(recipe, cohort, get_device(recipe.training.device), folders.cache)
    for name in names:
        with in_arm(recipe, name):
            check_sources(builder.arms[name], cohort)
    early = [name for name in names if not builder.size_needs_lungs(name)]
    _build_networks(builder, early)
    builder.decode_whole(names, [NEAR_COPY_SIZE] * (recipe.audit != "none"))
    audit = None
    if recipe.audit != "none":
        progress.stage("auditing the images")
        started = perf_counter()
        with slow_step("looking for patients and copies in two sets"):
            worst = max(find_leaks_of_splits(list(cohorts.values()), folders.cache), key=lambda leaks: leaks.across)
        check_no_leaks(worst, recipe.data.allow_leaks)
        if worst.leaks:
            progress.stage(f"LEAKS, allowed by data.allow_leaks: {worst.across} patients or pairs of copies are in two sets")
        with slow_step("looking for confounders"):
            audit = audit_cohort(cohort, folders.cache, worst) | {"seconds": perf_counter() - started}
    for name in names:
        tell_left_out(name, builder.arms[name].data, list(cohorts.values()), progress)
    external = external_sets(recipe.data, cohort, folders.cache)
    progress.external(external)
    inputs = build_inputs(builder, external, names, progress.stage)
    _build_networks(builder, [name for name in names if name not in early])
    return PreparedRun(fits, cohorts, inputs, audit, given_files(recipe, external))


def _build_networks(builder: InputBuilder, arms: Iterable[str]) -> None:
    """Build the networks of arms once, so that one that cannot be built or lacks its weights is told before any is trained."""
    for arm in arms:
        with in_arm(builder.recipe, arm), slow_step(f"{arm}: building the network"):
            build_model(builder.arms[arm], len(builder.cohort.classes), builder.size(arm))


def run_arm(work: RunContext, name: str, part: FitSelector = FitSelector()) -> None:
    """Train every fit of an arm, or of a part of it, that is not finished yet.

    Args:
        work: Of this call.
        name: The arm's.
        part: Which of its fits.

    Raises:
        UsageError: Another process is fitting one of them; and as `train_arm` does.
    """
    for number, (fit, recipe) in enumerate(work.prepared.fits[name].items()):
        if not part.matches(fit):
            continue
        folder = fit.folder(work.directory.arm(name))
        job = FitJob(work.directory, fit.name(name), recipe, folder, work.profile, first=number == 0)
        with exclusive_fit_lock(job, work.distributed):
            if (job.folder / "metrics.json").is_file():
                (job.folder / CHECKPOINT).unlink(missing_ok=True)
                work.progress.stage(f"{job.name} is finished already")
                continue
            work.directory.event("arm", arm=job.name)
            cohort = work.prepared.cohorts[recipe.data.split].leaving_out(recipe.data)
            if recipe.data.leave_out == SUSPECTS:
                cohort = leave_suspects_out(job, cohort, work.prepared.inputs[name], work.progress)
            task: ArmTask = (
                ClassifierTask(work.prepared.inputs[name], cohort)
                if work.recipe.task == "classification"
                else SegmenterTask(cohort, work.folders.cache)
            )
            train_arm(job, task, work.progress, work.resume)


@contextmanager
def exclusive_fit_lock(job: FitJob, distributed: Distributed) -> Iterator[None]:
    """A context in which no other run fits this; the lock of one that died is free.

    Args:
        job: Which fit.
        distributed: Of several processes that fit it together, the main one holds the lock.

    Yields:
        Nothing.

    Raises:
        UsageError: Another run fits it, and goes on for `LOCK_SECONDS`; `runs list` and its like hold the lock for a moment.
    """
    if not distributed.is_main:
        yield
        return
    job.folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(job.folder / ".lock", timeout=LOCK_SECONDS)
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


def aggregate_run(
    directory: RunDir, recipe: Recipe, names: list[str], progress: Progress, images: Mapping[str, Path] | None = None
) -> dict[str, Any]:
    """Pool the arms' fits, compare the arms and write the report.

    Args:
        directory: The run's.
        recipe: Of the whole run.
        names: Of its arms.
        progress: Shown to a person.
        images: The file of each image, for pictures of suspected label errors; None: without pictures.

    Returns:
        The comparison that is also in `comparison.json`.

    Raises:
        UsageError: Some fits are not finished, or were fitted on different cohorts.
    """
    fits = {name: {str(fit): fit.folder(directory.arm(name)) for fit in recipe.arm_recipes()[name].fits()} for name in names}
    missing = [folder for folders in fits.values() for folder in folders.values() if not (folder / "metrics.json").is_file()]
    if missing:
        shown = ", ".join(str(folder.relative_to(directory.path)) for folder in missing[:3])
        raise UsageError(f"{directory.path}: {len(missing)} fits are not finished ({shown}); run them first")
    check_one_cohort(directory.path, recipe, names)
    remove_partial(directory.path)
    for name, folders in fits.items():
        if list(folders.values()) != [directory.arm(name)]:  # also of one seed, whose fit has a folder of its own
            remove_partial(directory.arm(name))
            with slow_step(f"{name}: pooling its fits"):
                aggregate_fits(directory.arm(name), folders, recipe.task)
    ensembles = {name: members for name, members in recipe.ensemble.items() if set(members) <= set(names)}
    for name, members in recipe.ensemble.items():
        if name not in ensembles:
            missing_arms = ", ".join(member for member in members if member not in names)
            progress.stage(f"ensemble {name} is left out, since not all of its arms were run: {missing_arms}")
    for name, members in ensembles.items():
        with slow_step(f"{name}: averaging its arms"):
            write_ensemble(directory.arm(name), [directory.arm(member) for member in members])
    with slow_step("comparing the arms"):
        comparison = compare_arms(directory, [*names, *ensembles])
    if recipe.task == "classification":
        if recipe.audit != "none":
            with slow_step("looking for suspect labels"):
                write_label_errors(directory.path, parse_comparison(comparison), images or {})
        with slow_step("writing the report"):
            report = write_report(directory.path)
        progress.stage(f"report: {report}")
    with slow_step("the verdict"):
        write_run_summary(directory.path, comparison, _first_of_verdict(directory.path, recipe))
    return comparison


def _first_of_verdict(run: Path, recipe: Recipe) -> str:
    """'' of lung segmenters."""
    if recipe.task != "classification":
        return ""
    evidence = read_evidence(run)
    return verdict(evidence, run_checks(evidence))[0]


def compare_arms(directory: RunDir, names: list[str]) -> dict[str, Any]:
    """Write the comparison of finished arms as JSON, Markdown and a plot.

    Args:
        directory: The run's.
        names: Of its arms; the first is the reference of the paired tests.

    Returns:
        What `comparison.json` holds.
    """
    folders = {name: directory.arm(name) for name in names}
    summaries = {name: load_arm_metrics(folder) for name, folder in folders.items()}
    comparison = build_comparison(summaries, str(directory.path), names[0], fits_ran_alone(directory.path))
    comparison |= pairs_of(comparison["arms"], [folders])
    write_json(directory.path / "comparison.json", comparison)
    parsed = parse_comparison(comparison)
    write_text(directory.path / "comparison.md", comparison_markdown(parsed))
    plot_comparison(parsed, directory.path / "comparison.png")
    return comparison

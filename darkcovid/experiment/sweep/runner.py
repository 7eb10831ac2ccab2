"""A sweep from its recipe to its headline: trials on inner folds, then the winner against the plain recipe on the locked set."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import filelock

from darkcovid.audits.checks.protocol import keys_that_look
from darkcovid.audits.leakage import check_no_leaks, find_leaks_of_splits
from darkcovid.core.cpu_threads import computing_with
from darkcovid.core.errors import DarkCovidError, UsageError
from darkcovid.core.slow_progress import slow_step
from darkcovid.data.cohort import Cohort, load_classification_cohort
from darkcovid.evaluation.sweep_result import SweepResult, TrialRecord
from darkcovid.experiment.artifacts import write_split
from darkcovid.experiment.fingerprint import (
    ADVICE,
    check_files_unchanged,
    cohort_table,
    describe_changes,
    given_files,
    read_split,
)
from darkcovid.experiment.run_dir import RunDir
from darkcovid.experiment.run_state import DONE, LOCK_SECONDS, RUN_NAME
from darkcovid.experiment.runner import RunPaths, run
from darkcovid.experiment.sweep.deadline import Deadline
from darkcovid.experiment.sweep.inner_folds import inner_folds, training_side
from darkcovid.experiment.sweep.result import (
    conclusions,
    confirmed_arms,
    count_trials,
    metric_difference,
    write_sweep_result,
)
from darkcovid.experiment.sweep.study import SweepStudy
from darkcovid.experiment.sweep.trials import TrialContext, make_trials
from darkcovid.recipe import Recipe, load_recipe, require_sweep, swept_arm, with_swept_keys
from darkcovid.report.progress import Progress
from darkcovid.report.sweep import write_sweep_report
from darkcovid.vision.arm_inputs import check_networks

SUFFIX, WINNER, FINAL = "-sweep", "winner", "-final"

TrialMaker = Callable[[TrialContext], None]
FinalRunner = Callable[[Recipe, RunPaths, Progress, list[str], bool], dict[str, Any]]


def run_sweep(
    recipe: Recipe,
    folders: RunPaths,
    progress: Progress,
    resume: bool = False,
    minutes: float | None = None,
    make: TrialMaker = make_trials,
    final_run: FinalRunner = run,
) -> SweepResult:
    """Make a recipe's sweep.

    Args:
        recipe: With a sweep.
        folders: Where runs and caches go.
        progress: Shown to a person.
        resume: Whether to continue the newest unfinished sweep of this recipe.
        minutes: After which it is to end, the final fits included; None: when all trials are made.
        make: Makes the trials.
        final_run: Runs the final recipe: recipe, folders, progress, arms, and whether to resume.

    Returns:
        What it found, which is also in the sweep folder's `sweep.json`.

    Raises:
        UsageError, DataError: The first thing that is wrong with the recipe, the images or a network.
        DarkCovidError: All trials failed, or none was finished in time.
        Interrupted: Stopped by SIGINT or SIGTERM; the sweep can be resumed.
    """
    deadline = Deadline(minutes)
    require_sweep(recipe)
    named = recipe.model_copy(update={"name": f"{recipe.name[: 64 - len(SUFFIX)]}{SUFFIX}"})
    named = named.model_copy(update={"arms": named.arms or {recipe.name: {}}})  # the arm keeps its name
    check_networks(named, [swept_arm(named)])
    cohort, folds = sweep_folds(named, folders.cache, progress)
    directory = RunDir.unfinished(folders.runs, named) if resume else RunDir.create(folders.runs, named)
    _check_same_images(directory.path, named, cohort)
    threads = computing_with(directory.environment().torch_threads if resume else None)
    with threads, _only_one(directory.path), directory.tracked():
        progress.run_folder(directory.path)
        study = SweepStudy(directory.path, named)
        study.drop_unfinished()
        context = TrialContext(study, directory, folders.cache, folds, progress, deadline)
        make(context)
        best = study.best()
        if best is None:
            raise DarkCovidError(_nothing_found(study, minutes))
        tied = count_trials(study)["tied"]
        comparison, names, seeds = _run_final(named, best, tied, directory, folders, progress, final_run)
        result = _result(named, study, cohort, len(folds[0]), best, comparison, names, seeds)
        with slow_step("writing the report"):
            write_sweep_report(directory.path, result, study.records())
        write_sweep_result(result, study, comparison)
        progress.stage(f"report: {directory.path / 'report.html'}")
    return result


def sweep_folds(recipe: Recipe, cache: Path, progress: Progress) -> tuple[Cohort, list[Cohort]]:
    """The cohort of a sweep, and the inner folds of its training set.

    Args:
        recipe: With a sweep.
        cache: Folder of decoded images.
        progress: Shown to a person.

    Returns:
        The whole cohort, and one cohort of training images alone per inner fold.

    Raises:
        UsageError: Patients or copies are in two sets, and the recipe does not allow it; or there are too few patients.
        DataError: Images cannot be used.
    """
    sweep = require_sweep(recipe)
    progress.stage(f"reading {recipe.data.manifest}")
    cohort = load_classification_cohort(recipe.data, cache)
    progress.cohort(cohort)
    if recipe.audit != "none":
        check_no_leaks(find_leaks_of_splits([cohort], cache)[0], recipe.data.allow_leaks)
    side = training_side(cohort)
    locked = cohort.valid | cohort.test
    progress.stage(
        f"trials see {len(side)} training images in {sweep.folds} inner folds; {int(locked.sum())} images of "
        f"{cohort.patients[locked].nunique()} patients are locked until the winner is fitted again"
    )
    return cohort, inner_folds(side, sweep.folds, sweep.seed)


def continue_trials(folder: Path, cache: Path, progress: Progress, deadline: Deadline, parent: int) -> None:
    """Make trials of a sweep that another process began and will end.

    Args:
        folder: The sweep's.
        cache: Folder of decoded images.
        progress: Shown to a person.
        deadline: When trials end.
        parent: That process's number.

    Raises:
        UsageError, DataError, DarkCovidError: As `run_sweep` does.
    """
    recipe = load_recipe(folder / "recipe.yaml")
    _, folds = sweep_folds(recipe, cache, progress)
    study = SweepStudy(folder, recipe)
    make_trials(TrialContext(study, RunDir(folder), cache, folds, progress, deadline, parent))


def final_recipe(recipe: Recipe, best: TrialRecord) -> tuple[Recipe, dict[str, str], tuple[int, ...]]:
    """The recipe that confirms a winner: the plain arm and, where it is another recipe, the winner, with seeds that no trial had.

    Args:
        recipe: Of the sweep.
        best: The best trial.

    Returns:
        The recipe; the arms' names by `plain` and, where it is another recipe, `winner`; the seeds.
    """
    plain = swept_arm(recipe)
    winner = WINNER if WINNER not in recipe.arms else f"{WINNER}_of_{plain}"
    names = {"plain": plain} if _is_plain(recipe, best) else {"plain": plain, "winner": winner}
    used = {recipe.training.seed, *(recipe.training.seeds or ()), recipe.arm_recipes()[plain].training.seed}
    seeds = tuple(seed for seed in range(recipe.training.seed + 1, recipe.training.seed + 1000) if seed not in used)
    seeds = seeds[: require_sweep(recipe).final_seeds]
    tried = with_swept_keys(recipe, best.values, name=names.get("winner"))
    name = recipe.name.removesuffix(SUFFIX)
    training = tried.training.model_copy(update={"seeds": seeds})
    final = tried.model_copy(update={"name": f"{name[: 64 - len(FINAL)]}{FINAL}", "training": training})
    return final, names, seeds


def _is_plain(recipe: Recipe, best: TrialRecord) -> bool:
    """Whether a trial is the plain recipe, however its values are written: `1` and `1.0` are the same learning rate."""
    tried, plain = with_swept_keys(recipe, best.values), with_swept_keys(recipe, {})
    arm = swept_arm(recipe)
    return best.plain or tried.arm_recipes()[arm] == plain.arm_recipes()[arm]


def _run_final(
    recipe: Recipe,
    best: TrialRecord,
    tied: int,
    directory: RunDir,
    folders: RunPaths,
    progress: Progress,
    final_run: FinalRunner,
) -> tuple[dict[str, Any], dict[str, str], tuple[int, ...]]:
    """The final run, continued or taken as it is where this sweep began it before it was killed."""
    final, names, seeds = final_recipe(recipe, best)
    values = ", ".join(f"{key}={value}" for key, value in best.values.items())
    if "winner" in names:
        who = f"{tied} trials tied, and the first is taken, trial" if tied > 1 else "the winner is trial"
        told = f"{who} {best.number} ({values}); it is fitted again beside {names['plain']}, seeds {list(seeds)}"
    else:
        told = f"no value tried beat those of {names['plain']} ({values}); it is fitted again, seeds {list(seeds)}"
    progress.stage(told)
    directory.event("final_fits", trial=best.number, arms=names)
    earlier = _earlier_final(directory.path, folders.runs, final)
    if earlier is not None and RunDir(earlier).state() == DONE:
        comparison = json.loads((earlier / "comparison.json").read_text(encoding="utf-8"))
    else:
        comparison = final_run(final, folders, progress, list(names.values()), earlier is not None)
    directory.event("final", run_dir=comparison["run_dir"])
    return comparison, names, seeds


def _earlier_final(folder: Path, runs: Path, final: Recipe) -> Path | None:
    """The newest folder of this final recipe that is younger than the sweep."""
    began = _started(folder)
    candidates = [path for path in runs.glob(f"{final.name}-*-{final.digest()}*") if path.is_dir() and _started(path) >= began]
    return max(candidates, key=lambda path: path.name, default=None)


def _started(folder: Path) -> datetime:
    matched = RUN_NAME.fullmatch(folder.name)
    return datetime.strptime(matched["started"], "%Y%m%dT%H%M%S") if matched else datetime.min


def _result(
    recipe: Recipe,
    study: SweepStudy,
    cohort: Cohort,
    training_images: int,
    best: TrialRecord,
    comparison: dict[str, Any],
    names: dict[str, str],
    seeds: tuple[int, ...],
) -> SweepResult:
    sweep, records = study.sweep, study.records()
    scored = cohort.test if cohort.test.any() else cohort.valid
    locked = {"images": int(scored.sum()), "patients": int(cohort.patients[scored].nunique())}
    arms = final_recipe(recipe, best)[0].arm_recipes()
    on_valid = not cohort.test.any()
    looked = {role: keys_that_look(arms[name].training.model_dump()) if on_valid else [] for role, name in names.items()}
    final = confirmed_arms(comparison, names, sweep.metric)
    difference = metric_difference(comparison, names.get("winner"), sweep.metric)
    trials = count_trials(study)
    return SweepResult(
        run_dir=str(study.folder),
        recipe=recipe.name.removesuffix(SUFFIX),
        arm=names["plain"],
        metric=sweep.metric,
        sampler=sweep.sampler,
        pruner=sweep.pruner,
        seed=sweep.seed,
        folds=sweep.folds,
        training_images=training_images,
        locked=locked,
        trials=trials,
        best=best,
        plain=next((record for record in records if record.plain and record.state in ("complete", "pruned")), None),
        importance=study.importance(),
        final_run=comparison["run_dir"],
        seeds=seeds,
        final=final,
        difference=difference,
        sentences=conclusions(comparison, final, difference, sweep.metric, trials, best, locked, seeds, looked),
        minutes=sum(record.seconds or 0.0 for record in records) / 60,
    )


def _check_same_images(folder: Path, recipe: Recipe, cohort: Cohort) -> None:
    """Write `split.csv` and `inputs.json` of a new sweep; compare with those of one that is resumed."""
    check_files_unchanged(folder, given_files(recipe, []))
    file = folder / "split.csv"
    if not file.is_file():
        write_split(folder, cohort, (None,) * len(cohort))
        return
    changes = describe_changes(read_split(file), cohort_table(cohort))
    if changes:
        raise UsageError(f"{folder}: the cohort is not the one that the sweep began with: {changes}; {ADVICE}")


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """A context in which no other process makes this sweep; the lock of one that died is free."""
    try:
        with filelock.FileLock(folder / ".lock", timeout=LOCK_SECONDS):
            yield
    except filelock.Timeout:
        raise UsageError(f"{folder}: another process is making this sweep; wait for it, or stop it first") from None


def _nothing_found(study: SweepStudy, minutes: float | None) -> str:
    counts = count_trials(study)
    if minutes is not None and not counts["failed"]:
        return f"no trial was finished in {minutes:g} minutes; give more --minutes, or fewer epochs or folds; --resume continues"
    reasons = [record.reason for record in study.records() if record.reason]
    return f"no trial was finished: {counts['pruned']} pruned, {counts['failed']} failed ({reasons[0] if reasons else ''})"

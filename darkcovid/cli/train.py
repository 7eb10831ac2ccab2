"""Commands that train: run, aggregate."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from darkcovid.cli.helpers import cache_folder, load_recipe_from_options, parallel_commands, print_result, run_heavy
from darkcovid.cli.options import (
    Arms,
    CacheDir,
    DataRoot,
    FitEngine,
    Json,
    ManifestOption,
    PhantomOption,
    RecipePath,
    RunsDir,
    Sets,
    Tracker,
    TrackingUri,
)
from darkcovid.cli.results import show_comparison
from darkcovid.core.credentials import without_credentials
from darkcovid.core.errors import Interrupted, UsageError
from darkcovid.core.log import logger
from darkcovid.core.words import counted

if TYPE_CHECKING:
    from darkcovid.experiment.dry_run import RunPlan
    from darkcovid.recipe import Recipe


def run(
    recipe: RecipePath,
    sets: Sets = [],  # noqa: B006 (typer reads the default)
    manifest: ManifestOption = None,
    phantom: PhantomOption = False,
    data_root: DataRoot = None,
    arm: Arms = [],  # noqa: B006
    without_suspects: Annotated[
        bool,
        typer.Option(
            "--without-suspects", help="One more arm: the first of those run, trained without images whose labels it doubts."
        ),
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Resume this recipe's newest unfinished run.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be run and its cost; train nothing.")] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Write where the time went: profile.txt and trace.json.gz of every arm.")
    ] = False,
    jobs: Annotated[int | None, typer.Option("--jobs", min=1, help="Number of fits (arms, folds, seeds) at a time.")] = None,
    engine: FitEngine = "local",
    tracker: Annotated[
        Tracker | None,
        typer.Option("--tracker", help="Also write the run there, live; by default the recipe's `tracker`."),
    ] = None,
    tracking_uri: TrackingUri = None,
    run_dir: Annotated[
        Path | None,
        typer.Option("--run-dir", metavar="DIR", help="A run folder shared with other calls; see `aggregate`."),
    ] = None,
    fold: Annotated[int | None, typer.Option("--fold", min=1, help="With --run-dir: only this fold.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="With --run-dir: only this seed.")] = None,
    json_: Json = False,
    runs_dir: RunsDir = Path("runs"),
    cache_dir: CacheDir = None,
) -> None:
    """Train and score every arm of a recipe, and print them side by side."""
    _check_exclusive_options((jobs or 1) > 1 or engine != "local", run_dir, fold, seed, resume, profile)
    if tracker is not None and run_dir is not None:
        raise UsageError("--tracker: a part of a run is not tracked; after `darkcovid aggregate`: darkcovid track RUN --to NAME")
    resolved = load_recipe_from_options(recipe, sets, manifest, phantom, data_root)
    alone = run_dir is None and (jobs or 1) == 1 and engine == "local"  # all fits are made in this process
    if without_suspects:
        resolved, further = run_heavy(partial(_without_suspects, resolved, arm), make_room=alone)
        arm = [*arm, further] if arm else []
    cache, tracked_by = cache_folder(cache_dir), tracker or resolved.tracker
    if os.environ.get("RANK", "0") == "0":
        logger.info(_in_short(resolved, arm))  # at once: torch and fastai take seconds to load
    if dry_run:
        plan = run_heavy(partial(_plan, resolved, cache, arm), make_room=alone)
        print_result(plan, json_, lambda: _show_plan(plan))
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if run_dir is None:
        with told_how_to_resume(resume_command()):
            comparison = run_heavy(
                partial(_run_all, resolved, runs_dir, cache, arm, resume, profile, jobs, engine, tracked_by, tracking_uri),
                make_room=alone,
            )
        if comparison:  # of several processes only the main one has it
            print_result(comparison, json_, lambda: show_comparison(comparison))
        return
    with told_how_to_resume("the same command"):
        fits = run_heavy(partial(_run_part, resolved, run_dir, runs_dir, cache, arm, fold, seed, profile))
    finished = f"{', '.join(fits)}: finished; after the last: darkcovid aggregate {run_dir}"
    print_result({"run_dir": str(run_dir), "fits": fits}, json_, lambda: typer.echo(finished))


def _in_short(recipe: "Recipe", arms: list[str]) -> str:
    """A recipe's name, the arms to run, and how many fits each has."""
    chosen = {name: arm for name, arm in recipe.arm_recipes().items() if not arms or name in arms}
    fits = counted(len(next(iter(chosen.values()), recipe).fits()), "fit")
    return f"recipe {recipe.name}: {counted(len(chosen), 'arm')} ({', '.join(chosen)}), {fits} each"


def _without_suspects(recipe: "Recipe", arms: list[str]) -> tuple["Recipe", str]:
    from darkcovid.experiment.label_errors import add_arm_without_suspects

    return add_arm_without_suspects(recipe, arms)


def _plan(recipe: "Recipe", cache: Path, arms: list[str]) -> "RunPlan":
    from darkcovid.experiment.dry_run import dry_run

    return dry_run(recipe, cache, arms)


def _run_all(
    recipe: "Recipe",
    runs_dir: Path,
    cache: Path,
    arms: list[str],
    resume: bool,
    profile: bool,
    jobs: int | None,
    engine: str,
    tracker: str | None,
    tracking_uri: str | None,
) -> dict[str, Any]:
    """The whole run; of several processes that fit one network together, one speaks."""
    from darkcovid.core.distributed import join_process_group
    from darkcovid.experiment.runner import RunPaths, run
    from darkcovid.report.progress import Progress, null_progress
    from darkcovid.scale.parallel import run_in_parallel

    paths, live = RunPaths(runs_dir, cache), None
    if tracker is not None and join_process_group().is_main:
        from darkcovid.experiment.trackers.tracker import LiveTracking, make_tracker

        live = LiveTracking(make_tracker(tracker, tracking_uri), tracker)
    commands = parallel_commands(engine, jobs)
    if commands is not None:
        comparison = run_in_parallel(recipe, paths, Progress(), arms, commands, resume)
        if live is not None:  # its fits are other processes, so afterwards
            live.write_finished(Path(comparison["run_dir"]))
        return comparison
    progress = Progress() if join_process_group().is_main else null_progress()
    if live is None:
        return run(recipe, paths, progress, arms, resume, profile)
    return run(recipe, paths, progress, arms, resume, profile, live.watch)


def _run_part(
    recipe: "Recipe",
    run_dir: Path,
    runs_dir: Path,
    cache: Path,
    arms: list[str],
    fold: int | None,
    seed: int | None,
    profile: bool,
) -> list[str]:
    """Some fits of a run whose folder other calls share; their names."""
    from darkcovid.experiment.runner import RunPaths, run_subset
    from darkcovid.recipe import FitSelector
    from darkcovid.report.progress import Progress

    return run_subset(recipe, run_dir, RunPaths(runs_dir, cache), Progress(), arms, FitSelector(fold, seed), profile)


@contextmanager
def told_how_to_resume(command: str) -> Iterator[None]:
    """A context in which an interruption prints the command that continues.

    Args:
        command: To print.

    Yields:
        Nothing.

    Raises:
        typer.Exit: With 130, when it was interrupted.
    """
    try:
        yield
    except (Interrupted, KeyboardInterrupt):
        typer.echo(f"interrupted; continue with: {command}", err=True)
        raise typer.Exit(130) from None


def _check_exclusive_options(
    parallel: bool, run_dir: Path | None, fold: int | None, seed: int | None, resume: bool, profile: bool
) -> None:
    if run_dir is None and (fold is not None or seed is not None):
        raise UsageError("--fold and --seed fit a part of a run, in a folder that other calls share; name it with --run-dir DIR")
    if run_dir is not None and (parallel or resume):
        raise UsageError("--run-dir fits a part of a run and resumes by itself; leave --jobs, --engine and --resume out")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and (parallel or run_dir is not None):
        raise UsageError("several processes fit one network together here; leave --jobs, --engine and --run-dir out")
    if parallel and profile:
        raise UsageError("--profile needs the machine for itself; leave --jobs and --engine out")


def aggregate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder that `run --run-dir` filled.")],
    json_: Json = False,
) -> None:
    """Finish a run whose fits were done by several calls: pool folds, compare the arms, write the report."""

    def work() -> dict[str, Any]:
        from darkcovid.experiment.run_dir import RunDir
        from darkcovid.experiment.runner import aggregate_run as finish
        from darkcovid.recipe import load_recipe
        from darkcovid.report.progress import Progress

        if not (run / "recipe.yaml").is_file():
            raise UsageError(f"{run}: not a run folder; name one that `darkcovid run --run-dir` made")
        directory, recipe = RunDir(run), load_recipe(run / "recipe.yaml")
        comparison = finish(directory, recipe, list(recipe.arm_recipes()), Progress())
        directory.set_state("done")
        return comparison

    comparison = run_heavy(work)
    print_result(comparison, json_, lambda: show_comparison(comparison))


def _show_plan(plan: "RunPlan") -> None:
    from darkcovid.report.duration import duration

    names = {"train": "training", "valid": "validation", "test": "test"}
    for side, counts in plan.images.items():
        classes = ", ".join(f"{count} {name}" for name, count in counts.items())
        images, patients = counted(sum(counts.values()), "image"), counted(plan.patients[side], "patient")
        typer.echo(f"{names[side]}: {images} of {patients} ({classes})")
    if plan.bad_images:
        unusable = counted(plan.bad_images, "image")
        typer.echo(f"excluded: {unusable} that cannot be used; `darkcovid data verify MANIFEST` names them")
    if plan.unknown_patients:
        typer.echo(f"{plan.unknown_patients} images have no patient id; each counts as a patient")
    for name, arm in plan.arms.items():
        size, memory = f"{arm.image_size[0]}x{arm.image_size[1]}", arm.peak_host_bytes / 1e9
        time = f"about {duration(arm.train_seconds)} of training for {counted(arm.epochs, 'epoch')}"
        typer.echo(f"{name}: {size} px, {time}, {memory:.1f} GB of memory")
    for name in plan.absent_weights:
        typer.echo(
            f"the ImageNet weights of {name} are not on this machine; a run fetches them, or `darkcovid models fetch {name}`"
        )
    typer.echo("the recipe with every key written out: --json")


def resume_command() -> str:
    """This command line with `--resume`, without passwords in addresses."""
    import shlex

    arguments = [without_credentials(word) for word in sys.argv[1:] if word != "--resume"]
    return shlex.join(["darkcovid", *arguments, "--resume"])

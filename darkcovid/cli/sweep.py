"""Commands that search for a recipe's values: sweep, and the worker of `sweep --jobs`."""

import signal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from darkcovid.cli.helpers import cache_folder, load_recipe_from_options, parallel_commands, print_result, run_heavy
from darkcovid.cli.options import CacheDir, DataRoot, FitEngine, Json, ManifestOption, PhantomOption, RecipePath, RunsDir, Sets
from darkcovid.cli.train import resume_command, told_how_to_resume

if TYPE_CHECKING:
    from darkcovid.evaluation.sweep_result import SweepResult
    from darkcovid.recipe import Recipe

Minutes = Annotated[float | None, typer.Option("--minutes", min=0.01, help="Time budget, the winner's final fits included.")]


def sweep(
    recipe: RecipePath,
    sets: Sets = [],  # noqa: B006 (typer reads the default)
    manifest: ManifestOption = None,
    phantom: PhantomOption = False,
    data_root: DataRoot = None,
    minutes: Minutes = None,
    jobs: Annotated[int | None, typer.Option("--jobs", min=1, help="Number of trials at a time.")] = None,
    engine: FitEngine = "local",
    resume: Annotated[bool, typer.Option("--resume", help="Resume this recipe's newest unfinished sweep.")] = False,
    json_: Json = False,
    runs_dir: RunsDir = Path("runs"),
    cache_dir: CacheDir = None,
) -> None:
    """Search the values in a recipe's `sweep:` on inner folds, then fit the winner again against the plain recipe."""
    resolved = load_recipe_from_options(recipe, sets, manifest, phantom, data_root)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with told_how_to_resume(resume_command()):
        result = run_heavy(
            partial(_sweep, resolved, runs_dir, cache_folder(cache_dir), resume, minutes, jobs, engine),
            make_room=(jobs or 1) == 1 and engine == "local",
        )
    print_result(result.as_dict(), json_, lambda: _show(result, f"arms.{result.arm}." if resolved.arms else ""))


def sweep_worker(
    folder: Annotated[Path, typer.Argument(metavar="SWEEP")],
    parent: Annotated[int, typer.Option("--parent")],
    minutes: Minutes = None,
    cache_dir: CacheDir = None,
) -> None:
    """Make trials of a sweep that another process began; `sweep --jobs` starts it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    def work() -> None:
        from darkcovid.experiment.sweep import check_optuna

        check_optuna()
        from darkcovid.experiment.sweep.deadline import Deadline
        from darkcovid.experiment.sweep.runner import continue_trials
        from darkcovid.report.progress import Progress

        continue_trials(folder, cache_folder(cache_dir), Progress(), Deadline(minutes), parent)

    run_heavy(work)


def _sweep(
    recipe: "Recipe", runs_dir: Path, cache: Path, resume: bool, minutes: float | None, jobs: int | None, engine: str
) -> "SweepResult":
    from darkcovid.experiment.sweep import check_optuna

    check_optuna()
    from darkcovid.experiment.runner import RunPaths
    from darkcovid.experiment.sweep.runner import run_sweep
    from darkcovid.report.progress import Progress
    from darkcovid.scale.parallel import run_in_parallel
    from darkcovid.scale.sweep_jobs import make_trials_in_parallel

    folders, progress, workers = RunPaths(runs_dir, cache), Progress(), parallel_commands(engine, jobs)
    if workers is None:
        return run_sweep(recipe, folders, progress, resume, minutes)

    def final_in_parallel(final: "Recipe", folders: RunPaths, progress: Progress, arms: list[str], again: bool):
        return run_in_parallel(final, folders, progress, arms, workers, again)

    make = partial(make_trials_in_parallel, workers=workers)
    return run_sweep(recipe, folders, progress, resume, minutes, make, final_in_parallel)


def _show(result: "SweepResult", prefix: str) -> None:
    for sentence in result.sentences:
        typer.echo(sentence)
    typer.echo("the winner's values:" if "winner" in result.final else "the best values, the recipe's own:")
    for key, value in result.best.values.items():
        typer.echo(f"  --set {prefix}{key}={_as_yaml(value)}")
    typer.echo(f"final run: {result.final_run}")
    typer.echo(f"sweep folder: {result.run_dir}")


def _as_yaml(value: object) -> str:
    import yaml

    return yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("\n...\n").strip()

"""Commands that measure before a run: lr-find, bench."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from darkcovid.cli.helpers import cache_folder, load_recipe_from_options, print_result, run_heavy
from darkcovid.cli.options import CacheDir, DataRoot, Json, ManifestOption, PhantomOption, RecipePath, Sets, output_option
from darkcovid.core.errors import UsageError
from darkcovid.core.words import counted

if TYPE_CHECKING:
    from darkcovid.evaluation.benchmark_result import BenchmarkResult
    from darkcovid.evaluation.time_to_accuracy import TimeToAccuracy
    from darkcovid.recipe import Recipe

REPEATS = 3


def lr_find(
    recipe: RecipePath,
    sets: Sets = [],  # noqa: B006
    manifest: ManifestOption = None,
    phantom: PhantomOption = False,
    data_root: DataRoot = None,
    arm: Annotated[str | None, typer.Option("--arm", metavar="NAME", help="Which arm; the first by default.")] = None,
    start_lr: Annotated[float, typer.Option(min=1e-12)] = 1e-7,
    end_lr: Annotated[float, typer.Option(min=1e-12)] = 10.0,
    steps: Annotated[int, typer.Option(min=40, help="Batches to try.")] = 100,
    output: Annotated[Path, output_option("PNG", "The plot of the curve.")] = Path("lr_find.png"),
    apply: Annotated[
        Literal["valley", "steep", "minimum", "slide"] | None, typer.Option(help="Print the --set that uses this suggestion.")
    ] = None,
    json_: Json = False,
    cache_dir: CacheDir = None,
) -> None:
    """Find a learning rate by fastai's range test: a table, a plot, and suggestions."""
    resolved = load_recipe_from_options(recipe, sets, manifest, phantom, data_root)

    def work() -> dict[str, Any]:
        from darkcovid.experiment.lr_find import find_learning_rate

        return find_learning_rate(resolved, arm, cache_folder(cache_dir), start_lr, end_lr, steps, output)

    result = run_heavy(work)

    def show() -> None:
        if apply:
            typer.echo(f"--set training.lr={result['suggestions'][apply]:.2e}")
            return
        for name, rate in result["suggestions"].items():
            typer.echo(f"{name:<8} {rate:.2e}")
        typer.echo(f"plot: {result['plot']}")

    print_result(result, json_, show)


def bench(
    recipe: Annotated[Path, typer.Argument(metavar="[RECIPE]", help="A recipe with a whole and a crop arm.")] = Path(
        "recipes/segmented.yaml"
    ),
    sets: Sets = [],  # noqa: B006
    manifest: ManifestOption = None,
    phantom: PhantomOption = False,
    data_root: DataRoot = None,
    arch: Annotated[str | None, typer.Option(help="Another network for all, such as resnet18 or timm/<name>.")] = None,
    repeats: Annotated[
        int | None,
        typer.Option(min=1, show_default=str(REPEATS), help="Counted epochs of each contender; not with --to-accuracy."),
    ] = None,
    to_accuracy: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Train each until its mean validation accuracy of three epochs reaches this."),
    ] = None,
    output: Annotated[Path, output_option("PNG", "The plot.")] = Path("bench.png"),
    json_: Json = False,
    cache_dir: CacheDir = None,
) -> None:
    """Time epochs of stock fastai, whole images and crops in turn, and print the ratios; or seconds to an accuracy."""
    if to_accuracy is not None and repeats is not None:
        raise UsageError("--repeats: counts epochs; --to-accuracy trains each contender once, so leave one of the two out")
    resolved = load_recipe_from_options(recipe, sets, manifest, phantom, data_root)
    if arch is not None:
        network = [f"model.arch={arch}", "model.head=null", "model.grayscale=true"]
        everywhere = [*network, *(f"arms.{name}.{key}" for name in resolved.arms for key in network)]
        resolved = load_recipe_from_options(recipe, [*sets, *everywhere], manifest, phantom, data_root)

    if to_accuracy is not None:
        raced = run_heavy(lambda: _race(resolved, cache_folder(cache_dir), to_accuracy, output))
        print_result(raced.as_dict(), json_, lambda: _show_race(raced, output))
        return

    def work() -> "BenchmarkResult":
        from darkcovid.experiment.benchmark import bench as measure
        from darkcovid.report.plots import plot_bench

        result = measure(resolved, cache_folder(cache_dir), repeats or REPEATS)
        plot_bench(result, output)
        return result

    result = run_heavy(work)
    print_result(result.as_dict(), json_, lambda: _show_bench(result, output))


def _race(recipe: "Recipe", cache: Path, target: float, plot: Path) -> "TimeToAccuracy":
    from darkcovid.experiment.time_to_accuracy import time_to_accuracy
    from darkcovid.report.plots import plot_time_to_accuracy

    result = time_to_accuracy(recipe, cache, target)
    plot_time_to_accuracy(result, plot)
    return result


def _show_race(result: "TimeToAccuracy", plot: Path) -> None:
    _show_machine(result.machine)
    typer.echo(f"seconds of training and validation until the mean accuracy of three epochs is {result.target:g}:\n")
    typer.echo(f"{'':8}{'seconds':>9}{'epochs':>8}{'x stock':>9}{'s/epoch':>9}")
    for label, curve in result.contenders.items():
        reached, ratio = curve.reached(result.target), result.ratio(label)
        seconds = "never" if reached is None else f"{reached:.1f}"
        times = "" if ratio is None else f"{ratio:.1f}"
        done = len(curve.seconds)
        typer.echo(f"{label:8}{seconds:>9}{f'{done}/{curve.epochs}':>8}{times:>9}{curve.seconds[-1] / done:9.2f}")
    typer.echo(f"plot: {plot}")


def _show_machine(machine: dict[str, Any]) -> None:
    features = ", ".join(machine["features"]) or "no vector instructions known"
    threads = counted(machine["threads"], "thread")
    typer.echo(f"{machine['processor']} ({features}), {threads}, {machine['device']}, {machine['precision']}\n")


def _show_bench(result: "BenchmarkResult", plot: Path) -> None:
    _show_machine(result.machine)
    typer.echo(f"{'':8}{'s/epoch':>9}{'images/s':>10}{'x stock':>9}{'peak GB':>9}{'GPU GB':>8}")
    for label, timing in result.contenders.items():
        speed = f"{timing.epoch_seconds:9.2f}{timing.images_per_second:10.0f}{result.ratio(label):9.2f}"
        typer.echo(f"{label:8}{speed}{timing.peak_host_bytes / 1e9:9.2f}{timing.peak_device_bytes / 1e9:8.2f}")
    typer.echo("\nseconds of one more epoch, by what they were spent on:")
    typer.echo(" " * 8 + "".join(f"{stage:>12}" for stage in result.stock.stages))
    for label, timing in result.contenders.items():
        typer.echo(f"{label:8}" + "".join(f"{seconds:12.2f}" for seconds in timing.stages.values()))
    typer.echo(f"plot: {plot}")

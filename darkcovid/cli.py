"""The `darkcovid` command. Nothing heavy is imported until a command needs it, so `--help` answers at once."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from darkcovid import __version__
from darkcovid.errors import DarkCovidError, DataError, Interrupted, RequestError

app = typer.Typer(
    name="darkcovid",
    help="Rapid, honest experiments on covid chest radiographs. Research software, never a diagnosis.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Look at the images that a manifest lists.", no_args_is_help=True)
lungs_app = typer.Typer(help="Judge a lung segmenter.", no_args_is_help=True)
models_app = typer.Typer(help="List the networks, or show one.", invoke_without_command=True)
app.add_typer(data_app, name="data")
app.add_typer(lungs_app, name="lungs")
app.add_typer(models_app, name="models")

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe file, such as recipes/segmented.yaml.")]
Sets = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Replace a key, e.g. training.epochs=5.")]
ManifestOption = Annotated[str | None, typer.Option("--manifest", metavar="PATH", help="Use this manifest of images.")]
DataOption = Annotated[str | None, typer.Option("--data", metavar="phantom", help="`phantom`: the synthetic cohort.")]
DataRoot = Annotated[str | None, typer.Option("--data-root", metavar="DIR", help="Where the manifest's files are.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else there.")]
CacheDir = Annotated[Path | None, typer.Option("--cache-dir", metavar="DIR", help="Decoded pixels and lung masks.")]
RunsDir = Annotated[Path, typer.Option("--runs-dir", metavar="DIR", help="Where run folders are made.")]
Arms = Annotated[list[str], typer.Option("--arm", metavar="NAME", help="Only this arm (may be repeated).")]
ManifestPath = Annotated[Path, typer.Argument(metavar="MANIFEST", help="A manifest CSV.")]
Weights = Annotated[str | None, typer.Option("--weights", metavar="FILE", help="Lung U-Net; the shipped one by default.")]
Margin = Annotated[float, typer.Option("--margin", min=0, max=1, help="Widen the crop's box by this share of its sides.")]
Device = Annotated[str, typer.Option("--device", metavar="auto|cpu|cuda|mps", help="Where to compute.")]
Dataset = Annotated[str | None, typer.Option("--dataset", metavar="NAME", help="Only the rows of this dataset.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"darkcovid {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """What every command takes."""


@app.command()
def run(
    recipe: RecipePath,
    sets: Sets = [],  # noqa: B006 (typer reads the default)
    manifest: ManifestOption = None,
    data: DataOption = None,
    data_root: DataRoot = None,
    arm: Arms = [],  # noqa: B006
    resume: Annotated[bool, typer.Option("--resume", help="Go on with this recipe's newest unfinished run.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be run and its cost; train nothing.")] = False,
    json_: Json = False,
    runs_dir: RunsDir = Path("runs"),
    cache_dir: CacheDir = None,
) -> None:
    """Train and score every arm of a recipe, and print them side by side."""
    resolved = _load(recipe, sets, manifest, data, data_root)
    cache = _cache(cache_dir)
    if dry_run:

        def plan_only() -> dict[str, Any]:
            from darkcovid.estimate import dry_run as estimate

            return estimate(resolved, cache, arm)

        plan = _with_fastai(plan_only)
        _emit(plan, json_, lambda: _show_plan(plan, resolved))
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    def work() -> dict[str, Any]:
        from darkcovid.report.progress import Progress
        from darkcovid.runner import Folders
        from darkcovid.runner import run as run_recipe

        return run_recipe(resolved, Folders(runs_dir, cache), Progress(), arm, resume)

    try:
        comparison = _with_fastai(work)
    except Interrupted:
        typer.echo(f"interrupted; go on with: {_resume_command()}", err=True)
        raise typer.Exit(130) from None
    _emit(comparison, json_, lambda: _show_comparison(comparison))


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders.")],
    force: Annotated[bool, typer.Option("--force", help="Compare even if the validation sides differ.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = False,
    json_: Json = False,
) -> None:
    """Show the arms of several runs side by side; refused when they were validated on different patients."""
    from darkcovid.evaluation.comparison import compare_runs

    comparison = compare_runs(runs, force)

    def show() -> None:
        if markdown:
            from darkcovid.report.tables import comparison_markdown

            typer.echo(comparison_markdown(comparison))
        else:
            _show_comparison(comparison)

    _emit(comparison, json_, show)


@app.command("lr-find")
def lr_find(
    recipe: RecipePath,
    sets: Sets = [],  # noqa: B006
    manifest: ManifestOption = None,
    data: DataOption = None,
    data_root: DataRoot = None,
    arm: Annotated[str | None, typer.Option("--arm", metavar="NAME", help="Which arm; the first by default.")] = None,
    start_lr: Annotated[float, typer.Option(min=1e-12)] = 1e-7,
    end_lr: Annotated[float, typer.Option(min=1e-12)] = 10.0,
    steps: Annotated[int, typer.Option(min=40, help="Batches to try.")] = 100,
    plot: Annotated[Path, typer.Option(metavar="PNG", help="Where to draw the curve.")] = Path("lr_find.png"),
    apply: Annotated[str | None, typer.Option(metavar="NAME", help="Print the --set that uses this suggestion.")] = None,
    json_: Json = False,
    cache_dir: CacheDir = None,
) -> None:
    """Find a learning rate by fastai's range test: a table, a plot, and suggestions."""
    resolved = _load(recipe, sets, manifest, data, data_root)

    def work() -> dict[str, Any]:
        from darkcovid.lr_find import find_learning_rate

        return find_learning_rate(resolved, arm, _cache(cache_dir), start_lr, end_lr, steps, plot)

    _check_suggestion(apply)
    found = _with_fastai(work)

    def show() -> None:
        if apply:
            typer.echo(f"--set training.lr={found['suggestions'][apply]:.2e}")
            return
        for name, rate in found["suggestions"].items():
            typer.echo(f"{name:<8} {rate:.2e}")
        typer.echo(f"plot: {found['plot']}")

    _emit(found, json_, show)


@app.command()
def bench(
    recipe: Annotated[Path, typer.Argument(metavar="[RECIPE]", help="A recipe with a whole and a crop arm.")] = Path(
        "recipes/segmented.yaml"
    ),
    sets: Sets = [],  # noqa: B006
    manifest: ManifestOption = None,
    data: DataOption = None,
    data_root: DataRoot = None,
    repeats: Annotated[int, typer.Option(min=1, help="Counted epochs of each contender.")] = 3,
    json_: Json = False,
    cache_dir: CacheDir = None,
) -> None:
    """Time epochs of stock fastai, whole images and crops in turn, and print the ratios."""
    resolved = _load(recipe, sets, manifest, data, data_root)

    def work() -> dict[str, Any]:
        from darkcovid.bench import bench as measure

        return measure(resolved, _cache(cache_dir), repeats, lambda text: typer.echo(text, err=True))

    result = _with_fastai(work)

    def show() -> None:
        typer.echo(f"{'':8}{'s/epoch':>10}{'images/s':>10}{'peak GB':>10}{'x stock':>10}")
        for label in ("stock", "whole", "crop"):
            row, ratio = result[label], result.get(f"ratio_{label}", 1.0)
            memory = row["peak_host_bytes"] / 1e9
            typer.echo(f"{label:8}{row['epoch_seconds']:10.2f}{row['images_per_second']:10.0f}{memory:10.2f}{ratio:10.2f}")

    _emit(result, json_, show)


@app.command()
def segment(
    target: Annotated[Path, typer.Argument(metavar="IMAGE|FOLDER|MANIFEST", help="A PNG or JPEG, a folder, or a CSV.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the results go.")] = Path("lungs"),
    data_root: DataRoot = None,
    weights: Weights = None,
    margin: Margin = 0.05,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Find lungs: masks, crops, overlays and a table with each box, the lung area, and whether it can be trusted."""

    def work() -> list[Any]:
        from darkcovid.compute import pick_compute
        from darkcovid.lungs.unet import load_segmenter
        from darkcovid.report.progress import counting
        from darkcovid.segmenting import find_images, segment_images

        images = find_images(target, data_root)
        segmenter, compute = load_segmenter(weights), pick_compute(device)
        with counting("segmenting", len(images)) as show:
            return segment_images(images, segmenter, compute, margin, out, show)

    rows = _with_fastai(work)
    doubtful = [row for row in rows if not row.trusted]

    def show_doubtful() -> None:
        typer.echo(f"{len(rows)} images, {len(rows) - len(doubtful)} with lungs that can be trusted")
        for row in doubtful:
            typer.echo(f"not trusted: {row.image}: {row.reason}")
        typer.echo(f"masks, crops, overlays and lungs.csv are in {out}")

    _emit([_plain(row) for row in rows], json_, show_doubtful)
    if all(row.width == 0 for row in rows):
        raise DataError(f"{target}: no image could be read; the first is {rows[0].image} ({rows[0].reason})")


@lungs_app.command()
def evaluate(
    manifest: Annotated[str, typer.Option("--manifest", metavar="PATH", help="A manifest whose rows have lung masks.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the results go.")] = Path("lungs-evaluation"),
    data_root: DataRoot = None,
    dataset: Dataset = None,
    weights: Weights = None,
    margin: Margin = 0.05,
    device: Device = "auto",
    json_: Json = False,
    cache_dir: CacheDir = None,
) -> None:
    """Score a lung segmenter, and the crops it makes, against lung masks that people drew (`phantom`: exact ones)."""

    def work() -> dict[str, Any]:
        from darkcovid.compute import pick_compute
        from darkcovid.lung_evaluation import evaluate_lungs
        from darkcovid.lungs.unet import load_segmenter
        from darkcovid.recipe import Data

        data = Data(manifest=manifest, root=data_root, dataset=dataset)
        return evaluate_lungs(data, load_segmenter(weights), pick_compute(device), margin, _cache(cache_dir), out)

    from darkcovid.report.data_tables import lung_lines

    summary = _with_fastai(work)
    _emit(summary, json_, lambda: typer.echo("\n".join([*lung_lines(summary), f"every image and the worst are in {out}"])))


@data_app.command()
def describe(manifest: ManifestPath, data_root: DataRoot = None, dataset: Dataset = None, json_: Json = False) -> None:
    """Count a manifest's images and patients by class, and what is known about them."""
    from darkcovid.data.describe import describe as count
    from darkcovid.report.data_tables import description_lines

    counts = count(_manifest(manifest, data_root, dataset))
    _emit(counts, json_, lambda: typer.echo("\n".join(description_lines(counts))))


@data_app.command()
def verify(manifest: ManifestPath, data_root: DataRoot = None, dataset: Dataset = None, json_: Json = False) -> None:
    """Check every file of a manifest: present, unchanged, decodable, of the recorded size. Exit code 3 if one is not."""
    from dataclasses import asdict

    from darkcovid.data.verify import verify as check
    from darkcovid.report.data_tables import verification_lines

    found = check(_manifest(manifest, data_root, dataset))
    _emit(asdict(found), json_, lambda: typer.echo("\n".join(verification_lines(found))))
    if found.faults:
        raise typer.Exit(3)


@data_app.command()
def fetch(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST|lungs", help="A manifest CSV, or `lungs`: public outlines.")],
    to: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for the files; the user's cache by default.")] = None,
    data_root: DataRoot = None,
    dataset: Dataset = None,
    images: Annotated[
        Path, typer.Option("--images", metavar="MANIFEST", help="With `lungs`: the images that the outlines belong to.")
    ] = Path("data_manifest.csv"),
) -> None:
    """Download a manifest's missing images from the addresses it records, checking each one's checksum; or the public
    lung outlines (v7labs, CC BY 4.0), drawn as masks, with a manifest of the images that now have one."""
    if str(manifest) == "lungs":
        _fetch_lungs(_manifest(images, data_root, dataset), to)
        return
    from darkcovid.data.fetch import fetch as download

    failed = download(_manifest(manifest, data_root, dataset), to, lambda text: typer.echo(text, err=True))
    if failed:
        raise DarkCovidError(f"{len(failed)} files could not be fetched, the first is {failed[0][0]} ({failed[0][1]})")


def _fetch_lungs(images, to: Path | None) -> None:
    from darkcovid.data.lung_polygons import fetch_lungs
    from darkcovid.paths import user_cache_dir

    done = fetch_lungs(images, to or user_cache_dir() / "data")
    typer.echo(f"{done.masks} lung masks drawn, {done.unmatched} outlines of images that the manifest does not list")
    typer.echo(f"train on them with: darkcovid run recipes/lung_unet.yaml --manifest {done.manifest}")


@models_app.callback()
def list_models(context: typer.Context, json_: Json = False) -> None:
    if context.invoked_subcommand is None:

        def work() -> list[dict[str, Any]]:
            from darkcovid.model_summary import table

            return table()

        rows = _with_fastai(work)
        _emit(rows, json_, lambda: [typer.echo(f"{r['name']:16}{r['parameters']:>12,}  {r['source']}") for r in rows])


@models_app.command()
def show(
    name: str,
    classes: Annotated[int, typer.Option(min=2)] = 3,
    size: Annotated[int | None, typer.Option(min=32, help="Input side in pixels; the network's own by default.")] = None,
    head: str = "faithful",
    json_: Json = False,
) -> None:
    """A network's layers, output shapes and parameters."""

    def work() -> dict[str, Any]:
        from darkcovid.model_summary import summarise

        return summarise(name, classes, size, head)

    summary = _with_fastai(work)

    def show_layers() -> None:
        for layer in summary["layers"]:
            shape = "x".join(map(str, layer["output"]))
            typer.echo(f"{layer['name']:12}{layer['kind']:20}{shape:>16}{layer['parameters']:>12,}")
        typer.echo(f"{summary['parameters']:,} parameters, {summary['trainable_parameters']:,} trainable")

    _emit(summary, json_, show_layers)


def main() -> None:
    """Run the command; every failure is one line on stderr and the right exit code."""
    debug = "--debug" in sys.argv
    arguments = [word for word in sys.argv[1:] if word != "--debug"]
    try:
        sys.exit(app(arguments, standalone_mode=False, prog_name="darkcovid") or 0)
    except DarkCovidError as error:
        _fail(str(error), error.exit_code, debug)
    except (KeyboardInterrupt, typer.Abort):
        _fail("interrupted", 130, debug=False)
    except BrokenPipeError:
        os._exit(1)
    except Exception as error:  # noqa: BLE001 (the last line of defence: no traceback without --debug)
        if hasattr(error, "show") and hasattr(error, "exit_code"):
            error.show()
            sys.exit(error.exit_code)
        _fail(f"unexpected {type(error).__name__}: {' '.join(str(error).split())}; --debug shows where", 1, debug)


def _fail(message: str, code: int, debug: bool) -> None:
    if debug:
        import traceback

        traceback.print_exc()
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)


def _load(recipe: Path, sets: list[str], manifest: str | None, data: str | None, data_root: str | None):
    from darkcovid.recipe import PHANTOM, load_recipe

    if data is not None and data != PHANTOM:
        raise RequestError(f"--data {data}: only `phantom` can be named so; name a manifest of images with --manifest")
    if data is not None and manifest is not None:
        raise RequestError("--data phantom and --manifest exclude each other; give one of them")
    chosen = PHANTOM if data else manifest
    overrides = [*sets]
    if chosen is not None:
        overrides.append(f"data.manifest={json.dumps(chosen)}")
    if data:
        overrides.append("data.dataset=null")
    if data_root is not None:
        overrides.append(f"data.root={json.dumps(data_root)}")
    return load_recipe(recipe, overrides)


def _manifest(path: Path, data_root: str | None, dataset: str | None):
    from darkcovid.data.manifest import read_manifest

    manifest = read_manifest(path, data_root)
    return manifest if dataset is None else manifest.of_dataset(dataset, "--dataset")


def _cache(cache_dir: Path | None) -> Path:
    from darkcovid.paths import user_cache_dir

    return cache_dir or user_cache_dir()


def _with_fastai(work):
    """`work()`, with one clear line when the deep-learning libraries do not import, and without their warnings."""
    from darkcovid.quiet import hush

    hush()
    try:
        import fastai.data.core  # noqa: F401
    except ImportError as error:
        raise DarkCovidError(
            f"fastai does not import ({error}); install darkcovid into a fresh environment with `make venv`"
        ) from error
    return work()


def _check_suggestion(name: str | None) -> None:
    suggestions = ("valley", "steep", "minimum", "slide")
    if name is not None and name not in suggestions:
        raise RequestError(f"--apply {name}: no such suggestion; there are: {', '.join(suggestions)}")


def _emit(value: Any, as_json: bool, show) -> None:
    if as_json:
        typer.echo(json.dumps(value, indent=2, default=_plain))
    else:
        show()


def _plain(value: Any) -> Any:
    from dataclasses import asdict, is_dataclass

    return asdict(value) if is_dataclass(value) else str(value)


def _show_comparison(comparison: dict[str, Any]) -> None:
    from rich.console import Console

    from darkcovid.report.data_tables import lung_lines
    from darkcovid.report.tables import NOTICE, comparison_table

    console = Console(highlight=False)
    console.print(comparison_table(comparison))
    if "pooled" in comparison:
        console.print("\n".join(["", "all folds together:", *lung_lines(comparison["pooled"])]), markup=False)
    for reason in comparison.get("not_comparable", []):
        console.print(f"not comparable: {reason}", markup=False)
    console.print(f"\n{NOTICE}\nrun folder: {comparison['run_dir']}", markup=False, soft_wrap=True)


def _show_plan(plan: dict[str, Any], recipe) -> None:
    from darkcovid.report.progress import duration

    typer.echo(recipe.to_yaml())
    for side, counts in plan["images"].items():
        classes = ", ".join(f"{count} {name}" for name, count in counts.items())
        typer.echo(f"{side}: {sum(counts.values())} images of {plan['patients'][side]} patients ({classes})")
    for name, arm in plan["arms"].items():
        size, memory = f"{arm.image_size[0]}x{arm.image_size[1]}", arm.peak_host_bytes / 1e9
        typer.echo(f"{name}: {size} px, about {duration(arm.train_seconds)} for {arm.epochs} epochs, {memory:.1f} GB of memory")


def _resume_command() -> str:
    import shlex

    words = [word for word in sys.argv[1:] if word != "--resume"]
    return shlex.join(["darkcovid", *words, "--resume"])

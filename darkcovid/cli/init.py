"""`darkcovid init`: three questions, and a recipe that runs."""

import math
import shlex
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

import typer

from darkcovid.cli.helpers import cache_folder, print_result, run_heavy
from darkcovid.cli.import_data import dataset_of, import_with_defaults
from darkcovid.cli.options import CacheDir, Json, output_option
from darkcovid.core.errors import UsageError
from darkcovid.core.io import write_text
from darkcovid.core.log import logger

PHANTOM = "phantom"
MINUTES = 30.0


def init(
    images: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="A folder, an archive or a manifest, or `phantom`; asked for by default."),
    ] = None,
    classes: Annotated[
        str | None, typer.Option(metavar="A,B,...", help="The classes to tell apart; asked for by default.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(min=1, help="Minutes that a run may take; asked for by default.")] = None,
    output: Annotated[Path, output_option("YAML", "The recipe.")] = Path("recipe.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing recipe.")] = False,
    json_: Json = False,
    cache_dir: CacheDir = None,
) -> None:
    """Ask where the images are, which classes there are and how long a run may take, and write a recipe that does it."""
    if output.exists() and not force:
        raise UsageError(f"{output}: it exists already; --force overwrites it, --output names another file")
    source = images if images is not None else typer.prompt("Where are the images (folder, archive or manifest)?", err=True)
    manifest = PHANTOM if source == PHANTOM else str(_manifest_of(Path(source).expanduser(), cache_folder(cache_dir)))
    counts = run_heavy(lambda: _class_counts(manifest))
    chosen = _chosen_classes(classes, counts, manifest)
    if minutes is not None and not math.isfinite(minutes):
        raise UsageError(f"--minutes {minutes:g}: give a number of minutes")
    if len(str(output).splitlines()) > 1:
        raise UsageError(f"--output {str(output)!r}: a line break in a file's name; choose another")
    minutes = minutes or float(typer.prompt("How many minutes may a run take?", default=MINUTES, type=float, err=True))

    def work() -> Any:
        from darkcovid.experiment.new_recipe import new_recipe

        return new_recipe(manifest, chosen, minutes, output, cache_folder(cache_dir))

    recipe = run_heavy(work)
    write_text(output, recipe.text)
    result = {"recipe": str(output), "manifest": manifest, "classes": chosen, "epochs": recipe.epochs, "seconds": recipe.seconds}
    print_result(result, json_, lambda: _show(output, recipe, minutes))


def _manifest_of(source: Path, cache_dir: Path) -> Path:
    """The manifest that a user named, or that of the folder or archive, made now where there is none."""
    from darkcovid.data.manifest import is_manifest

    if is_manifest(source):
        return source
    folder = dataset_of(source)
    manifest = folder / "manifest.csv"
    if manifest.exists():
        logger.info(f"{manifest}: used as it is")
    else:
        run_heavy(lambda: import_with_defaults(folder, manifest, cache_dir))
    return manifest


def _class_counts(manifest: str) -> dict[str, int]:
    from darkcovid.data.describe import usable_classes
    from darkcovid.data.manifest import read_manifest
    from darkcovid.recipe import Data

    if manifest == PHANTOM:
        return dict.fromkeys(Data().classes, 0)
    counts = usable_classes(read_manifest(manifest).rows)
    if len(counts) < 2:
        there = ", ".join(counts) or "none"
        raise UsageError(f"{manifest}: a run needs two classes of two patients each; there is {there}")
    return counts


def _chosen_classes(classes: str | None, counts: dict[str, int], manifest: str) -> list[str]:
    if classes is None:
        for name, count in counts.items():
            logger.info(f"  {name}: {count} images" if count else f"  {name}")
        classes = typer.prompt("Which classes (separated by commas)?", default=",".join(counts), err=True)
    from darkcovid.recipe.errors import suggest_name

    chosen = _split_names(str(classes), counts)
    unknown = [name for name in chosen if name not in counts]
    if unknown:
        hint = suggest_name(unknown[0], counts)
        raise UsageError(f"--classes {unknown[0]}: {manifest} has no such class of two patients or more{hint}")
    return list(dict.fromkeys(chosen))


def _split_names(text: str, known: Collection[str]) -> list[str]:
    """The names in `a,b`; one of those that are known may have commas itself."""
    names: list[str] = []
    parts = [part.strip() for part in text.split(",")]
    while parts:
        taken = next((n for n in range(len(parts), 0, -1) if ",".join(parts[:n]) in known or ", ".join(parts[:n]) in known), 1)
        joined = [glue.join(parts[:taken]) for glue in (",", ", ")]
        names += [next((name for name in joined if name in known), joined[0])]
        parts = parts[taken:]
    return [name for name in names if name]


def _show(output: Path, recipe: Any, minutes: float) -> None:
    from darkcovid.report.duration import duration

    typer.echo(f"{output}: two arms of {recipe.epochs} epochs, about {duration(recipe.seconds)} of training here")
    if recipe.seconds > 60 * minutes:
        typer.echo(f"this is longer than {minutes:g} min, but fewer than {recipe.epochs} epochs teach a network little")
    typer.echo(f"next: darkcovid run {shlex.quote(str(output))}")

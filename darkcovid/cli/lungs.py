"""Commands on lungs alone: lungs segment, lungs evaluate."""

from pathlib import Path
from typing import Annotated, Any

import typer

from darkcovid.cli.helpers import cache_folder, print_result, run_heavy
from darkcovid.cli.options import CacheDir, DataRoot, Dataset, Device, Json, Margin, Weights, output_option
from darkcovid.core.errors import DataError
from darkcovid.core.log import logger

lungs_app = typer.Typer(help="Find lungs, or score a lung segmenter.", no_args_is_help=True)


@lungs_app.command()
def segment(
    target: Annotated[Path, typer.Argument(metavar="IMAGE|FOLDER|MANIFEST", help="A PNG, JPEG or DICOM, a folder, or a CSV.")],
    output: Annotated[Path, output_option("DIR", "Folder for the results.")] = Path("lungs"),
    data_root: DataRoot = None,
    weights: Weights = None,
    margin: Margin = 0.05,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Find lungs: masks, crops, overlays and a table with each box, the lung area, and whether the mask is accepted."""

    def work() -> list[Any]:
        from darkcovid.core.device import get_device
        from darkcovid.core.log import progress_bar
        from darkcovid.inference.image_files import find_images
        from darkcovid.inference.segment_files import segment_images
        from darkcovid.lungs.unet import load_segmenter

        images = find_images(target, data_root)
        segmenter, compute = load_segmenter(weights), get_device(device)
        with progress_bar("segmenting", len(images)) as show:
            return segment_images(images, segmenter, compute, margin, output, show)

    if (output / "lungs.csv").is_file():
        logger.warning(f"{output}: holds files of an earlier call, which stay; lungs.csv is written anew")
    rows = run_heavy(work)
    rejected = [row for row in rows if not row.trusted]

    def show() -> None:
        typer.echo(f"{len(rows)} images, {len(rows) - len(rejected)} with an accepted lung mask")
        for row in rejected:
            typer.echo(f"rejected: {row.image}: {row.reason}")
        typer.echo(f"masks, crops, overlays and lungs.csv are in {output}")

    if all(row.width == 0 for row in rows):
        raise DataError(f"{target}: no image could be read; the first is {rows[0].image} ({rows[0].reason})")
    print_result(rows, json_, show)


@lungs_app.command()
def evaluate(
    manifest: Annotated[str, typer.Option("--manifest", metavar="PATH", help="A manifest whose rows have lung masks.")],
    output: Annotated[Path, output_option("DIR", "Folder for the results.")] = Path("lungs-evaluation"),
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
        from darkcovid.core.device import get_device
        from darkcovid.inference.evaluate_lungs import evaluate_lungs
        from darkcovid.lungs.unet import load_segmenter
        from darkcovid.recipe import Data

        data = Data(manifest=manifest, root=data_root, dataset=dataset, max_bad=1.0)
        return evaluate_lungs(data, load_segmenter(weights), get_device(device), margin, cache_folder(cache_dir), output)

    from darkcovid.report.console import lung_lines

    summary = run_heavy(work)
    print_result(
        summary, json_, lambda: typer.echo("\n".join([*lung_lines(summary), f"every image and the worst are in {output}"]))
    )

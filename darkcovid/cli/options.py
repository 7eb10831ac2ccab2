"""The options that several commands share: their names, their help and their limits."""

from pathlib import Path
from typing import Annotated, Literal

import typer

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe file, or the name of a shipped one: segmented.")]
Sets = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Replace a key, e.g. training.epochs=5.")]
ManifestOption = Annotated[str | None, typer.Option("--manifest", metavar="PATH", help="Use this manifest of images.")]
PhantomOption = Annotated[bool, typer.Option("--phantom", help="Use the synthetic cohort instead of images.")]
DataRoot = Annotated[str | None, typer.Option("--data-root", metavar="DIR", help="Folder of the manifest's images.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else there.")]
CacheDir = Annotated[Path | None, typer.Option("--cache-dir", metavar="DIR", help="Folder of decoded pixels and lung masks.")]
RunsDir = Annotated[Path, typer.Option("--runs-dir", metavar="DIR", help="Folder in which run folders are made.")]
Arms = Annotated[list[str], typer.Option("--arm", metavar="NAME", help="Only this arm (may be repeated).")]
ManifestPath = Annotated[Path, typer.Argument(metavar="MANIFEST", help="A manifest CSV.")]
Weights = Annotated[str | None, typer.Option("--weights", metavar="FILE", help="Lung U-Net; the shipped one by default.")]
Margin = Annotated[float, typer.Option("--margin", min=0, max=1, help="Widen the crop's box by this share of its sides.")]
Device = Annotated[Literal["auto", "cpu", "cuda", "mps"], typer.Option("--device", help="Where to compute.")]
Dataset = Annotated[str | None, typer.Option("--dataset", metavar="NAME", help="Only the rows of this dataset.")]
EngineName = Annotated[Literal["local", "spark"], typer.Option("--engine", help="This process, or Spark.")]
FitEngine = Annotated[
    Literal["local", "ray"], typer.Option("--engine", help="Fits run on this machine, or as tasks of Ray (RAY_ADDRESS).")
]
Master = Annotated[str | None, typer.Option(metavar="URL", help="Spark's master; all cores of this machine by default.")]
Tracker = Literal["tensorboard", "mlflow", "wandb"]
TrackingUri = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri", metavar="URI", help="A server of MLflow or W&B, MLflow's database, or a folder for TensorBoard."
    ),
]
SparkConf = Annotated[list[str], typer.Option("--spark-conf", metavar="KEY=VALUE", help="A setting of Spark.")]


def output_option(metavar: str, about: str):
    """`--output`; its type and default stand at the parameter.

    Args:
        metavar: FILE or DIR.
        about: What is written there.

    Returns:
        The typer option.
    """
    return typer.Option("--output", "-o", metavar=metavar, help=about)

"""The options that several commands share: their names, their help and their limits."""

from pathlib import Path
from typing import Annotated

import typer

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
EngineName = Annotated[str, typer.Option("--engine", metavar="local|spark", help="This process, or Spark.")]
Master = Annotated[str | None, typer.Option(metavar="URL", help="Spark's master; all cores of this machine by default.")]
SparkConf = Annotated[list[str], typer.Option("--spark-conf", metavar="KEY=VALUE", help="A setting of Spark.")]

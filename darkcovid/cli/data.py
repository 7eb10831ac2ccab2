"""Commands on images: data describe, verify, audit, prepare, preview, fetch, and those of `import_data.py`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from darkcovid.cli.helpers import cache_folder, load_recipe_from_options, manifest_rows, print_result, run_heavy, spark_session
from darkcovid.cli.import_data import import_images, merge
from darkcovid.cli.options import (
    CacheDir,
    DataRoot,
    Dataset,
    EngineName,
    Json,
    ManifestOption,
    ManifestPath,
    Master,
    PhantomOption,
    RecipePath,
    Sets,
    SparkConf,
    output_option,
)
from darkcovid.core.errors import DataError, UsageError
from darkcovid.core.log import logger

data_app = typer.Typer(help="Look at the images that a manifest lists.", no_args_is_help=True)
data_app.command("import")(import_images)
data_app.command()(merge)


@data_app.command()
def describe(
    manifest: ManifestPath,
    data_root: DataRoot = None,
    dataset: Dataset = None,
    croissant: Annotated[
        Path | None, typer.Option(metavar="JSON", help="Also write a description in Croissant 1.1, for dataset catalogs.")
    ] = None,
    json_: Json = False,
) -> None:
    """Count a manifest's images and patients by class, and what is known about them."""
    from darkcovid.data.describe import describe as count
    from darkcovid.report.console import description_lines

    rows = manifest_rows(manifest, data_root, dataset)
    counts = count(rows)
    if croissant is not None:
        from darkcovid.data.croissant import write_croissant

        for recommendation in write_croissant(rows, manifest, croissant):
            logger.info(f"{croissant}: {recommendation}")
    print_result(counts, json_, lambda: typer.echo("\n".join(description_lines(counts))))


@data_app.command()
def verify(manifest: ManifestPath, data_root: DataRoot = None, dataset: Dataset = None, json_: Json = False) -> None:
    """Check every file of a manifest: present, unchanged, decodable, of the recorded size. Exit code 3 if one is not."""
    from darkcovid.data.verify import verify as check
    from darkcovid.report.console import verification_lines

    verification = check(manifest_rows(manifest, data_root, dataset))
    print_result(verification, json_, lambda: typer.echo("\n".join(verification_lines(verification))))
    if verification.faults:
        raise typer.Exit(3)


@data_app.command()
def audit(
    target: Annotated[Path, typer.Argument(metavar="RECIPE|MANIFEST", help="A recipe, or a manifest (CSV or Parquet).")],
    sets: Sets = [],  # noqa: B006
    manifest: ManifestOption = None,
    phantom: PhantomOption = False,
    data_root: DataRoot = None,
    dataset: Dataset = None,
    engine: EngineName = "local",
    master: Master = None,
    spark_conf: SparkConf = [],  # noqa: B006
    fail_on_leaks: Annotated[bool, typer.Option("--fail-on-leaks", help="Exit with code 1 where there are leaks.")] = False,
    json_: Json = False,
    cache_dir: CacheDir = None,
) -> None:
    """Look for leaked patients, copied images, and what gives the class away without lungs. Of a manifest, no image is
    needed; of a recipe, its split and its images are looked at too."""
    from darkcovid.audits.findings import parse_data_audit
    from darkcovid.data.manifest import is_manifest
    from darkcovid.report.console import audit_lines

    if target.is_dir():
        raise UsageError(f"{target}: a folder; make a manifest of it first: darkcovid data import {target}")
    if is_manifest(target):
        findings = _audit_manifest(target, data_root, dataset, spark_session(engine, master, spark_conf))
    else:
        resolved = load_recipe_from_options(target, sets, manifest, phantom, data_root)

        def work():
            from darkcovid.audits.data_audit import audit_cohort
            from darkcovid.data.cohort import load_classification_cohort

            cache, session = cache_folder(cache_dir).absolute(), spark_session(engine, master, spark_conf)
            cohort = load_classification_cohort(resolved.data, cache)
            if session is None:
                return audit_cohort(cohort, cache)
            from darkcovid.scale.audit import audit_cohort_on_spark

            return audit_cohort_on_spark(session, cohort, cache)

        findings = run_heavy(work)
    print_result(findings, json_, lambda: typer.echo("\n".join(audit_lines(parse_data_audit(findings)))))
    if fail_on_leaks and findings["leaks"]:
        raise typer.Exit(1)


def _audit_manifest(path: Path, data_root: str | None, dataset: str | None, session) -> dict[str, Any]:
    from darkcovid.audits.data_audit import audit_facts, audit_rows

    if session is None:
        return audit_rows(manifest_rows(path, data_root, dataset).rows)
    from darkcovid.scale.metadata import SparkFacts

    return audit_facts(SparkFacts.of_manifest(session, path, dataset))


@data_app.command()
def prepare(
    recipe: RecipePath,
    sets: Sets = [],  # noqa: B006
    manifest: ManifestOption = None,
    phantom: PhantomOption = False,
    data_root: DataRoot = None,
    engine: EngineName = "local",
    master: Master = None,
    spark_conf: SparkConf = [],  # noqa: B006
    json_: Json = False,
    cache_dir: CacheDir = None,
) -> None:
    """Fill the cache with what a recipe's arms need: images verified, decoded, segmented, cropped and resized."""
    resolved = load_recipe_from_options(recipe, sets, manifest, phantom, data_root)

    def work() -> dict[str, Any]:
        from darkcovid.scale.prepare import LocalEngine, prepare_recipe
        from darkcovid.scale.spark import SparkEngine

        session = spark_session(engine, master, spark_conf)
        chosen = LocalEngine() if session is None else SparkEngine(session)
        return prepare_recipe(resolved, cache_folder(cache_dir).absolute(), chosen)

    prepared = run_heavy(work)

    def show() -> None:
        for stage, result in prepared["stages"].items():
            made = "" if result["blocks_made"] is None else f", {result['blocks_made']} of {result['blocks']} blocks made"
            typer.echo(f"{stage:12} {result['seconds']:8.1f} s{made}")
        typer.echo(
            f"{prepared['images']} images are ready, {prepared['bad_images']} excluded; {prepared['seconds']:.1f} s in all"
        )

    print_result(prepared, json_, show)


@data_app.command()
def preview(
    recipe: RecipePath,
    sets: Sets = [],  # noqa: B006
    manifest: ManifestOption = None,
    phantom: PhantomOption = False,
    data_root: DataRoot = None,
    arm: Annotated[str | None, typer.Option("--arm", metavar="NAME", help="Which arm; the first by default.")] = None,
    per_class: Annotated[int, typer.Option(min=1, max=20, help="Images of each class.")] = 2,
    output: Annotated[Path, output_option("PNG", "The contact sheet.")] = Path("preview.png"),
    json_: Json = False,
    cache_dir: CacheDir = None,
) -> None:
    """Write a contact sheet of a recipe's training images, plain and augmented."""
    resolved = load_recipe_from_options(recipe, sets, manifest, phantom, data_root)

    def work():
        from darkcovid.experiment.preview import preview as draw

        return draw(resolved, arm, cache_folder(cache_dir), per_class, output)

    drawn = run_heavy(work)
    print_result(drawn, json_, lambda: typer.echo(f"{len(drawn['images'])} training images of {drawn['arm']}: {drawn['plot']}"))


@data_app.command()
def fetch(
    source: Annotated[
        str,
        typer.Argument(metavar="MANIFEST|lungs|URL", help="A manifest CSV, `lungs`: public outlines, or a DICOMweb service."),
    ],
    output: Annotated[Path | None, output_option("DIR", "Folder for the files; the user's cache by default.")] = None,
    data_root: DataRoot = None,
    dataset: Dataset = None,
    images: Annotated[
        Path, typer.Option("--images", metavar="MANIFEST", help="With `lungs`: the images that the outlines belong to.")
    ] = Path("data_manifest.csv"),
    studies: Annotated[
        Path | None, typer.Option(metavar="CSV", help="With a URL: studies to fetch, columns `study` and, if known, `label`.")
    ] = None,
    json_: Json = False,
) -> None:
    """Download a manifest's missing images from the addresses it records, checking each one's checksum; or the public
    lung outlines (v7labs, CC BY 4.0), drawn as masks, with a manifest of the images that now have one; or the radiographs
    of DICOMweb studies (https://HOST/dicom-web/studies/UID), with a manifest."""
    if source.lower().startswith(("http://", "https://")):
        if data_root or dataset is not None:
            raise UsageError("--data-root and --dataset: are of a manifest, not of a DICOMweb service; leave them out")
        _fetch_studies(source, studies, output, json_)
        return
    if studies is not None:
        raise UsageError("--studies: names studies of a DICOMweb service; give its address")
    manifest = Path(source)
    if source == "lungs":
        _fetch_lungs(manifest_rows(images, data_root, dataset), output, json_)
        return
    from darkcovid.data.download.fetch import fetch as download
    from darkcovid.report.console import fetch_lines
    from darkcovid.report.download_progress import FetchProgress

    with FetchProgress().watching() as watcher:
        fetched = download(manifest_rows(manifest, data_root, dataset), output, watcher)
    hint = [] if output is None else [f"commands find them with --data-root {output}"]
    print_result([asdict(file) for file in fetched], json_, lambda: typer.echo("\n".join([*fetch_lines(fetched), *hint])))
    _raise_if_any_failed(fetched, "interrupted downloads are resumed")


def _raise_if_any_failed(fetched, then: str) -> None:
    failed = [file for file in fetched if file.fault]
    if failed:
        raise DataError(
            f"{len(failed)} of {len(fetched)} files could not be fetched, the first is {failed[0].path} ({failed[0].fault}); "
            f"repeat the command to try them again; {then}"
        )


def _fetch_studies(address: str, studies: Path | None, output: Path | None, json_: bool) -> None:
    if output is None:
        raise UsageError("--output DIR: name a folder for the radiographs, which have names and ids of patients in them")

    def work():
        from darkcovid.inference.dicomweb_cohort import fetch_cohort, read_studies
        from darkcovid.report.download_progress import FetchProgress

        labels = read_studies(studies) if studies is not None else {}
        with FetchProgress().watching() as watcher:
            return fetch_cohort(address, labels, output, watcher)

    fetched = run_heavy(work)
    from darkcovid.report.console import fetch_lines

    hint = [f"manifest: {output / 'manifest.csv'}"] if any(file.fault is None for file in fetched) else []
    print_result([asdict(file) for file in fetched], json_, lambda: typer.echo("\n".join([*fetch_lines(fetched), *hint])))
    _raise_if_any_failed(fetched, "images that came are not fetched again")


def _fetch_lungs(images, output: Path | None, json_: bool) -> None:
    from darkcovid.core.io import user_cache_dir
    from darkcovid.data.download.v7_lung_masks import fetch_lungs

    done = fetch_lungs(images, output or user_cache_dir() / "data")

    def show() -> None:
        typer.echo(f"{done.masks} lung masks drawn, {done.unmatched} outlines of images that the manifest does not list")
        typer.echo(f"train on them with: darkcovid run recipes/lung_unet.yaml --manifest {done.manifest}")

    print_result(asdict(done), json_, show)

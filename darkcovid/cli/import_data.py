"""Commands that make manifests: data import, data merge."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from darkcovid.cli.helpers import cache_folder, print_result, run_heavy
from darkcovid.cli.options import CacheDir, Json, output_option
from darkcovid.core.errors import UsageError
from darkcovid.core.log import logger

Form = Literal[
    "radiography-database",
    "chest-xray-pneumonia",
    "covid-qu-ex",
    "qata-cov19",
    "covidx",
    "cohen",
    "actualmed",
    "figure-1",
    "hannover",
    "nih-chestxray14",
    "rsna-pneumonia",
    "siim-covid19",
    "chexpert",
    "mimic-cxr-jpg",
    "padchest",
    "vindr-cxr",
    "bimcv-covid19",
    "covidgr",
    "medmnist",
    "class-folders",
]
Uncertain = Literal["exclude", "negative", "positive"]


def import_images(
    source: Annotated[
        Path,
        typer.Argument(metavar="FOLDER|ARCHIVE", help="A dataset, or folders named after classes; also as .zip or .tar."),
    ],
    output: Annotated[Path | None, output_option("CSV", "The manifest; FOLDER/manifest.csv by default.")] = None,
    form: Annotated[Form | None, typer.Option(help="The dataset's form; recognized by itself by default.")] = None,
    classes: Annotated[str, typer.Option(metavar="LABEL=CLASS,...", help="The class of each label of the dataset.")] = "",
    uncertain: Annotated[Uncertain, typer.Option(help="What uncertain findings of CheXpert and MIMIC-CXR count as.")] = "exclude",
    table: Annotated[Path | None, typer.Option(metavar="CSV", help="A CSV of your own that lists the images.")] = None,
    path_column: Annotated[str, typer.Option(help="With --table: the column of paths or file names.")] = "path",
    label_column: Annotated[str, typer.Option(help="With --table: the column of labels.")] = "label",
    patient_column: Annotated[str | None, typer.Option(help="With --table: the column of patients.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing manifest.")] = False,
    update: Annotated[
        bool, typer.Option("--update", help="Keep the rows of an existing manifest, edits included; add new images.")
    ] = False,
    quality: Annotated[
        bool, typer.Option("--quality", help="Look for images that are rotated, inverted, blurred, lateral or no chest film.")
    ] = False,
    merge_copies: Annotated[
        bool, typer.Option("--merge-copies", help="Look for near copies, and give them one patient id.")
    ] = False,
    raw_patient_ids: Annotated[
        bool, typer.Option("--raw-patient-ids", help="Keep patient ids of DICOM files as they are; hashed by default.")
    ] = False,
    json_: Json = False,
    cache_dir: CacheDir = None,
) -> None:
    """Write a manifest of a folder of images: labels, patients, splits and lung masks as far as the dataset records them."""
    from darkcovid.core.log import progress_bar
    from darkcovid.data.import_folder import import_folder, list_images
    from darkcovid.data.importers import choose_importer
    from darkcovid.data.importers.labels import parse_classes
    from darkcovid.data.importers.own_table import table_importer
    from darkcovid.data.manifest import read_manifest
    from darkcovid.report.console import import_lines, label_lines

    folder = dataset_of(source)
    manifest = output or folder / "manifest.csv"
    if manifest.exists() and not (force or update):
        raise UsageError(
            f"{manifest}: it exists already; --update keeps its rows and adds new images, --force overwrites it, --output names "
            "another file"
        )
    if table is not None:
        importer = table_importer(table, path_column, label_column, patient_column)
    else:
        importer = choose_importer(folder, form)
    rows = list_images(folder, importer, parse_classes(classes), uncertain)
    for line in label_lines(importer, rows):
        logger.info(line)
    summary = import_folder(
        folder,
        importer,
        rows,
        manifest,
        update=update,
        raw_patient_ids=raw_patient_ids,
        quality=_quality_measure() if quality else None,
        copies_cache=cache_folder(cache_dir).absolute() if merge_copies else None,
        progress=progress_bar,
    )
    rates = None
    if quality:
        from darkcovid.audits.image_quality import quality_rates

        rates = quality_rates(read_manifest(manifest).rows)
    result = asdict(summary) | {"quality": None if rates is None else [asdict(rate) for rate in rates]}
    print_result(result, json_, lambda: typer.echo("\n".join(import_lines(summary, rates))))


def dataset_of(source: Path) -> Path:
    """The folder to import.

    Args:
        source: A folder, or an archive, which is unpacked beside it.

    Returns:
        The dataset's own folder.

    Raises:
        UsageError: Neither, or the archive's folder exists.
        DataError: A damaged archive.
    """
    from darkcovid.core.log import progress_bar
    from darkcovid.data.importers import dataset_folder
    from darkcovid.data.unpack import archive_suffix, unpack

    if source.is_dir():
        return dataset_folder(source)
    suffix = archive_suffix(source)
    if suffix is None:
        kind = "neither a folder nor a .zip, .tar or .npz" if source.exists() else "no such folder or archive"
        raise UsageError(f"{source}: {kind}; name the folder of a downloaded dataset")
    folder = source.with_name(source.name[: -len(suffix)])
    with progress_bar("unpacking", 100) as show:
        unpack(source, folder, lambda done, total: show(100 * done // max(total, 1)))
    logger.info(f"unpacked into {folder}")
    return dataset_folder(folder)


def import_with_defaults(folder: Path, manifest: Path, cache_dir: Path) -> None:
    """Write a folder's manifest as `data import --merge-copies` does, so that a split of its images has no leaks.

    Args:
        folder: The dataset's.
        manifest: The manifest to write.
        cache_dir: Where reduced images are kept.
    """
    from darkcovid.core.log import progress_bar
    from darkcovid.data.import_folder import import_folder, list_images
    from darkcovid.data.importers import choose_importer
    from darkcovid.report.console import import_lines, label_lines

    importer = choose_importer(folder, None)
    rows = list_images(folder, importer, {})
    for line in label_lines(importer, rows):
        logger.info(line)
    summary = import_folder(folder, importer, rows, manifest, copies_cache=cache_dir, progress=progress_bar)
    for line in import_lines(summary)[:-1]:
        logger.info(line)


def _quality_measure():
    def load():
        from darkcovid.core.device import get_device
        from darkcovid.lungs.image_quality import LungQuality
        from darkcovid.lungs.unet import load_segmenter

        return LungQuality(load_segmenter(None), get_device("auto"))

    return run_heavy(load)


def merge(
    manifests: Annotated[list[Path], typer.Argument(metavar="MANIFEST...", help="Manifests (CSV or Parquet), two or more.")],
    output: Annotated[Path, output_option("CSV", "The merged manifest; all images must lie in or below its folder.")],
    merge_copies: Annotated[
        bool, typer.Option("--merge-copies", help="Look for near copies between datasets, and give them one patient id.")
    ] = False,
    shared_patient_ids: Annotated[
        bool, typer.Option("--shared-patient-ids", help="One id in two manifests is one patient; kept apart by default.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing manifest.")] = False,
    json_: Json = False,
    cache_dir: CacheDir = None,
) -> None:
    """Merge manifests of several datasets: patients are kept apart, and copies between datasets are counted."""
    from darkcovid.data.merge import merge_manifests
    from darkcovid.report.console import merge_lines

    if len(manifests) < 2:
        raise UsageError(f"{manifests[0]}: one manifest alone; name two or more")
    if output.exists() and not force:
        raise UsageError(f"{output}: it exists already; --force overwrites it, --output names another file")
    summary = merge_manifests(manifests, output, cache_folder(cache_dir), merge_copies, shared_patient_ids)
    print_result(asdict(summary), json_, lambda: typer.echo("\n".join(merge_lines(summary))))

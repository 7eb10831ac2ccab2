"""A manifest described in Croissant 1.1 (Akhtar et al. 2024, MLCommons), by which dataset catalogs and loaders read it.

The description is made and checked by MLCommons's own library, the extra `croissant`.
"""

import json
import logging
from pathlib import Path
from typing import Any

from darkcovid.core.errors import DarkCovidError, DataError, UsageError, one_line
from darkcovid.core.io import sha256_file, write_text
from darkcovid.data.csv_table import csv_form
from darkcovid.data.manifest import Manifest, check_columns, is_parquet

CONFORMS_TO = "http://mlcommons.org/croissant/1.1"
WHAT = {
    "path": "Path of the image, relative to the manifest",
    "label": "Class",
    "patient_id": "Patient; empty where unknown",
    "dataset": "Dataset that the image comes from",
    "etiology": "Cause of the pneumonia",
    "view": "View, such as PA or AP",
    "sex": "M or F",
    "age": "Age in years, or as DICOM writes it",
    "manufacturer": "Manufacturer of the device",
    "finding": "Label as the dataset writes it",
    "quality": "Faults of the image, good where there are none",
    "lung_mask": "Path of the lung mask",
    "width": "Width in pixels",
    "height": "Height in pixels",
    "bytes": "Size of the file in bytes",
    "sha256": "SHA-256 of the file",
    "url": "Address that the file was published at",
    "license": "License of the image",
    "source": "Publication or collection that the image comes from",
}
NUMBERS = ("width", "height", "bytes")


def write_croissant(manifest: Manifest, path: Path, output: Path) -> list[str]:
    """Write a manifest's description.

    Args:
        manifest: Its rows.
        path: Its file, a CSV in or below the folder of `output`.
        output: The JSON-LD file.

    Returns:
        What the library recommends to add, such as a license.

    Raises:
        DarkCovidError: The extra is not installed.
        UsageError: A Parquet manifest, or one that does not lie below the description.
        DataError: The library refuses the description.
    """
    try:
        import mlcroissant as mlc
    except ImportError:
        raise DarkCovidError("--croissant needs MLCommons's library; install `darkcovid[croissant]`") from None
    if is_parquet(path):
        raise UsageError(f"{path}: --croissant describes a CSV; write the manifest as one")
    if (form := csv_form(path, set(WHAT))).delimiter != "," or form.hint:
        raise UsageError(f"{path}: --croissant describes a CSV with commas and a header; write the manifest as one")
    folder = output.resolve().parent
    if not path.resolve().is_relative_to(folder):
        raise UsageError(f"--croissant {output}: paths are relative to it; write it beside the manifest, or above it")
    logging.getLogger("absl").setLevel(logging.ERROR)
    try:
        metadata = _metadata(mlc, manifest, path.resolve(), folder)
        text = json.dumps(metadata.to_json(), indent=2, ensure_ascii=False, default=str) + "\n"
    except (mlc.ValidationError, ValueError) as error:
        raise DataError(f"{path}: cannot be described in Croissant ({one_line(error)[:300]})") from None
    write_text(output, text)
    return sorted(metadata.ctx.issues.warnings)


def _metadata(mlc: Any, manifest: Manifest, path: Path, folder: Path) -> Any:
    rows = manifest.rows
    datasets = sorted(set(rows.dataset) - {""})
    licenses = sorted(set(rows.license) - {""})
    name = "-".join(datasets) or path.parent.name
    suffixes = sorted({f"**/*{Path(name).suffix}" for name in rows.path})
    table = mlc.FileObject(
        id="manifest.csv",
        name="manifest.csv",
        description="One row per image",
        content_url=path.relative_to(folder).as_posix(),
        encoding_formats=["text/csv"],
        sha256=sha256_file(path),
    )
    images = mlc.FileSet(
        id="images", name="images", description="The images", encoding_formats=_formats(suffixes), includes=suffixes
    )
    header = dict(zip(check_columns(path, written := csv_form(path, set(WHAT)).header), written, strict=True))
    columns = [column for column in WHAT if column in header and column in rows and (rows[column] != "").any()]
    fields = [_field(mlc, column, header[column]) for column in columns]
    return mlc.Metadata(
        ctx=mlc.Context(conforms_to=CONFORMS_TO),
        name=name,
        description=f"{len(rows)} chest radiographs of {', '.join(datasets) or name}. For research, never for diagnosis.",
        license=licenses or None,
        distribution=[table, images],
        record_sets=[mlc.RecordSet(id="radiographs", name="radiographs", fields=fields)],
    )


def _field(mlc: Any, column: str, written: str) -> Any:
    return mlc.Field(
        id=f"radiographs/{column}",
        name=column,
        description=WHAT[column],
        data_types=mlc.DataType.INTEGER if column in NUMBERS else mlc.DataType.TEXT,
        source=mlc.Source(file_object="manifest.csv", extract=mlc.Extract(column=written)),
    )


def _formats(patterns: list[str]) -> list[str]:
    kinds = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}
    return sorted({kinds.get(Path(pattern).suffix.lower(), "application/dicom") for pattern in patterns})

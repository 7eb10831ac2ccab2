"""Public lung outlines become masks: v7labs covid-19-xray-dataset (CC BY 4.0), polygons in Darwin JSON, one file an image."""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from darkcovid.core.errors import DarkCovidError, DataError, one_line
from darkcovid.core.io import save_png, write_text
from darkcovid.data.decode import load_grayscale
from darkcovid.data.download.fetch import exclusive_download
from darkcovid.data.download.http import DownloadError, RemoteFile, download, is_downloaded
from darkcovid.data.manifest import Manifest
from darkcovid.data.resize import mask_to_image

COMMIT = "51fca0d0d089b2fa7b0b95f0aed32ebaebd561f2"
URL = f"https://github.com/v7labs/covid-19-xray-dataset/raw/{COMMIT}/annotations/covid-only.zip"
SHA256 = "eecf370e5679124cea0272af6a78c70b0f3d91fd1c3663fada274382dac302fb"
MAX_BYTES = 20_000_000


@dataclass(frozen=True, slots=True)
class FetchedLungs:
    """`manifest`: the rows that now have a mask, as a CSV beside `lung_masks/`; masks: how many; unmatched: outlines of
    images that the given manifest does not list."""

    manifest: Path
    masks: int
    unmatched: int


def fetch_lungs(manifest: Manifest, folder: Path, url: str = URL, sha256: str = SHA256) -> FetchedLungs:
    """Download the outlines and draw a mask for every row of the manifest whose file name they name.

    Args:
        manifest: The images.
        folder: Where outlines, masks and a manifest of them go.
        url: Of the archive.
        sha256: Of the archive.

    Returns:
        What was written.

    Raises:
        DarkCovidError: The archive is unavailable, or not the one that was recorded.
        DataError: It is not readable as Darwin JSON.
    """
    archive = RemoteFile(url, folder / "covid-only.zip", sha256)
    try:
        with exclusive_download(folder):
            if not is_downloaded(archive):
                download(archive)
    except (DownloadError, OSError) as error:
        raise DarkCovidError(f"{url}: could not be fetched ({one_line(error)}); try again later") from None
    outlines = read_outlines(archive.target)
    names = manifest.rows.path.map(lambda path: PurePosixPath(path).name)
    listed = manifest.rows[names.isin(outlines)].copy()
    listed["lung_mask"] = [f"lung_masks/{PurePosixPath(path).stem}.png" for path in listed.path]
    for path, target in zip(listed.path, listed.lung_mask, strict=True):
        outline, file = outlines[PurePosixPath(path).name], manifest.locate(path)
        mask = mask_to_image(rasterize(outline))
        if file is not None:
            mask = mask.resize(load_grayscale(file).size, Image.Resampling.NEAREST)
        save_png(mask, folder / target)
    write_text(folder / "lungs_manifest.csv", listed.to_csv(index=False))
    return FetchedLungs(folder / "lungs_manifest.csv", len(listed), len(outlines) - names.isin(outlines).sum())


def read_outlines(archive: Path) -> dict[str, dict[str, Any]]:
    """Original file name to Darwin annotation, of every JSON file in a zip that outlines a lung. Raises DataError."""
    outlines = {}
    try:
        with zipfile.ZipFile(archive) as files:
            for entry in files.infolist():
                if entry.filename.endswith(".json") and entry.file_size <= MAX_BYTES:
                    outline = json.loads(files.read(entry))
                    if lung_polygons(outline):
                        outlines[outline["image"]["original_filename"]] = outline
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise DataError(f"{archive}: not a zip of Darwin annotations ({one_line(error)}); remove it") from None
    return outlines


def lung_polygons(outline: dict[str, Any]) -> list[list[list[tuple[float, float]]]]:
    """The rings of each "Lung" annotation: its `path` and `additional_paths`, as (x, y) in pixels."""
    polygons = [item["polygon"] for item in outline["annotations"] if item["name"] == "Lung" and "polygon" in item]
    rings = [[polygon["path"], *polygon.get("additional_paths", [])] for polygon in polygons]
    return [[[(point["x"], point["y"]) for point in ring] for ring in polygon if len(ring) > 2] for polygon in rings]


def rasterize(outline: dict[str, Any]) -> np.ndarray:
    """(height, width) bool at the annotation's own image size. A ring inside a ring is a hole; lungs are joined."""
    width, height = outline["image"]["width"], outline["image"]["height"]
    mask = np.zeros((height, width), bool)
    for polygon in lung_polygons(outline):
        lung = np.zeros_like(mask)
        for ring in polygon:
            canvas = Image.new("1", (width, height))
            ImageDraw.Draw(canvas).polygon(ring, fill=1)
            lung ^= np.asarray(canvas)
        mask |= lung
    return mask

"""Phantoms of two hospitals, as a manifest."""

from pathlib import Path

import numpy as np
import pandas as pd

from darkcovid.data.phantom import phantom_manifest
from darkcovid.recipe import Phantom


def write_two_hospitals(folder: Path, patients: int = 60, copies: int = 5) -> Path:
    """Phantoms of `north` and `south`, and copies of the first images of the north in the south, under the north's patients.

    Args:
        folder: Gets the images and the manifest.
        patients: Of both together.
        copies: How many images are copied.

    Returns:
        The manifest.
    """
    drawn = phantom_manifest(Phantom(patients=patients, image_size=64, signal=1.0), folder / "cache")
    table = drawn.rows.assign(file=[drawn.locate(path) for path in drawn.rows.path])
    codes = table.patient_id.astype("category").cat.codes
    table["dataset"] = np.where(codes % 2 == 0, "north", "south")
    moved = table[table.dataset == "north"].head(copies).assign(dataset="south")
    table = pd.concat([table, moved], ignore_index=True)
    table["path"] = [f"images/{row}.png" for row in range(len(table))]
    (folder / "images").mkdir(parents=True)
    for path, file in zip(table.path, table.file, strict=True):
        (folder / path).write_bytes(file.read_bytes())
    table.drop(columns="file").to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"

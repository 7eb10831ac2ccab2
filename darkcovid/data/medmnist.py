"""The chest radiographs of MedMNIST (Yang et al., Scientific Data 2023), arrays in a `.npz`, become PNG files and a table.

PneumoniaMNIST (children, of Kermany et al. 2018) and ChestMNIST (of NIH ChestX-ray14) hold `train_images`, `train_labels`,
`val_...` and `test_...`, images of 28 to 224 pixels, in this order of labels. Patients are not recorded.
"""

import csv
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from darkcovid.core.errors import DataError, UsageError, one_line

TABLE = "medmnist.csv"
SPLITS = {"train": "train", "val": "valid", "test": "test"}
NAMES = {
    "pneumoniamnist": ("normal", "pneumonia"),
    "chestmnist": (
        *("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax"),
        *("Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia"),
    ),
}
NO_FINDING = "No Finding"
MAX_HEADER = 10_000  # bytes, NumPy's own bound


def write_medmnist(archive: Path, folder: Path, on_progress: Callable[[int, int], None]) -> None:
    """Write `train|val|test/NUMBER.png` and `medmnist.csv` (path, label, split), one image in memory at a time.

    Args:
        archive: Such as `pneumoniamnist_224.npz`.
        folder: Where the files go.
        on_progress: Called with the number of images written, and of all.

    Raises:
        UsageError: Not one of the two datasets.
        DataError: The file is damaged, or its arrays are not those that were published.
    """
    kind = next((name for name in NAMES if archive.name.lower().startswith(name)), None)
    if kind is None:
        raise UsageError(f"{archive}: of MedMNIST, {' and '.join(NAMES)} hold chest radiographs; keep their names")
    try:
        with zipfile.ZipFile(archive) as arrays:
            labels = {name: _labels(arrays, f"{name}_labels.npy", kind) for name in SPLITS}
            total, done = sum(map(len, labels.values())), 0
            folder.mkdir(parents=True)
            with (folder / TABLE).open("w", newline="", encoding="utf-8") as file:
                table = csv.writer(file, lineterminator="\n")
                table.writerow(("path", "label", "split"))
                for name, split in SPLITS.items():
                    (folder / name).mkdir()
                    images = _images(arrays, f"{name}_images.npy", len(labels[name]))
                    for number, (pixels, label) in enumerate(zip(images, labels[name], strict=True)):
                        path = f"{name}/{number:06}.png"
                        Image.fromarray(pixels).save(folder / path)
                        table.writerow((path, label, split))
                        done += 1
                        on_progress(done, total)
    except (zipfile.BadZipFile, zlib.error, KeyError, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{archive}: not an array file of MedMNIST ({one_line(error)})") from None


def _labels(arrays: zipfile.ZipFile, name: str, kind: str) -> list[str]:
    """The label of each image, findings joined by `|`."""
    with arrays.open(name) as file:
        codes = np.lib.format.read_array(file, allow_pickle=False, max_header_size=MAX_HEADER)
    names = NAMES[kind]
    columns = 1 if kind == "pneumoniamnist" else len(names)
    if codes.ndim != 2 or codes.shape[1] != columns or codes.dtype.kind not in "ui" or codes.max(initial=0) > 1:
        raise ValueError(f"{name}: {codes.dtype} of shape {codes.shape}")
    if columns == 1:
        return [names[code] for code in codes[:, 0]]
    return ["|".join(names[at] for at in np.flatnonzero(row)) or NO_FINDING for row in codes]


def _images(arrays: zipfile.ZipFile, name: str, count: int) -> Iterator[np.ndarray]:
    """(height, width) uint8, one after another."""
    with arrays.open(name) as file:
        shape = _shape(file, name)
        if len(shape) != 3 or shape[0] != count:
            raise ValueError(f"{name}: shape {shape} for {count} labels")
        _, height, width = shape
        for _ in range(count):
            content = file.read(height * width)
            if len(content) < height * width:
                raise EOFError(f"{name} ends early")
            yield np.frombuffer(content, np.uint8).reshape(height, width)


def _shape(file: IO[bytes], name: str) -> tuple[int, ...]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, by_columns, dtype = read(file, max_header_size=MAX_HEADER)
    if dtype != np.uint8 or by_columns:
        raise ValueError(f"{name}: {dtype}, not uint8 by rows")
    return shape

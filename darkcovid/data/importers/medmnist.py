"""PneumoniaMNIST and ChestMNIST of MedMNIST (Yang et al. 2023), unpacked by `data/medmnist.py`: `medmnist.csv` and PNG files."""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from darkcovid.data.importers.base import ImportedImage, Importer
from darkcovid.data.importers.read_table import table_rows
from darkcovid.data.medmnist import TABLE


def _images(folder: Path, files: Sequence[PurePosixPath]) -> Iterator[ImportedImage]:
    for row in table_rows(folder / TABLE, ("path", "label", "split")):
        yield ImportedImage(row["path"], row["label"], "", {"split": row["split"]})


MEDMNIST = Importer(
    "medmnist",
    "MedMNIST (Yang et al. 2023)",
    lambda folder: (folder / TABLE).is_file(),
    _images,
    note="patients are not recorded; images of 28 pixels are far smaller than any network here is made for",
)

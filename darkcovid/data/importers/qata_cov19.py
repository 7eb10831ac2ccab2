"""QaTa-COV19 (Degerli et al. 2021, arXiv:2009.12698): `Train Set/Images` and `Test Set/Images` (version 2) or `Images` (version
1), all of covid, with masks of the infection in `Ground-truths`. Images taken from BIMCV name the patient,
`sub-S09345_ses-E25017_...`."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from darkcovid.data.importers.base import ImportedImage, Importer

MASKS = "Ground-truths"
PATIENT = re.compile(r"sub-S\d+")
SPLITS = {"Train Set": "train", "Test Set": "test"}


def _images(folder: Path, files: Sequence[PurePosixPath]) -> Iterator[ImportedImage]:
    for path in files:
        if path.parent.name == "Images":
            patient = PATIENT.match(path.name)
            split = next((SPLITS[part] for part in path.parts if part in SPLITS), "")
            yield ImportedImage(path.as_posix(), "COVID-19", patient[0] if patient else "", {"split": split, "etiology": "covid"})


QATA_COV19 = Importer(
    "qata-cov19",
    "QaTa-COV19 (Degerli et al. 2021)",
    lambda folder: any(folder.glob(f"**/{MASKS}")) and any(folder.glob("**/Images")),
    _images,
    note="all images are of covid; its masks show the infection, not the lungs, and are left out",
)

"""SIIM-FISABIO-RSNA COVID-19 Detection (Kaggle 2021; Lakhani et al. 2023): `train_study_level.csv`, `train_image_level.csv` and
DICOM files in `train/<study>/<series>/<image>.dcm`."""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from darkcovid.data.importers.base import ImportedImage, Importer
from darkcovid.data.importers.read_table import table_rows
from darkcovid.data.importers.several_findings import join_findings

STUDIES = "train_study_level.csv"
LABELS = ("Negative for Pneumonia", "Typical Appearance", "Indeterminate Appearance", "Atypical Appearance")
CLASSES = {"Negative for Pneumonia": "no_finding", "Typical Appearance": "covid"}


def _images(folder: Path, files: Sequence[PurePosixPath]) -> Iterator[ImportedImage]:
    labels = {
        row["id"].removesuffix("_study"): join_findings(row, LABELS)[0] for row in table_rows(folder / STUDIES, ("id", *LABELS))
    }
    for path in files:
        study = path.parts[1] if len(path.parts) > 2 and path.parts[0] == "train" else ""
        if study in labels:
            yield ImportedImage(path.as_posix(), labels[study], study, {"study_id": study})


SIIM_COVID19 = Importer(
    "siim-covid19",
    "SIIM-FISABIO-RSNA COVID-19 Detection 2021",
    lambda folder: (folder / STUDIES).is_file(),
    _images,
    note="labels are readings of the radiograph, not results of PCR tests; patients are not named, studies stand for them",
    classes=CLASSES,
)

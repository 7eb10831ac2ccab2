"""MIMIC-CXR-JPG (Johnson et al. 2019, arXiv:1901.07042): images in `files/p10/p10000032/s50414267/<dicom_id>.jpg`, and tables
`mimic-cxr-2.0.0-metadata`, `-chexpert` (or `-negbio`) and `-split`, as `.csv` or `.csv.gz`."""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from darkcovid.core.errors import DataError
from darkcovid.data.importers.base import ImportedImage, Importer
from darkcovid.data.importers.read_table import find_table, table_rows
from darkcovid.data.importers.several_findings import join_findings

SPLITS = {"train": "train", "validate": "valid", "test": "test"}
VIEWS = {"PA": "PA", "AP": "AP", "LATERAL": "L", "LL": "L"}
IDS = ("subject_id", "study_id")


def _recognizes(folder: Path) -> bool:
    return find_table(folder, "mimic-cxr-*-metadata.csv") is not None


def _images(folder: Path, files: Sequence[PurePosixPath]) -> Iterator[ImportedImage]:
    known = {path.as_posix() for path in files}
    metadata = find_table(folder, "mimic-cxr-*-metadata.csv")
    labels = find_table(folder, "mimic-cxr-*-chexpert.csv", "mimic-cxr-*-negbio.csv")
    splits = find_table(folder, "mimic-cxr-*-split.csv")
    if metadata is None or labels is None:
        raise DataError(f"{folder}: no mimic-cxr-2.0.0-chexpert.csv; put the tables of MIMIC-CXR-JPG beside files/")
    findings = {
        (row["subject_id"], row["study_id"]): join_findings(row, [name for name in row if name not in IDS])
        for row in table_rows(labels, IDS)
    }
    split_of = {row["dicom_id"]: row["split"] for row in table_rows(splits, ("dicom_id", "split"))} if splits else {}
    for row in table_rows(metadata, ("dicom_id", *IDS)):
        subject, study, image = row["subject_id"], row["study_id"], row["dicom_id"]
        path = f"files/p{subject[:2]}/p{subject}/s{study}/{image}.jpg"
        if path in known:  # most people download a part of the 377,110 images
            label, uncertain = findings.get((subject, study), ("", ""))
            view = row.get("ViewPosition", "")
            columns = {"view": VIEWS.get(view, view), "split": SPLITS.get(split_of.get(image, ""), ""), "study_id": study}
            yield ImportedImage(path, label, subject, columns, uncertain)


MIMIC_CXR_JPG = Importer(
    "mimic-cxr-jpg",
    "MIMIC-CXR-JPG (Johnson et al. 2019)",
    _recognizes,
    _images,
    note="labels were mined from reports, one per study; rows of the tables without an image here are not listed",
)

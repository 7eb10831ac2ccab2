"""What is in a manifest: images and patients of each class, and what is known about them."""

from typing import Any

import pandas as pd

from darkcovid.data.manifest import Manifest
from darkcovid.data.splits import patient_groups

MIN_PATIENTS = 2  # of a class, one for each set of a split
COLUMNS = ("label", "etiology", "view", "sex", "license")


def describe(manifest: Manifest) -> dict[str, Any]:
    """Counts by dataset and class, patients (repeated, in several classes), missing values, files present."""
    rows = manifest.rows
    known = rows[rows.patient_id != ""]
    by_patient = known.groupby("patient_id")
    labeled = known[known.label != ""].groupby("patient_id").label.nunique()
    return {
        "images": len(rows),
        "present": sum(manifest.locate(path) is not None for path in rows.path),
        "datasets": {
            dataset: {
                label: {"images": len(group), "patients": int(patient_groups(group).nunique())}
                for label, group in of_dataset.groupby("label")
            }
            for dataset, of_dataset in rows.groupby("dataset")
        },
        "patients": {
            "known": int(by_patient.ngroups),
            "with_several_images": int((by_patient.size() > 1).sum()),
            "with_several_labels": int((labeled > 1).sum()),
            "images_without_patient": int((rows.patient_id == "").sum()),
            "merged_ids": [list(spellings) for spellings in manifest.merged_patients],
        },
        "lung_masks": int((rows.lung_mask != "").sum()),
        "without_checksum": int((rows.sha256 == "").sum()),
        "values": {column: rows[column].value_counts().to_dict() for column in COLUMNS},
    }


def usable_classes(rows: pd.DataFrame) -> dict[str, int]:
    """The classes of a manifest that can be told apart.

    Args:
        rows: Of a manifest.

    Returns:
        Images by class, of the classes with two patients or more, by name.
    """
    labeled = rows[rows.label != ""]
    patients = patient_groups(labeled).groupby(labeled.label).nunique()
    counts = labeled.label.value_counts().sort_index()
    return {str(name): int(count) for name, count in counts.items() if patients[name] >= MIN_PATIENTS}

"""A fault of the images that one class has more often is a confounder; chance is judged by patients."""

import pandas as pd

from darkcovid.audits.confounders import confounders
from darkcovid.audits.image_quality import quality_rates
from darkcovid.audits.metadata import PandasMetadata, metadata_table
from darkcovid.data.manifest import normalize_rows


def rows_of(faults, patients=None):
    """Rows of two classes: faults of each image by class."""
    table = [(label, text) for label, texts in faults.items() for text in texts]
    rows = pd.DataFrame(table, columns=["label", "quality"])
    rows["path"] = [f"{number}.png" for number in range(len(rows))]
    rows["patient_id"] = patients or [str(number) for number in range(len(rows))]
    return normalize_rows(rows)


def test_a_fault_of_one_class_differs():
    rates = quality_rates(rows_of({"covid": ["blurred"] * 18 + ["good"] * 2, "normal": ["good"] * 17 + ["rotated"] * 3}))
    assert [(rate.flag, rate.images, rate.of) for rate in rates] == [
        ("blurred", {"covid": 18, "normal": 0}, {"covid": 20, "normal": 20}),
        ("rotated", {"covid": 0, "normal": 3}, {"covid": 20, "normal": 20}),
    ]
    assert rates[0].differs and not rates[1].differs


def test_images_of_one_patient_count_once():
    faults = {"covid": ["blurred"] * 18 + ["good"] * 2, "normal": ["good"] * 20}
    patients = ["one"] * 18 + ["a", "b"] + [f"n{number}" for number in range(20)]
    (rate,) = quality_rates(rows_of(faults, patients))
    assert rate.images["covid"] == 18 and not rate.differs


def test_faults_together_and_none():
    (blurred, rotated) = quality_rates(rows_of({"covid": ["blurred|rotated", "blurred", "good"]}))
    assert (blurred.flag, blurred.images, rotated.images) == ("blurred", {"covid": 2}, {"covid": 1})
    assert blurred.p_holm == 1.0 and quality_rates(rows_of({"covid": ["good"], "normal": [""]})) == []


def test_the_data_audit_asks_for_quality_and_manufacturer():
    rows = rows_of({"covid": ["blurred"] * 20, "normal": ["good"] * 20})
    rows["manufacturer"] = ["ACME"] * 20 + ["OTHER"] * 20
    counts = PandasMetadata(metadata_table(rows, rows.label.tolist(), "all")).counts()
    telling = {confounder.variable: confounder.accuracy for confounder in confounders(counts)}
    assert telling["quality"] == telling["manufacturer"] == 1.0

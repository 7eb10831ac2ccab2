import numpy as np
import pandas as pd
import pytest

from darkcovid.audits.baselines import cross_validated_forest_accuracy, image_statistics, majority_baseline, source_predictability
from darkcovid.audits.metadata import metadata, varying
from darkcovid.data.manifest import OPTIONAL

LABELS = ["covid"] * 60 + ["none"] * 60


def rows(**columns):
    table = {"path": [f"{i}.png" for i in range(120)], "patient_id": [f"x-{i // 2}" for i in range(120)]}
    return pd.DataFrame(table | dict.fromkeys(OPTIONAL, "") | columns)


def test_a_clean_cohort_is_not_accused():
    random = np.random.default_rng(0)
    table = rows(sex=random.choice(["M", "F"], 120), age=random.integers(20, 80, 120).astype(str), width="512", height="512")
    baseline = cross_validated_forest_accuracy(varying(metadata(table)), LABELS, table.patient_id)
    assert baseline.accuracy < 0.65
    assert baseline.interval[0] < 0.5 < baseline.interval[1]


def test_a_source_with_darker_pictures_is_told_by_them_and_one_alone_is_not_asked():
    pixels = np.random.default_rng(0).integers(90, 110, (120, 64, 64)).astype(np.uint8)
    table = rows(source=["here", "there"] * 60)
    assert source_predictability(table, pixels, table.patient_id)["accuracy"] < 0.65
    pixels[::2] -= 30
    found = source_predictability(table, pixels, table.patient_id)
    assert (found["variable"], found["accuracy"], found["chance"]) == ("source", 1.0, 0.5)
    assert source_predictability(rows(), pixels, table.patient_id) is None


def test_a_planted_corner_dot_is_seen_in_the_statistics():
    pixels = np.random.default_rng(0).integers(90, 110, (120, 64, 64)).astype(np.uint8)
    patients = [str(i // 2) for i in range(120)]
    assert cross_validated_forest_accuracy(image_statistics(pixels), LABELS, patients)[0] < 0.65
    pixels[:60, :6, -6:] = 250
    assert cross_validated_forest_accuracy(image_statistics(pixels), LABELS, patients)[0] > 0.95


def test_chance_is_the_largest_class():
    assert majority_baseline(["a", "a", "b"]) == pytest.approx(2 / 3)

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import mutual_info_score

from darkcovid.audit import audit_manifest
from darkcovid.data.manifest import OPTIONAL, read_manifest
from darkcovid.evaluation.confounding import chance, confounders, forest_accuracy, image_statistics, metadata, source_from_pixels

from ..conftest import RECIPES

LABELS = ["covid"] * 60 + ["none"] * 60


def rows(**columns):
    table = {"path": [f"{i}.png" for i in range(120)], "patient_id": [f"x-{i // 2}" for i in range(120)]}
    return pd.DataFrame(table | dict.fromkeys(OPTIONAL, "") | columns)


def found_in(**columns):
    table = rows(**columns)
    return {(one.variable, one.classes): one for one in confounders(metadata(table), LABELS, table.patient_id)}


def test_a_planted_file_format_is_caught_and_a_random_one_is_not():
    jpg = [f"{i}.jpg" if i < 50 else f"{i}.png" for i in range(120)]
    one = found_in(path=jpg)[("extension", ("covid", "none"))]
    assert (one.accuracy, one.chance) == (pytest.approx(110 / 120), 0.5)
    assert (one.p, one.cramers_v > 0.8) == (pytest.approx(1 / 201), True)
    mixed = [f"{i}.jpg" if i % 3 else f"{i}.png" for i in range(120)]
    clean = found_in(path=mixed)[("extension", ("covid", "none"))]
    assert clean.accuracy < 0.65
    assert clean.p > 0.05


def test_the_permutation_p_is_that_of_mutual_information():
    sexes = ["F" if i % 5 else "M" for i in range(70)] + ["M" if i % 4 else "F" for i in range(50)]
    random = np.random.default_rng(0)
    seen = mutual_info_score(sexes, LABELS)
    shuffled = [mutual_info_score(sexes, random.permutation(LABELS)) for _ in range(200)]
    weak = ["F" if i % 2 else "M" for i in range(55)] + ["M"] * 5 + ["F" if i % 2 else "M" for i in range(60)]
    assert found_in(sex=sexes)[("sex", ("covid", "none"))].p == pytest.approx((1 + sum(v >= seen for v in shuffled)) / 201)
    random, seen = np.random.default_rng(0), mutual_info_score(weak, LABELS)
    shuffled = [mutual_info_score(weak, random.permutation(LABELS)) for _ in range(200)]
    expected = (1 + sum(value >= seen - 1e-12 for value in shuffled)) / 201
    assert found_in(sex=weak)[("sex", ("covid", "none"))].p == pytest.approx(expected)
    assert expected > 0.1


def test_a_number_and_what_is_missing_tell_too():
    ages = [str(20 + i % 30) for i in range(60)] + [""] * 60
    one = found_in(age=ages)[("age", ("covid", "none"))]
    assert one.accuracy == 1.0
    assert one.missing == 0.5


def test_a_number_that_is_mostly_one_value_is_that_value_against_the_others():
    heights = ["512"] * 100 + ["300"] * 20
    one = found_in(height=heights)[("height", ("covid", "none"))]
    assert one.cramers_v == pytest.approx((20 / 100) ** 0.5)
    assert one.p < 0.01


def test_a_clean_cohort_is_not_accused():
    random = np.random.default_rng(0)
    table = rows(sex=random.choice(["M", "F"], 120), age=random.integers(20, 80, 120).astype(str), width="512", height="512")
    accuracy, _ = forest_accuracy(metadata(table), LABELS, table.patient_id)
    assert accuracy < 0.65
    assert all(one.p > 0.01 for one in confounders(metadata(table), LABELS, table.patient_id))


def test_a_source_with_darker_pictures_is_told_by_them_and_one_alone_is_not_asked():
    pixels = np.random.default_rng(0).integers(90, 110, (120, 64, 64)).astype(np.uint8)
    table = rows(source=["here", "there"] * 60)
    assert source_from_pixels(table, pixels, table.patient_id)["accuracy"] < 0.65
    pixels[::2] -= 30
    found = source_from_pixels(table, pixels, table.patient_id)
    assert (found["variable"], found["accuracy"], found["chance"]) == ("source", 1.0, 0.5)
    assert source_from_pixels(rows(), pixels, table.patient_id) is None


def test_a_planted_corner_dot_is_seen_in_the_statistics():
    pixels = np.random.default_rng(0).integers(90, 110, (120, 64, 64)).astype(np.uint8)
    patients = [str(i // 2) for i in range(120)]
    assert forest_accuracy(image_statistics(pixels), LABELS, patients)[0] < 0.65
    pixels[:60, :6, -6:] = 250
    assert forest_accuracy(image_statistics(pixels), LABELS, patients)[0] > 0.95


def test_chance_is_the_largest_class():
    assert chance(["a", "a", "b"]) == pytest.approx(2 / 3)


@pytest.mark.slow
def test_the_file_extension_of_the_published_images_gives_covid_away():
    """103 of 125 covid files are JPEG and none of the others: 603 of 625 right, without any image on disk."""
    found = audit_manifest(read_manifest(RECIPES.parent / "data_manifest.csv").of_dataset("ozturk", "--dataset"))
    alone = {(one["variable"], tuple(one["classes"])): one["accuracy"] for one in found["confounding"]}
    assert alone["extension", ("covid", "no_finding")] == pytest.approx(603 / 625)
    assert alone["patient_prefix", ("covid", "no_finding")] == 1.0
    assert found["metadata_alone"]["accuracy"] > 0.85
    assert found["duplicates"]["near"] == 0

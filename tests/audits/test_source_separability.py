"""Features that tell the source are found, those that tell the class alone are not."""

import numpy as np
import pytest

from darkcovid.audits.source_separability import source_separability


def features(tells_source, images=240, seed=0):
    random = np.random.default_rng(seed)
    labels = np.where(np.arange(images) % 2 == 0, "a", "b")
    sources = np.array(["north", "south", "west"])[np.arange(images) // 2 % 3]
    rows = random.normal(size=(images, 12))
    rows[:, 0] += 4 * (labels == "a")
    if tells_source:
        rows[:, 1] += 6 * (sources == "north") - 6 * (sources == "west")
    return rows, labels, sources, np.array([f"p{row // 2}" for row in range(images)])


def test_what_tells_the_source_is_found_beside_the_class():
    found = source_separability(*features(True))
    assert found.balanced_accuracy > 0.95 and found.chance == pytest.approx(1 / 3)
    assert abs(source_separability(*features(False)).balanced_accuracy - 1 / 3) < 0.12


def test_a_class_that_goes_with_a_source_says_nothing():
    rows, labels, _, patients = features(True)
    assert source_separability(rows, labels, labels, patients) is None
    few = np.where(np.arange(len(labels)) < 8, "rare", "common")
    assert source_separability(rows, labels, few, patients) is None
    assert source_separability(rows * np.nan, *features(True)[1:]) is None


def test_images_of_one_patient_are_no_witnesses_for_one_another():
    random = np.random.default_rng(1)
    patients = np.repeat([f"p{number}" for number in range(40)], 6)
    sources = np.repeat(np.where(np.arange(40) % 2 == 0, "x", "y"), 6)
    own = np.repeat(random.normal(size=(40, 60)), 6, axis=0)  # features that are each patient's own
    found = source_separability(own + 0.01 * random.normal(size=own.shape), np.full(240, "a"), sources, patients)
    assert found.balanced_accuracy < 0.75

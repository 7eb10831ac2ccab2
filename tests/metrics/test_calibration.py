"""One temperature, of known truth where there is enough to learn it from, and held back where there is not."""

import numpy as np
import pytest

from darkcovid.metrics.calibration import (
    MIN_PROBABILITY,
    apply_temperature,
    cross_fitted,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
)
from darkcovid.metrics.cross_fitting import patient_parts

NEW = np.array([[0.40, 0.35, 0.25]])


def drawn(random, count, sharpened=1.0):
    """Probabilities from which the labels are drawn, then sharpened."""
    logits = random.normal(0, 1.5, (count, 3))
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = np.array([random.choice(3, p=row) for row in probabilities])
    return labels, apply_temperature(probabilities, 1 / sharpened)


@pytest.mark.parametrize("sharpened", [0.4, 1.0, 2.0, 4.0])
def test_the_temperature_is_what_the_probabilities_were_sharpened_by(sharpened):
    labels, probabilities = drawn(np.random.default_rng(0), 8000, sharpened)
    temperature = fit_temperature(labels, probabilities)
    assert temperature == pytest.approx(sharpened, rel=0.04)
    corrected = apply_temperature(probabilities, temperature)
    assert expected_calibration_error(labels, corrected) < 0.025
    np.testing.assert_array_equal(probabilities.argmax(1), corrected.argmax(1))


@pytest.mark.parametrize(("images", "most"), [(0, 0.40), (2, 0.42), (24, 0.50), (228, 0.57)])
def test_where_every_image_is_right_a_doubtful_one_stays_doubtful(images, most):
    """All right at .7: without a prior the temperature runs to its bound of .05 and makes .935 of .40."""
    temperature = fit_temperature(np.zeros(images, int), np.tile([0.7, 0.2, 0.1], (images, 1)))
    assert 0.2 < temperature <= 1.0
    assert 0.399 <= apply_temperature(NEW, temperature)[0, 0] <= most


@pytest.mark.parametrize("images", [6, 60, 600])
def test_a_network_at_chance_is_cooled_as_far_as_its_images_go(images):
    random = np.random.default_rng(1)
    _, probabilities = drawn(random, images, 3.0)
    labels = random.integers(0, 3, images)
    temperature = fit_temperature(labels, probabilities)
    assert 1 < temperature < {6: 4, 60: 12, 600: 19}[images]
    assert apply_temperature(NEW, temperature)[0, 0] < 0.40


@pytest.mark.parametrize("images", [1, 3, 10])
def test_few_images_move_it_little(images):
    random, temperatures = np.random.default_rng(2), []
    for _ in range(50):
        temperatures.append(fit_temperature(*drawn(random, images)))
    assert min(temperatures) > 0.6 and max(temperatures) < 2.2


def test_no_part_has_a_say_in_its_own_temperature():
    labels, probabilities = drawn(np.random.default_rng(3), 60, 3.0)
    parts = np.arange(60) % 3
    before = cross_fitted(labels, probabilities, parts)
    labels[parts == 1] = (labels[parts == 1] + 1) % 3
    after = cross_fitted(labels, probabilities, parts)
    np.testing.assert_array_equal(before[parts == 1], after[parts == 1])
    assert np.abs(before - after)[parts != 1].max() > 0.01
    np.testing.assert_allclose(cross_fitted(labels, probabilities, np.zeros(60, int)), probabilities, atol=1e-9)


@pytest.mark.slow
def test_cross_fitting_says_what_fresh_images_will_say():
    """60 validation sets of 40 images, over-confident by 1.3: the log loss after the temperature, by cross-fitting, is on average
    that of fresh images; in the sample it is lower."""
    random, inside, across, fresh = np.random.default_rng(4), [], [], []
    new_labels, new = drawn(random, 4000, 1.3)
    for _ in range(60):
        labels, probabilities = drawn(random, 40, 1.3)
        temperature = fit_temperature(labels, probabilities)
        base, theirs = negative_log_likelihood(labels, probabilities), negative_log_likelihood(new_labels, new)
        inside.append(negative_log_likelihood(labels, apply_temperature(probabilities, temperature)) - base)
        across.append(negative_log_likelihood(labels, cross_fitted(labels, probabilities, np.arange(40) % 5)) - base)
        fresh.append(negative_log_likelihood(new_labels, apply_temperature(new, temperature)) - theirs)
    assert np.mean(inside) < np.mean(across) < 0.5 * np.mean(inside) + 0.5 * max(np.mean(fresh), np.mean(across)) + 0.02
    assert np.mean(across) == pytest.approx(np.mean(fresh), abs=0.012)


def test_one_loss_by_hand():
    labels, probabilities = np.array([0, 1]), np.array([[0.5, 0.5], [1.0, 0.0]])
    assert negative_log_likelihood(labels, probabilities) == pytest.approx((np.log(2) - np.log(MIN_PROBABILITY)) / 2)
    assert np.finfo(np.float32).eps == MIN_PROBABILITY


def test_parts_keep_patients_together_and_every_class_in_each():
    random = np.random.default_rng(5)
    patients = random.integers(0, 40, 150)
    labels = patients % 3
    parts = patient_parts(labels, patients.astype(str))
    assert set(parts) == set(range(5))
    assert all(len(set(parts[patients == patient])) == 1 for patient in set(patients))
    assert all(set(labels[parts == part]) == {0, 1, 2} for part in range(5))
    few = patient_parts(np.array([0, 0, 0, 1, 1, 1, 1]), list("abcdddd"))
    assert set(few) == {0, 1}

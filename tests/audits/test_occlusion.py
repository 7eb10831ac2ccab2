"""The shortcut audit on phantoms whose truth is known: a corner marker, a lung sign, and neither."""

import numpy as np
import pytest

from darkcovid.audits.occlusion import aggregate_occlusion, occlusion_metrics, occlusion_predictions
from darkcovid.data.cohort import load_classification_cohort
from darkcovid.evaluation.results import OcclusionAudit
from darkcovid.lungs.crop import LungRegions
from darkcovid.metrics.skill_without_lungs import ViewMetrics
from darkcovid.recipe import Data, Lungs, Phantom, Recipe, Training
from darkcovid.vision.arm_inputs import InputBuilder
from darkcovid.vision.learner import classifier_learner


def audited(cache_dir, cpu, signal, shortcut):
    data = Data(manifest="phantom", image_size=64, phantom=Phantom(patients=120, image_size=64, signal=signal, shortcut=shortcut))
    training = Training(epochs=12, batch_size=8, precision="fp32", device="cpu")
    recipe = Recipe(name="audit", data=data.model_copy(update={"augment": "none"}), training=training)
    cohort = load_classification_cohort(data, cache_dir)
    inputs = InputBuilder(recipe, cohort, cpu, cache_dir).make("audit")
    result = classifier_learner(recipe, cohort, inputs.pixels, cpu).fit_recipe()
    return occlusion_metrics(occlusion_predictions(result.predict, inputs.pixels, inputs.areas, cohort), cohort.classes)


@pytest.mark.slow
def test_a_planted_corner_marker_is_caught(cache_dir, cpu):
    """Only covid images carry the marker, so covid is told apart without lungs, and by the border alone."""
    found = audited(cache_dir, cpu, signal=0.0, shortcut=1.0)
    assert found.plain.recall["covid"] > 0.9
    assert found.views["lungs_erased"].recall["covid"] > 0.8
    assert found.views["border_only"].recall["covid"] > 0.8
    assert found.skill_without_lungs > 0.7


@pytest.mark.slow
def test_a_clean_cohort_is_not_accused(cache_dir, cpu):
    found = audited(cache_dir, cpu, signal=1.0, shortcut=0.0)
    assert found.plain.accuracy > 0.7
    assert found.views["lungs_erased"].accuracy < found.chance + 0.15
    assert found.views["border_only"].accuracy < found.chance + 0.15
    assert found.skill_without_lungs < 0.4


def test_fits_are_pooled_by_their_images():
    def fit(images, plain, erased):
        scores = {"plain": plain, "lungs_erased": erased, "lungs_only": 0.5, "border_only": 0.5}
        views = {view: ViewMetrics(value, recall={"covid": value}) for view, value in scores.items()}
        return OcclusionAudit(images=images, chance=0.5, views=views)

    pooled = aggregate_occlusion([fit(30, 0.9, 0.7), None, fit(10, 0.5, 0.5)])
    assert pooled.images == 40
    assert (pooled.plain.accuracy, pooled.plain.recall["covid"]) == pytest.approx((0.8, 0.8))
    assert pooled.skill_without_lungs == pytest.approx(0.15 / 0.3)
    assert aggregate_occlusion([None]) is None


def test_views_hide_what_they_should(cohort, pixels):
    """Bright lungs in the middle of an even picture."""
    flat = np.full_like(np.array(pixels), 50)
    flat[:, 28:36, 28:36] = 250
    areas = np.zeros_like(flat)
    areas[:, 24:40, 24:40] = 1
    seen = []

    def judge(view):
        seen.append(view)
        return np.full((len(view), 3), 1 / 3)

    occlusion_predictions(judge, flat, LungRegions(areas, np.ones(len(flat), bool)), cohort)
    plain, erased, lungs_only, border_only, coarse = seen
    steps = np.abs(np.diff(coarse.astype(float), axis=1))
    assert 0 < steps.max() < 100  # the edge of 200 gray levels is smeared over a block
    assert plain[:, 30, 30].min() == 250
    assert erased.max() < 250
    assert lungs_only[:, 30, 30].min() == 250
    assert len(np.unique(lungs_only[:, 0])) == 1
    assert border_only.max() < 250
    assert (border_only[:, 0] == 50).all()


@pytest.mark.parametrize("lungs", [None, Lungs(margin=0.1), Lungs(resize="expand"), Lungs(context_channel=True)])
def test_areas_lie_where_the_lungs_are_in_every_kind_of_input(phantom_data, cohort, cache_dir, cpu, lungs):
    """The mean gray inside the areas is that of lungs: darker than around them."""
    inputs = InputBuilder(Recipe(name="a", data=phantom_data, lungs=lungs), cohort, cpu, cache_dir).make("a")
    assert inputs.areas.areas.shape == inputs.pixels.shape
    rows = np.flatnonzero(inputs.areas.trusted)
    assert len(rows) > len(cohort) / 2
    inside = np.array(inputs.areas.areas[rows]) > 0
    shown = np.array(inputs.pixels[rows]).astype(float)
    body = (shown > 30) & ~inside
    assert shown[inside].mean() < shown[body].mean() - 15
    assert 0.1 < inside.mean() < 0.7

"""A compiled fit learns what a plain one learns, and leaves a plain network."""

import shutil

import pytest

from darkcovid.training.classify import fit_classifier


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler here")
def test_a_compiled_fit_learns_the_same(tiny_recipe, cohort, pixels, cpu):
    training = tiny_recipe.training.model_copy(update={"epochs": 2, "lr": 3e-4})
    rows, layers = {}, {}
    for compiled in (False, True):
        recipe = tiny_recipe.model_copy(update={"training": training.model_copy(update={"compile": compiled})})
        fitted = fit_classifier(recipe, cohort, pixels, cpu).fitted
        rows[compiled], layers[compiled] = fitted.history.rows, list(fitted.learner.model.state_dict())
        assert fitted.learner.model._compiled_call_impl is None
    assert layers[True] == layers[False]
    for plain, compiled in zip(rows[False], rows[True], strict=True):
        assert compiled["train_loss"] == pytest.approx(plain["train_loss"], abs=2e-3)
        assert compiled["valid_loss"] == pytest.approx(plain["valid_loss"], abs=2e-3)

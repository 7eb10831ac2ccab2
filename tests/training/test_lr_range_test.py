import copy
import math

import pytest
import torch

from darkcovid.core.errors import DarkCovidError
from darkcovid.training.checkpoint import rng_state
from darkcovid.training.fit import fit
from darkcovid.training.lr_range_test import SUGGESTIONS, lr_find, suggest
from darkcovid.vision.learner import classifier_learner


def test_a_range_test_leaves_no_trace(tiny_recipe, cohort, pixels, cpu, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    learner = classifier_learner(tiny_recipe, cohort, pixels, cpu)
    learner.create_opt()
    weights, optimizer = copy.deepcopy(learner.model.state_dict()), copy.deepcopy(learner.opt.state_dict())
    callbacks, (plain, tensors) = list(learner.cbs), rng_state(learner)

    found = lr_find(learner, steps=40)

    assert set(found.suggestions) == set(SUGGESTIONS)
    assert all(torch.equal(weights[name], value) for name, value in learner.model.state_dict().items())
    assert learner.opt.state_dict()["hypers"] == optimizer["hypers"]
    assert learner.opt.state_dict()["state"] == optimizer["state"]
    assert list(learner.cbs) == callbacks
    again, tensors_again = rng_state(learner)
    assert again == plain
    assert all(torch.equal(tensors[name], tensors_again[name]) for name in tensors)
    assert list(tmp_path.iterdir()) == []


def test_a_fit_after_a_range_test_equals_a_fit_without_one(tiny_recipe, cohort, pixels, cpu):
    losses = []
    for look_first in (False, True):
        learner = classifier_learner(tiny_recipe, cohort, pixels, cpu)
        if look_first:
            lr_find(learner, steps=40)
        score = learner.objective.correct
        history = fit(learner, tiny_recipe.training, cpu, metric="accuracy", score=score).history
        losses.append([row["valid_loss"] for row in history.rows])
    assert losses[0] == losses[1]


def test_rates_rise_geometrically_from_start_to_end(tiny_recipe, cohort, pixels, cpu):
    learner = classifier_learner(tiny_recipe, cohort, pixels, cpu)
    found = lr_find(learner, start_lr=1e-6, end_lr=1e-3, steps=40)
    assert found.lrs[0] == pytest.approx(1e-6)
    ratios = [later / earlier for earlier, later in zip(found.lrs, found.lrs[1:], strict=False)]
    assert max(ratios) == pytest.approx(min(ratios), rel=1e-6)
    assert len(found.lrs) == len(found.losses) == 40


def test_suggestions_on_a_curve_whose_answer_is_known():
    """Falling all the way, steepest at 10^-2.5, to its minimum at 0.1, then exploding in a straight line. Of the 85 points that
    are judged (the first tenth and the last five are not): the steepest; a tenth of the lowest one's; the middle of the longest
    fall; and fifteen points before the end, where the slope no longer changes."""
    step = 8 / 99
    exponents = [-7 + step * index for index in range(100)]
    losses = [2 - 1.5 / (1 + math.exp(-2 * (e + 2.5))) + 8 * max(e + 1, 0) for e in exponents]
    suggestions = suggest([10**e for e in exponents], losses, 100)
    first, last = exponents[10], exponents[94]
    found = {name: math.log10(lr) for name, lr in suggestions.items()}
    assert found.pop("valley") == pytest.approx((first - 1) / 2, abs=2.5 * step)  # fastai rounds down three times
    assert found == pytest.approx({"steep": -2.5, "minimum": -1 - 1, "slide": last - 15 * step}, abs=step)


def test_a_start_that_diverges_at_once_is_said_so(tiny_recipe, cohort, pixels, cpu):
    learner = classifier_learner(tiny_recipe, cohort, pixels, cpu)
    with torch.no_grad():
        next(learner.model.parameters()).fill_(float("nan"))
    with pytest.raises(DarkCovidError, match="diverged after 0 steps"):
        lr_find(learner, steps=40)

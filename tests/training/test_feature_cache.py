"""A head fitted to remembered features, against the same head fitted behind its backbone."""

import numpy as np
import pytest
import torch

from darkcovid.models.registry import parameter_counts
from darkcovid.recipe import Model
from darkcovid.training import feature_cache as features
from darkcovid.training.classifier import build_model
from darkcovid.vision import learner as learners
from darkcovid.vision.learner import classifier_learner

from .test_schedule import RESNET, changed


@pytest.fixture
def frozen(tiny_recipe):
    return changed(tiny_recipe, RESNET, {"augment": "none"}, freeze_backbone=True, schedule="constant", epochs=3)


def test_the_numbers_are_those_of_the_plain_path(frozen, cohort, pixels, cpu, monkeypatch):
    quick = classifier_learner(frozen, cohort, pixels, cpu).fit_recipe()
    monkeypatch.setattr(learners, "can_cache_features", lambda *anything: False)
    plain = classifier_learner(frozen, cohort, pixels, cpu).fit_recipe()
    for ours, theirs in zip(quick.fitted.history.rows, plain.fitted.history.rows, strict=True):
        for key in ("train_loss", "valid_loss", "accuracy"):
            assert ours[key] == pytest.approx(theirs[key], abs=1e-4)
    np.testing.assert_allclose(quick.probabilities, plain.probabilities, atol=1e-4)
    mine, others = (result.fitted.learner.model.state_dict() for result in (quick, plain))
    assert mine.keys() == others.keys()
    for name in mine:
        torch.testing.assert_close(mine[name], others[name], rtol=1e-3, atol=1e-4)


def test_the_backbone_is_asked_once_for_each_picture(frozen, cohort, pixels, cpu, monkeypatch):
    asked = []
    forward = features.predict_batches
    monkeypatch.setattr(features, "predict_batches", lambda body, *rest: asked.append(len(rest[0])) or forward(body, *rest))
    result = classifier_learner(frozen, cohort, pixels, cpu).fit_recipe()
    assert asked == [len(cohort)]
    assert parameter_counts(result.fitted.learner.model)[0] == parameter_counts(build_model(frozen, 3, (64, 64)))[0]


@pytest.mark.parametrize(
    "change",
    [
        {"data": {"augment": "fastai_default"}},
        {"mixup_alpha": 0.2},
        {"freeze_backbone": False},
        {"model": Model(arch="efficientnet_b0", head="avgpool-dense")},  # drops layers at random
    ],
)
def test_what_changes_from_epoch_to_epoch_is_not_remembered(frozen, cpu, change):
    recipe = changed(frozen, **change)
    network = build_model(frozen if "model" not in change else recipe, 3, (64, 64))
    assert features.can_cache_features(frozen, build_model(frozen, 3, (64, 64)), 10, (64, 64), cpu)
    assert not features.can_cache_features(recipe, network, 10, (64, 64), cpu)


def test_more_features_than_fit_are_not_remembered(frozen, cpu):
    assert not features.can_cache_features(frozen, build_model(frozen, 3, (64, 64)), 10**7, (64, 64), cpu)

"""The numbers of one tiny fit, written down: a change of the split, the normalization, the augmentation, the initialization, the
schedule, the optimizer or the loss is seen here, and whoever makes it says why."""

import pytest

from darkcovid.vision import learner as learners
from darkcovid.vision.learner import classifier_learner

from .test_compiled import smooth_model

LOSSES = [1.12380, 1.10218, 1.08181, 1.09583, 1.05579, 1.08902]


def test_three_epochs_give_the_losses_written_down(tiny_recipe, cohort, pixels, cpu, monkeypatch):
    """Of a model whose gradient is continuous, so that processors agree; see `smooth_model`."""
    monkeypatch.setattr(learners, "build_model", smooth_model)
    history = classifier_learner(tiny_recipe, cohort, pixels, cpu).fit_recipe().fitted.history
    losses = [value for row in history.rows for value in (row["train_loss"], row["valid_loss"])]
    assert losses == pytest.approx(LOSSES, abs=1e-4), losses

"""What a recipe would cost, of cohorts and networks of all kinds."""

from types import SimpleNamespace

import numpy as np
import pytest

from darkcovid.data.cohort import load_classification_cohort
from darkcovid.experiment import dry_run as subject
from darkcovid.experiment.dry_run import BATCHES, dry_run
from darkcovid.recipe.recipe import validate

BASE = {
    "name": "estimated",
    "data": {"manifest": "phantom", "image_size": 64, "phantom": {"patients": 45, "image_size": 64}},
    "training": {"batch_size": 4, "epochs": 3, "precision": "fp32"},
}
PROBE = {"arch": "resnet18", "weights": "none", "grayscale": True}


@pytest.mark.parametrize("model", [PROBE | {"head": "linear-probe"}, PROBE | {"head": "nearest-neighbors"}, {"arch": "cnn13"}])
def test_a_manifest_sorted_by_class_is_estimated(model, cache_dir, monkeypatch):
    def by_class(data, cache):
        cohort = load_classification_cohort(data, cache)
        return cohort.take(np.argsort(cohort.labels, kind="stable"))

    monkeypatch.setattr(subject, "load_classification_cohort", by_class)
    plan = dry_run(validate(BASE | {"model": model}, where=""), cache_dir, [])
    (arm,) = plan.arms.values()
    assert arm.train_seconds > 0
    assert arm.epochs == (1 if "head" in model else 3)


def test_the_few_images_have_every_class():
    labels = np.repeat([0, 1, 2], [50, 3, 20])
    cohort = SimpleNamespace(labels=labels)
    rows = np.arange(len(labels)) % 2 == 0
    first = subject._classes_in_turn(cohort, rows)
    assert first[:6].tolist() == [0, 50, 54, 2, 52, 56]
    assert sorted(first) == np.flatnonzero(rows).tolist()
    assert set(labels[first[: BATCHES * 4]]) == {0, 1, 2}

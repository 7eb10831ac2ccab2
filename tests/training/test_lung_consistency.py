"""Batches whose outsides are exchanged, and the penalty of predictions that then differ."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon

from darkcovid.core.errors import UsageError
from darkcovid.data.loaders import array_loaders
from darkcovid.recipe import Augmentation
from darkcovid.recipe.recipe import validate
from darkcovid.training.loss import class_probabilities
from darkcovid.training.lung_consistency import LungConsistency, jensen_shannon

from ..data.test_loaders import CPU, UNIT

OPTIONS = {"normalizer": UNIT, "augmentation": None, "batch_size": 8, "compute": CPU}


def test_the_divergence_is_scipy_s():
    random = np.random.default_rng(0)
    one, other = (random.dirichlet(np.ones(3), 5) for _ in range(2))
    one[0] = [1, 0, 0]
    expected = np.mean(jensenshannon(one, other, axis=1) ** 2)
    assert float(jensen_shannon(*map(torch.from_numpy, (one, other)))) == pytest.approx(expected, abs=1e-5)
    certain = torch.eye(2)
    assert float(jensen_shannon(certain, certain)) == 0
    assert float(jensen_shannon(certain, certain.flip(0))) == pytest.approx(np.log(2), abs=1e-5)


@pytest.mark.parametrize(
    "logits", [[[200.0, 0.0], [200.0, 0.0]], [[200.0, 0.0], [0.0, 200.0]], [[18.0], [18.0]], [[40.0], [-40.0]]]
)
def test_certain_predictions_have_finite_gradients(logits):
    logits = torch.tensor(logits, requires_grad=True)
    loss = jensen_shannon(*class_probabilities(logits).chunk(2))
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()


def test_predictions_that_differ_cost_and_train_towards_each_other():
    logits = torch.tensor([[2.0, 0.0], [0.0, 0.0], [2.0, 0.0], [3.0, 0.0]], requires_grad=True)
    callback = LungConsistency(2.0)
    callback.learn = SimpleNamespace(training=True, pred=logits, loss_grad=torch.tensor(1.0))
    callback.after_loss()
    halves = logits.softmax(1).chunk(2)
    torch.testing.assert_close(callback.learn.loss_grad, 1 + 2 * jensen_shannon(*halves))
    callback.learn.loss_grad.backward()
    assert torch.equal(logits.grad[[0, 2]], torch.zeros(2, 2))  # they agree
    assert logits.grad[1, 0] < 0 < logits.grad[3, 0]
    callback.learn = SimpleNamespace(training=False)
    callback.after_loss()
    assert vars(callback.learn) == {"training": False}


@pytest.mark.parametrize("channels", [1, 2])
def test_a_batch_comes_twice_with_its_own_lungs_and_other_outsides(cohort, pixels, channels):
    pixels = np.asarray(pixels) if channels == 1 else np.stack([pixels, 255 - np.asarray(pixels)], 1)
    areas = np.zeros(pixels.shape, np.uint8)
    areas[..., 20:40, 16:50] = 1
    trusted = np.arange(len(cohort)) % 4 > 0
    dls = array_loaders(cohort, pixels, kept=(areas, trusted), **OPTIONS)
    torch.manual_seed(0)
    changed = 0
    for images, labels in dls.train:
        rows = dls.train.batches[-1]
        assert len(images) == len(labels) == len(rows) == 16 and (rows[:8] == rows[8:]).all()
        np.testing.assert_array_equal(labels, cohort.labels[rows])
        seen = (images * 255).round().numpy().astype(np.uint8).reshape(16, *pixels.shape[1:])
        np.testing.assert_array_equal(seen[:8], pixels[rows[:8]])
        for image, row in zip(seen[8:], rows[:8], strict=True):
            own = (areas[row] > 0) | ~trusted[row]
            np.testing.assert_array_equal(image[own], pixels[row][own])
            assert any(np.array_equal(image[~own], pixels[other][~own]) for other in rows[:8])
            changed += not np.array_equal(image, pixels[row])
    assert changed > 0.5 * cohort.train.sum()
    images, labels = dls.valid.one_batch()
    assert len(dls.valid.items) == cohort.valid.sum() and sum(len(labels) for _, labels in dls.valid) == cohort.valid.sum()


def test_both_halves_are_altered_by_draws_of_their_own(cohort, pixels):
    kept = np.ones(np.asarray(pixels).shape, np.uint8)  # nothing is exchanged
    dls = array_loaders(
        cohort, pixels, kept=(kept, np.ones(len(cohort), bool)), **OPTIONS | {"augmentation": Augmentation(rotate=20.0)}
    )
    images, _ = dls.train.one_batch()
    assert not torch.equal(images[:8], images[8:])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": {"arch": "resnet18", "head": "linear-probe"}}, "trained by epochs"),
        ({"lungs": {"mode": "mask"}}, "mask erases"),
        ({"lungs": {"mode": "outside"}}, "outside erases"),
        ({"training": {"cutmix_alpha": 0.2}}, "cutmix_alpha"),
    ],
)
def test_what_contradicts_is_refused(change, said):
    recipe = {"name": "x", "data": {"manifest": "phantom"}} | change
    recipe["training"] = change.get("training", {}) | {"lung_consistency": 1.0}
    with pytest.raises(UsageError, match=said):
        validate(recipe, where="")

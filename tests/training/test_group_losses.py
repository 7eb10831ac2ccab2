"""Groups of class and source: their losses by hand, their batches, and resumed fits."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional

from darkcovid.core.errors import UsageError
from darkcovid.data.loaders import array_loaders, source_weights
from darkcovid.recipe import Loss
from darkcovid.recipe.recipe import validate
from darkcovid.training.group_losses import DRO_STEP, GroupLoss

from ..data.test_loaders import CPU, UNIT

GROUPS = np.array([0, 0, 0, 1, 2, 2, 5])
PROBE = {"arch": "resnet18", "head": "linear-probe"}
TRAIN = np.array([True, True, True, True, True, True, False])


def applied(loss, rows, logits, labels):
    """The loss that a callback makes of a batch."""
    train = SimpleNamespace(batches=[np.array(rows)])
    learn = SimpleNamespace(dls=SimpleNamespace(train=train), training=True, iter=0, pred=logits, yb=(labels,))
    loss.learn = learn
    loss.after_loss()
    return learn


def test_every_group_weighs_the_same():
    torch.manual_seed(0)
    logits, labels = torch.randn(6, 2), torch.tensor([0, 0, 0, 1, 0, 0])
    each = functional.cross_entropy(logits, labels, reduction="none")
    learn = applied(GroupLoss(GROUPS, TRAIN, Loss(groups="reweighted")), range(6), logits, labels)
    torch.testing.assert_close(learn.loss_grad, (each[:3].mean() + each[3] + each[4:].mean()) / 3)
    assert learn.loss is not learn.loss_grad


def test_the_worst_group_weighs_more_from_step_to_step():
    torch.manual_seed(0)
    logits, labels = torch.randn(6, 2), torch.tensor([0, 0, 0, 1, 0, 0])
    each = functional.cross_entropy(logits, labels, reduction="none")
    means = torch.stack([each[:3].mean(), each[3], each[4:].mean()])
    loss = GroupLoss(GROUPS, TRAIN, Loss(groups="dro"))
    assert loss.weights == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0, 0, 0])
    expected = torch.exp(DRO_STEP * means) / torch.exp(DRO_STEP * means).sum()
    learn = applied(loss, range(6), logits, labels)
    torch.testing.assert_close(learn.loss_grad, (expected * means).sum())
    for _ in range(300):
        applied(loss, range(6), logits, labels)
    assert np.argmax(loss.weights) == int(means.argmax()) and max(loss.weights) > 0.5
    absent = applied(loss, [0, 1], logits[:2], labels[:2])  # groups that are not in a batch add nothing
    torch.testing.assert_close(absent.loss_grad, loss.weights[0] * each[:2].mean())


def test_validation_keeps_its_loss():
    loss = GroupLoss(GROUPS, TRAIN, Loss(groups="dro"))
    loss.learn = SimpleNamespace(training=False)
    loss.after_loss()
    assert vars(loss.learn) == {"training": False}


def test_an_epoch_has_every_class_and_every_source_of_it_as_often(cohort, pixels):
    sources = np.zeros(len(cohort), int)
    for label in range(3):
        sources[np.flatnonzero(cohort.train & (cohort.labels == label))[:2]] = 1
    weights = source_weights(cohort.labels, sources, cohort.train)
    assert (weights[~cohort.train] == 0).all()
    for label in np.unique(cohort.labels):
        of_class = cohort.labels == label
        assert weights[of_class].sum() == pytest.approx(1)
        assert weights[of_class & (sources == 1)].sum() == pytest.approx(0.5)
    np.random.seed(0)  # noqa: NPY002 (the one that fastai draws from)
    options = {"normalizer": UNIT, "augmentation": None, "batch_size": 8, "compute": CPU}
    dls = array_loaders(cohort, pixels, sources=sources, **options)
    drawn = []
    for _ in range(40):
        assert sum(len(labels) for _, labels in dls.train) == cohort.train.sum() // 8 * 8
        drawn += dls.train.batches
    rows = np.concatenate(drawn)
    assert cohort.train[rows].all()
    groups = 2 * cohort.labels[rows] + sources[rows]
    np.testing.assert_allclose(np.bincount(groups) / len(rows), np.full(6, 1 / 6), atol=0.03)
    valid = torch.cat([labels for _, labels in dls.valid])
    np.testing.assert_array_equal(valid, cohort.labels[cohort.valid])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"training": {"loss": {"groups": "dro", "class_weights": "balanced"}}}, "groups is a loss of its own"),
        ({"training": {"loss": {"groups": "dro"}, "mixup_alpha": 0.2}}, "no mixup or CutMix"),
        ({"model": PROBE, "training": {"loss": {"groups": "dro"}}}, "trained by epochs"),
    ],
)
def test_what_contradicts_is_refused(change, said):
    with pytest.raises(UsageError, match=said):
        validate({"name": "x", "data": {"manifest": "phantom"}} | change, where="")

import numpy as np
import pytest
import torch

from darkcovid.recipe import Loss
from darkcovid.training.loss import batch_weight, make_task

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.0], [0.5, 0.5, 3.0]])
LABELS = torch.tensor([0, 2, 2])
CPU = torch.device("cpu")


def objective(activation="softmax", labels=(0, 1, 2), classes=3, **loss):
    return make_task(activation, Loss(**loss), np.array(labels), classes, CPU)


def test_cross_entropy_by_hand():
    chosen = LOGITS.log_softmax(1)[range(3), LABELS]
    assert float(objective().loss(LOGITS, LABELS)) == pytest.approx(-float(chosen.mean()))


def test_balanced_weights_give_each_class_the_same_say():
    labels = [0] * 6 + [1] * 3 + [2]
    weights = torch.tensor([10 / 18, 10 / 9, 10 / 3])
    chosen = -LOGITS.log_softmax(1)[range(3), LABELS] * weights[LABELS]
    expected = chosen.sum() / weights[LABELS].sum()
    assert float(objective(labels=labels, class_weights="balanced").loss(LOGITS, LABELS)) == pytest.approx(float(expected))


def test_the_focal_loss_by_hand():
    log_p = LOGITS.log_softmax(1)[range(3), LABELS]
    expected = (-((1 - log_p.exp()) ** 2) * log_p).mean()
    assert float(objective(focal_gamma=2.0).loss(LOGITS, LABELS)) == pytest.approx(float(expected))


def test_label_smoothing_by_hand():
    log_p = LOGITS.log_softmax(1)
    target = torch.full((3, 3), 0.1 / 3)
    target[range(3), LABELS] += 0.9
    assert float(objective(label_smoothing=0.1).loss(LOGITS, LABELS)) == pytest.approx(-float((target * log_p).sum(1).mean()))


def test_one_logit_speaks_for_the_first_class():
    sigmoid = objective("sigmoid", labels=(0, 1), classes=2)
    logits, labels = torch.tensor([[2.0], [-1.0], [0.5]]), torch.tensor([0, 1, 1])
    p = logits[:, 0].sigmoid()
    expected = -(p[0].log() + (1 - p[1]).log() + (1 - p[2]).log()) / 3
    assert float(sigmoid.loss(logits, labels)) == pytest.approx(float(expected))
    torch.testing.assert_close(sigmoid.probabilities(logits), torch.stack([p, 1 - p], 1))
    assert sigmoid.correct(logits, labels).tolist() == [True, True, False]


@pytest.mark.parametrize("how", [{}, {"label_smoothing": 0.1}, {"focal_gamma": 2.0}, {"activation": "sigmoid"}])
@pytest.mark.parametrize("class_weights", ["none", "balanced"])
def test_the_loss_of_a_set_does_not_depend_on_its_batches(how, class_weights):
    """7 images in batches of 7, 3 and 2, of unequal classes: one mean. Weighted by images it was .700 against .684."""
    random = torch.Generator().manual_seed(0)
    classes = 2 if how.get("activation") else 3
    logits = torch.randn(7, 1 if how.get("activation") else classes, generator=random)
    labels = torch.tensor([0, 1, classes - 1, 0, 0, 0, 1])
    loss = objective(labels=[0] * 8 + [1] * 3 + [classes - 1], classes=classes, class_weights=class_weights, **how).loss
    means = []
    for size in (7, 3, 2):
        batches = [
            (loss(*pair), batch_weight(loss, pair[1])) for pair in zip(logits.split(size), labels.split(size), strict=True)
        ]
        means.append(float(sum(value * weight for value, weight in batches) / sum(weight for _, weight in batches)))
    assert means == pytest.approx([means[0]] * 3, rel=1e-5)

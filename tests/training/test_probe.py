"""Probes: a frozen backbone's features, and a head that is fitted to them at once."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from darkcovid.core.device import get_device
from darkcovid.core.errors import UsageError
from darkcovid.models.probes import LinearProbe, NearestNeighbors
from darkcovid.recipe.recipe import validate
from darkcovid.training import probe
from darkcovid.vision.learner import classifier_learner

CPU = get_device("cpu", "fp32")


def learner(cohort, pixels, head="linear-probe", **model):
    data = {"manifest": "phantom", "image_size": 64, "normalize": "imagenet"}
    recipe = {"name": "a", "data": data, "model": {"arch": "resnet18", "head": head, **model}, "training": {"epochs": 30}}
    return classifier_learner(validate(recipe, where=""), cohort, pixels, CPU)


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch):
    monkeypatch.setattr(probe, "_features", {})


@pytest.mark.parametrize("head", ["linear-probe", "nearest-neighbors"])
def test_a_probe_is_fitted_in_one_epoch_and_leaves_the_backbone_alone(cohort, pixels, head):
    made = learner(cohort, pixels, head)
    before = {name: value.clone() for name, value in made.model.body.state_dict().items()}
    seen = []
    result = made.fit_recipe(probe.FitOptions(on_epoch=lambda history: seen.append(len(history.rows))))
    assert seen == [1]
    assert all(torch.equal(value, before[name]) for name, value in made.model.body.state_dict().items())
    row = result.fitted.history.rows[0]
    valid = result.probabilities[cohort.valid]
    assert row["accuracy"] == pytest.approx((valid.argmax(1) == cohort.labels[cohort.valid]).mean())
    assert row["valid_loss"] == pytest.approx(-np.log(valid[np.arange(len(valid)), cohort.labels[cohort.valid]]).mean(), rel=1e-4)
    assert row["seconds"] >= row["data_seconds"] > 0


@pytest.mark.parametrize("head", ["linear-probe", "nearest-neighbors"])
def test_its_probabilities_are_those_that_the_network_gives(cohort, pixels, head):
    made = learner(cohort, pixels, head)
    result = made.fit_recipe()
    np.testing.assert_allclose(result.probabilities, made.probabilities(pixels), atol=1e-5)


@pytest.mark.parametrize("head", ["linear-probe", "nearest-neighbors"])
def test_validation_images_have_no_part_in_it(cohort, pixels, head):
    first = learner(cohort, pixels, head).fit_recipe().probabilities
    changed = np.array(pixels)
    changed[cohort.valid] = 0
    second = learner(cohort, changed, head).fit_recipe().probabilities
    np.testing.assert_array_equal(first[cohort.train], second[cohort.train])


@pytest.mark.parametrize(("classes", "outputs"), [(3, 3), (2, 2), (2, 1)])
def test_the_linear_head_is_scikit_learn_s_regression(classes, outputs):
    random = np.random.RandomState(0)
    labels = np.arange(120) % classes
    features = (random.randn(120, 5) * [1, 5, 0.1, 2, 1] + 3 + labels[:, None] * [1, 0, 0.1, 0, 0]).astype(np.float32)
    head = LinearProbe(5, outputs)
    probe._fit_linear(head, features, labels, np.arange(120).astype(str), balanced=False)
    with torch.no_grad():
        logits = head.classify(torch.from_numpy(features))
    ours = torch.sigmoid(logits) if outputs == 1 else logits.softmax(1)[:, :1]
    scaled = (features - features.mean(0)) / features.std(0)
    theirs = [
        LogisticRegression(C=penalty, max_iter=2000).fit(scaled, labels).predict_proba(scaled)[:, :1]
        for penalty in probe.PENALTIES
    ]
    assert min(np.abs(ours.numpy() - of_one).max() for of_one in theirs) < 1e-3


def test_the_penalty_is_chosen_on_patients_left_out(monkeypatch):
    """Twenty images of each of six patients: by images, noise that tells patients apart would pass for signal."""
    groups = []
    monkeypatch.setattr(probe, "_left_out_loss", lambda model, features, labels, patients: groups.append(patients) or model.C)
    random = np.random.RandomState(0)
    patients, labels = np.repeat(list("abcdef"), 20), np.repeat([0, 1] * 3, 20)
    probe._fit_linear(LinearProbe(4, 2), random.randn(120, 4).astype(np.float32), labels, patients, balanced=False)
    assert len(groups) == len(probe.PENALTIES)
    assert all((of_one == patients).all() for of_one in groups)


def test_no_patient_is_on_both_sides_of_an_inner_fold(monkeypatch):
    seen = []

    class Watched(LogisticRegression):
        def fit(self, features, labels):
            seen.append(set(features[:, 0]))
            return super().fit(features, labels)

        def predict_proba(self, features):
            assert not seen[-1] & set(features[:, 0])
            return super().predict_proba(features)

    patients = np.repeat(np.arange(12), 5)
    features = np.stack([patients.astype(float), np.random.RandomState(0).randn(60)], 1)
    probe._left_out_loss(Watched(), features, patients % 2, patients)
    assert len(seen) == probe.INNER_FOLDS


def test_neighbors_vote_by_similarity():
    head = NearestNeighbors(2, 2)
    head.allocate(3)
    head.features.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]))
    head.classes.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]))
    similarity = torch.tensor([0.8, 0.6, 0.96])
    weights = torch.exp(similarity / 0.07)
    expected = torch.stack([weights[0], weights[1] + weights[2]]) / weights.sum()
    torch.testing.assert_close(head.classify(torch.tensor([[8.0, 6.0]])).exp()[0], expected)


def test_features_are_computed_once_for_both_probes_and_all_folds(cohort, pixels, monkeypatch):
    passes = []
    plain = probe.predict_batches
    monkeypatch.setattr(probe, "predict_batches", lambda *args: passes.append(1) or plain(*args))
    first = learner(cohort, pixels).fit_recipe()
    second = learner(cohort, pixels, "nearest-neighbors").fit_recipe()
    assert len(passes) == 1
    assert first.fitted.history.rows[0]["data_seconds"] == second.fitted.history.rows[0]["data_seconds"]
    learner(cohort, 255 - np.array(pixels)).fit_recipe()
    assert len(passes) == 2


def test_neighbors_do_not_vote_with_one_logit():
    with pytest.raises(UsageError, match=r"model: nearest-neighbors vote for classes; leave out activation sigmoid"):
        validate({"name": "a", "model": {"head": "nearest-neighbors", "activation": "sigmoid"}}, where="")

"""Probes: a frozen backbone's features, and a head that is fitted to them at once."""

from dataclasses import replace

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
    probe._fit_linear(head, features, labels, np.arange(120).astype(str), None)
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
    groups, losses = [], dict(zip(probe.PENALTIES, [5, 4, 1, 2, 3, 6], strict=True))
    monkeypatch.setattr(probe, "_left_out_loss", lambda model, *given: groups.append(given[-1]) or losses[model.C])
    random = np.random.RandomState(0)
    patients, labels = np.repeat(list("abcdef"), 20), np.repeat([0, 1] * 3, 20)
    features, head = random.randn(120, 4).astype(np.float32), LinearProbe(4, 2)
    probe._fit_linear(head, features, labels, patients, None)
    assert len(groups) == len(probe.PENALTIES)
    assert all(not set(patients[train]) & set(patients[left_out]) for train, left_out in groups[0])
    scaled = (features - features.mean(0)) / features.std(0)
    least = LogisticRegression(C=probe.PENALTIES[2], max_iter=2000, random_state=0).fit(scaled, labels)
    with torch.no_grad():
        ours = head.classify(torch.from_numpy(features)).softmax(1).numpy()
    np.testing.assert_allclose(ours, least.predict_proba(scaled), atol=1e-4)


@pytest.mark.parametrize(
    ("labels", "patients"), [([0, 1] * 20, ["a", "b"] * 20), ([0, 0, 1, 1], list("abcd")), ([0, 1, 2], list("abc"))]
)
def test_where_there_are_too_few_patients_to_choose_a_penalty_by_it_is_1(labels, patients):
    labels = np.array(labels)
    features = (np.random.RandomState(0).randn(len(labels), 4) + 9 * np.eye(4)[labels]).astype(np.float32)
    head = LinearProbe(4, labels.max() + 1)
    probe._fit_linear(head, features, labels, np.array(patients), None)
    with torch.no_grad():
        predicted = head.classify(torch.from_numpy(features)).softmax(1).numpy()
    assert (predicted[np.arange(len(labels)), labels] > 0.5).all()


def test_no_patient_is_on_both_sides_of_an_inner_fold(monkeypatch):
    seen = []

    class Watched(LogisticRegression):
        def fit(self, features, labels, weights):
            seen.append(set(features[:, 0]))
            return super().fit(features, labels, weights)

        def predict_proba(self, features):
            assert not seen[-1] & set(features[:, 0])
            return super().predict_proba(features)

    patients = np.repeat(np.arange(12), 5)
    features = np.stack([patients.astype(float), np.random.RandomState(0).randn(60)], 1)
    probe._left_out_loss(Watched(), features, patients % 2, np.ones(60), probe._inner_folds(patients % 2, patients))
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


def test_features_are_of_one_network_alone_even_where_another_has_the_same_weights(cohort, pixels):
    """timm's two EfficientNet-Lite0 differ in padding, not in names."""
    each = [learner(cohort, pixels, arch=f"timm/{name}").fit_recipe() for name in ("tf_efficientnet_lite0", "efficientnet_lite0")]
    weights = [result.fitted.learner.model.body.state_dict() for result in each]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    for result in each:
        np.testing.assert_allclose(result.predict(pixels), result.probabilities, atol=1e-5)


def test_neighbors_are_told_apart_in_fp32_also_under_bf16():
    torch.manual_seed(0)
    head = NearestNeighbors(64, 2)
    head.allocate(200)
    features = torch.randn(200, 64) * 0.02 + 1  # alike, as a network's are
    head.features.copy_(torch.nn.functional.normalize(features))
    head.classes.copy_(torch.eye(2)[torch.arange(200) % 2])
    plain = head.classify(features)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(head.classify(features), plain)


def test_rarer_classes_weigh_as_much_where_they_are_oversampled(cohort, pixels):
    few = cohort.take(np.flatnonzero((cohort.labels > 0) | cohort.valid | (np.arange(len(cohort)) % 7 == 0)))
    pictures = np.array(pixels)[: len(few)]
    each = []
    for changed in ({}, {"oversample": True}):
        data = {"manifest": "phantom", "image_size": 64, "normalize": "imagenet", **changed}
        recipe = {"name": "a", "data": data, "model": {"arch": "resnet18", "head": "linear-probe"}}
        each.append(classifier_learner(validate(recipe, where=""), few, pictures, CPU).fit_recipe().probabilities)
    assert each[1][:, 0].mean() > each[0][:, 0].mean()
    recipe["model"]["head"] = "nearest-neighbors"
    with pytest.raises(UsageError, match=r"nearest-neighbors vote by their number; leave out data\.oversample"):
        validate(recipe, where="")


def test_an_image_of_weight_two_counts_like_two_images(monkeypatch):
    random = np.random.RandomState(0)
    labels, patients = np.arange(40) % 2, np.repeat(np.arange(20), 2)
    features = (random.randn(40, 3) + labels[:, None] * np.where(patients < 10, 2, -1)[:, None]).astype(np.float32)
    weights = np.where(patients < 10, 4 / 3, 2 / 3)  # of mean 1, as the mean of the repeated images is
    answers = []
    for rows, counts in ((np.arange(40), weights), (np.r_[np.arange(40), np.arange(20)], None), (np.arange(40), None)):
        head = LinearProbe(3, 2)
        scale = len(rows) / 40  # the penalty is for the sum over images
        monkeypatch.setattr(probe, "PENALTIES", (0.5 / scale,))
        probe._fit_linear(head, features[rows], labels[rows], patients[rows], counts)
        answers.append(head.classify(torch.from_numpy(features)).softmax(1).detach())
    torch.testing.assert_close(answers[0], answers[1], atol=1e-3, rtol=0)
    assert (answers[0] - answers[2]).abs().max() > 0.05


def test_a_linear_probe_does_not_learn_what_its_sources_are_where_they_are_balanced(cohort, pixels):
    """Two hospitals whose images differ in brightness, one of which sends most of the first class."""
    random = np.random.default_rng(0)
    north = random.random(len(cohort)) < np.where(cohort.labels == 0, 0.9, 0.1)
    rows = cohort.rows.assign(dataset=np.where(north, "north", "south"))
    pictures = random.integers(0, 60, (len(cohort), 64, 64), dtype=np.uint8) + np.where(north, 120, 0)[:, None, None].astype(
        np.uint8
    )
    share = []
    for changed in ({}, {"oversample": "sources"}):
        data = {"manifest": "phantom", "image_size": 64, "normalize": "imagenet", "split": {"column": "dataset"}, **changed}
        recipe = {"name": "a", "data": data, "model": {"arch": "resnet18", "head": "linear-probe"}}
        made = classifier_learner(validate(recipe, where=""), replace(cohort, rows=rows), pictures, CPU)
        first = made.fit_recipe().probabilities[:, 0]
        share.append(first[north].mean() - first[~north].mean())
    assert share[0] > 0.4 and abs(share[1]) < 0.2


def test_epochs_of_a_notebook_do_not_reach_a_probe(cohort, pixels):
    probed = learner(cohort, pixels)
    before = {name: value.clone() for name, value in probed.model.state_dict().items()}
    with pytest.raises(UsageError, match=r"^linear-probe: a probe is fitted at once, without epochs; use learn\.fit_recipe\(\)"):
        probed.fit_one_cycle(1)
    assert all(torch.equal(value, before[name]) for name, value in probed.model.state_dict().items())


def test_neighbors_do_not_vote_with_one_logit():
    with pytest.raises(UsageError, match=r"model: nearest-neighbors vote for classes; leave out activation sigmoid"):
        validate({"name": "a", "model": {"head": "nearest-neighbors", "activation": "sigmoid"}}, where="")

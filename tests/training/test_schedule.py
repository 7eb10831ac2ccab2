"""Rates against their definitions, phases, and that a killed fit ends like a whole one whatever was asked for."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from fastai.callback.core import Callback

from darkcovid.core.device import get_device
from darkcovid.core.errors import UsageError
from darkcovid.evaluation.evaluate import averaged_views
from darkcovid.metrics.classification import classification_metrics, get_metric
from darkcovid.models import create_model
from darkcovid.recipe import Augmentation, Loss, Model, Optimizer, Plateau, Recipe
from darkcovid.training.classifier import predict_proba
from darkcovid.training.early_stopping import should_stop_early
from darkcovid.training.fit import FitOptions, gradual_splitter
from darkcovid.training.history import History
from darkcovid.training.loss import make_task
from darkcovid.training.monitored_metric import monitored_values
from darkcovid.training.schedule import lr_multiplier, phases, total_epochs
from darkcovid.vision.learner import classifier_learner

from .test_fit import Stop, numbers

RESNET = Model(arch="timm/resnet10t", grayscale=True, head="avgpool-dense")


def changed(recipe, model=None, data=None, **training):
    """The recipe with some keys replaced."""
    update = {"training": recipe.training.model_copy(update=training)}
    if model is not None:
        update["model"] = model
    if data is not None:
        update["data"] = recipe.data.model_copy(update=data)
    return recipe.model_copy(update=update)


def history_of(values, metric="accuracy"):
    rows = [{"epoch": i + 1, "train_loss": 1.0, "valid_loss": 1 - value, metric: value} for i, value in enumerate(values)]
    return History(metric, rows)


OPTIONS = {
    "average and best": {"ema_decay": 0.9, "checkpoint": "best"},
    "best loss": {"checkpoint": "best", "monitor": "loss", "schedule": "flat_cos"},
    "mixup and clipping": {"mixup_alpha": 0.4, "clip_grad_norm": 1.0},
    "cutmix_alpha": {"cutmix_alpha": 1.0, "schedule": "exponential", "lr_gamma": 0.5},
    "reduce_lr_on_plateau": {"schedule": "constant", "reduce_lr_on_plateau": Plateau(patience=1, factor=0.5)},
    "early stopping": {"schedule": "constant", "early_stopping_patience": 1, "lr": 1e-9},
    "any figure": {"schedule": "constant", "early_stopping_patience": 2, "checkpoint": "best", "monitor": "roc_auc"},
    "rmsprop": {"schedule": "constant", "optimizer": Optimizer(name="rmsprop", momentum=0.0)},
    "sgd": {"optimizer": Optimizer(name="sgd", decay_norm_and_bias=True)},
}
TRANSFER = {
    "freeze_backbone": {"freeze_backbone": True},
    "unfrozen later": {"unfreeze_epoch": 1},
    "unfrozen at the stop": {"unfreeze_epoch": 2},
    "fine_tune": {"schedule": "fine_tune", "epochs": 2},
    "gradual unfreezing": {"schedule": "gradual_unfreezing", "epochs": 1},
}


CASES = [*((Model(), options) for options in OPTIONS.values()), *((RESNET, options) for options in TRANSFER.values())]


@pytest.mark.slow
@pytest.mark.parametrize(("model", "training"), CASES, ids=[*OPTIONS, *TRANSFER])
def test_a_killed_fit_ends_like_a_whole_one_whatever_was_asked_for(tiny_recipe, cohort, pixels, cpu, tmp_path, model, training):
    recipe = changed(tiny_recipe, model, **training)
    whole = classifier_learner(recipe, cohort, pixels, cpu).fit_recipe()

    def stop_after_two(history):
        if len(history.rows) == 2:
            raise Stop

    path = tmp_path / "checkpoint.safetensors"
    if len(whole.fitted.history.rows) > 2:
        with pytest.raises(Stop):
            classifier_learner(recipe, cohort, pixels, cpu).fit_recipe(FitOptions(checkpoint=path, on_epoch=stop_after_two))
    else:
        classifier_learner(recipe, cohort, pixels, cpu).fit_recipe(FitOptions(checkpoint=path))
    resumed = classifier_learner(recipe, cohort, pixels, cpu).fit_recipe(FitOptions(checkpoint=path, resume=True))
    assert numbers(resumed.fitted.history) == numbers(whole.fitted.history)
    assert resumed.fitted.history.lrs == whole.fitted.history.lrs
    np.testing.assert_array_equal(resumed.probabilities, whole.probabilities)


def test_the_exponential_rate_is_001_times_06_to_the_epoch(tiny_recipe, cohort, pixels, cpu):
    """System C, experiment 3."""
    recipe = changed(tiny_recipe, schedule="exponential", lr=0.01, lr_gamma=0.6)
    rows = classifier_learner(recipe, cohort, pixels, cpu).fit_recipe().fitted.history.rows
    assert [row["lr"] for row in rows] == pytest.approx([0.01, 0.006, 0.0036])


def test_fastai_v1s_one_cycle_of_system_a(tiny_recipe, cohort, pixels, cpu):
    """Cosine from lr/25 to the peak over 30 % of the steps, then down to lr/250,000."""
    recipe = changed(tiny_recipe, warmup_fraction=0.3, div_final=2.5e5)
    lrs = classifier_learner(recipe, cohort, pixels, cpu).fit_recipe().fitted.history.lrs
    done = np.arange(len(lrs)) / len(lrs)
    up, down = done / 0.3, (done - 0.3) / 0.7
    rising = 3e-3 / 25 + (1 - np.cos(np.pi * up)) / 2 * (3e-3 - 3e-3 / 25)
    falling = 3e-3 + (1 - np.cos(np.pi * down)) / 2 * (3e-3 / 2.5e5 - 3e-3)
    np.testing.assert_allclose(lrs, np.where(done < 0.3, rising, falling), rtol=1e-6)


def test_fine_tuning_trains_the_head_then_all_of_it_with_lower_rates_below(tiny_recipe, cohort, pixels, cpu):
    recipe = changed(tiny_recipe, RESNET, schedule="fine_tune", epochs=1)
    assert total_epochs(recipe) == 2
    learner = classifier_learner(recipe, cohort, pixels, cpu).fit_recipe().fitted.learner
    below, above = (group["lr"] for group in learner.opt.hypers)
    assert above == pytest.approx(100 * below)


@pytest.mark.parametrize(("training", "moved"), [({"freeze_backbone": True}, False), ({"unfreeze_epoch": 1}, True)])
def test_a_frozen_backbone_does_not_move_at_all(tiny_recipe, cohort, pixels, cpu, training, moved):
    recipe = changed(tiny_recipe, RESNET, epochs=2, **training)
    before = classifier_learner(recipe, cohort, pixels, cpu).model.state_dict()
    after = classifier_learner(recipe, cohort, pixels, cpu).fit_recipe().fitted.learner.model.state_dict()
    states = {part: all(torch.equal(before[n], after[n]) for n in before if n.startswith(part)) for part in ("body.", "head.")}
    assert states == {"body.": not moved, "head.": False}


def test_a_network_without_a_backbone_cannot_be_frozen(tiny_recipe, cohort, pixels, cpu):
    with pytest.raises(UsageError, match="no backbone to freeze"):
        classifier_learner(changed(tiny_recipe, freeze_backbone=True), cohort, pixels, cpu).fit_recipe()


def test_the_plateau_lowers_the_rate_each_time_the_metric_stands_still(tiny_recipe):
    training = changed(tiny_recipe, schedule="constant", reduce_lr_on_plateau=Plateau(patience=2, factor=0.1)).training
    assert lr_multiplier(history_of([0.5, 0.6, 0.6]), training) == 1
    assert lr_multiplier(history_of([0.5, 0.6, 0.6, 0.5]), training) == pytest.approx(0.1)
    assert lr_multiplier(history_of([0.5, 0.6, 0.6, 0.5, 0.6, 0.6]), training) == pytest.approx(0.01)
    assert lr_multiplier(history_of([0.5, 0.6, 0.6, 0.7, 0.6]), training) == 1


def test_a_history_is_stale_once_its_best_is_old_enough(tiny_recipe):
    patient = changed(tiny_recipe, early_stopping_patience=2).training
    assert monitored_values(History("accuracy"), "f1") == []
    assert not should_stop_early(History("accuracy"), patient)
    assert not should_stop_early(history_of([0.5, 0.9, 0.8]), patient)
    assert should_stop_early(history_of([0.5, 0.9, 0.8, 0.9]), patient)
    assert not should_stop_early(history_of([0.5, 0.9, 0.8, 0.9]), changed(tiny_recipe).training)


def test_of_losses_the_lower_is_the_better():
    history = history_of([0.5, 0.9, 0.8])
    assert monitored_values(history, None) == monitored_values(history, "accuracy") == [0.5, 0.9, 0.8]
    assert monitored_values(history, "loss") == pytest.approx([-0.5, -0.1, -0.2])


@pytest.mark.parametrize("monitor", ["f1", "brier", "log_loss"])
def test_the_epoch_best_by_any_figure_is_kept(tiny_recipe, cohort, pixels, cpu, monitor):
    recipe = changed(tiny_recipe, checkpoint="best", monitor=monitor, epochs=6, lr=0.01)
    result = classifier_learner(recipe, cohort, pixels, cpu).fit_recipe()
    kept = classification_metrics(cohort.labels[cohort.valid], result.probabilities[cohort.valid], cohort.classes)
    column = [row[monitor] for row in result.fitted.history.rows]
    assert get_metric(kept, monitor) == pytest.approx(max(column) if monitor == "f1" else min(column), rel=1e-5)
    assert len(set(column)) > 1


def test_figures_are_of_bf16_networks_too(tiny_recipe, cohort, pixels):
    recipe = changed(tiny_recipe, monitor="f1", epochs=1)
    row = classifier_learner(recipe, cohort, pixels, get_device("cpu", "bf16")).fit_recipe().fitted.history.rows[0]
    assert 0 < row["f1"] <= 1


def test_lungs_are_not_judged_by_what_classifiers_are(tiny_recipe):
    with pytest.raises(ValueError, match="judged by Dice"):
        Recipe.model_validate({"name": "lungs", "task": "lung_segmentation", "training": {"monitor": "f1"}})


def test_the_best_epochs_weights_are_kept(tiny_recipe, cohort, pixels, cpu):
    recipe = changed(tiny_recipe, checkpoint="best", epochs=4, lr=0.05)
    result = classifier_learner(recipe, cohort, pixels, cpu).fit_recipe()
    best = max(row["accuracy"] for row in result.fitted.history.rows)
    right = result.probabilities[cohort.valid].argmax(1) == cohort.labels[cohort.valid]
    assert right.mean() == pytest.approx(best)


def test_validation_is_of_the_average_where_there_is_one(tiny_recipe, cohort, pixels, cpu):
    result = classifier_learner(changed(tiny_recipe, ema_decay=0.5), cohort, pixels, cpu).fit_recipe()
    right = result.probabilities[cohort.valid].argmax(1) == cohort.labels[cohort.valid]
    assert right.mean() == pytest.approx(result.fitted.history.rows[-1]["accuracy"])
    plain = classifier_learner(tiny_recipe, cohort, pixels, cpu).fit_recipe()
    assert not np.array_equal(plain.probabilities, result.probabilities)


def test_augmented_views_stand_beside_the_plain_one_that_predict_shows(tiny_recipe, cohort, pixels, cpu):
    mirror = {"augment": Augmentation(flip=1.0)}
    one = classifier_learner(changed(tiny_recipe, data=mirror, epochs=1), cohort, pixels, cpu).fit_recipe()
    both = classifier_learner(changed(tiny_recipe, data=mirror, epochs=1, tta_views=1), cohort, pixels, cpu).fit_recipe()
    flipped = classifier_learner(changed(tiny_recipe, data=mirror, epochs=1), cohort, pixels, cpu).fit_recipe().probabilities
    objective = make_task("softmax", Loss(), cohort.labels, 3, cpu.device)
    mirrored = predict_proba(one.fitted.learner.model, pixels[:, :, ::-1], one.normalizer, objective, cpu)
    np.testing.assert_allclose(both.averaged, (flipped + mirrored) / 2, atol=1e-4)
    np.testing.assert_array_equal(both.probabilities, flipped)
    np.testing.assert_array_equal(both.predict(pixels), both.probabilities)
    assert one.averaged is None and averaged_views(cohort, None) == {}
    valid = averaged_views(cohort, both.averaged)["valid"]
    right = both.averaged[cohort.valid].argmax(1) == cohort.labels[cohort.valid]
    assert valid.accuracy == pytest.approx(right.mean())


def test_phases_follow_one_another(tiny_recipe):
    training = changed(tiny_recipe, epochs=5, unfreeze_epoch=2).training
    assert [(phase.before, phase.end, phase.freeze_to) for phase in phases(training)] == [(0, 2, -1), (2, 5, 0)]
    training = changed(tiny_recipe, epochs=5, freeze_epochs=2, schedule="gradual_unfreezing").training
    assert [(phase.before, phase.end, phase.freeze_to) for phase in phases(training)] == [
        (0, 2, -1),
        (2, 4, -2),
        (4, 6, -3),
        (6, 8, -4),
        (8, 13, 0),
    ]


class TrainedParts(Callback):
    """Which parameter groups train, and at which rates, in each epoch; BatchNorm trains in all."""

    def __init__(self):
        self.parts, self.ratios = [], []

    def before_validate(self):
        convolutions = [[p for p in group if p.dim() > 1] for group in self.learn.opt.param_lists]
        self.parts.append([all(p.requires_grad for p in group) for group in convolutions])
        rates = [group["lr"] for group in self.learn.opt.hypers]
        self.ratios.append([later / earlier for earlier, later in pairwise(rates)])


def test_the_backbone_is_unfrozen_part_by_part_from_its_end(tiny_recipe, cohort, pixels, cpu):
    model = Model(arch="resnet18", grayscale=True)
    recipe = changed(tiny_recipe, epochs=2, schedule="gradual_unfreezing", lr=1e-3).model_copy(update={"model": model})
    seen = TrainedParts()
    result = classifier_learner(recipe, cohort, pixels, cpu).fit_recipe(FitOptions(callbacks=(seen,)))
    assert len(result.fitted.history.rows) == total_epochs(recipe) == 6
    frozen = [epoch.index(True) for epoch in seen.parts]
    assert frozen == [4, 3, 2, 1, 0, 0]
    assert all(all(epoch[first:]) for first, epoch in zip(frozen, seen.parts, strict=True))
    np.testing.assert_allclose(seen.ratios, 2.6)
    groups = result.fitted.learner.opt.param_lists
    assert sum(len(group) for group in groups) == len(list(result.fitted.learner.model.parameters()))


@pytest.mark.parametrize("arch", ["densenet121", "vgg16", "timm/tf_efficientnet_lite0", "timm/vit_tiny_patch16_224"])
def test_the_parts_of_a_backbone_are_all_of_it_in_order(arch):
    network = create_model(Model(arch=arch, weights="none"), 3, (224, 224))
    groups = gradual_splitter(network)
    assert len(groups) == 5
    assert min(len(group) for group in groups) > 0
    flat = [id(parameter) for group in groups for parameter in group]
    assert sorted(flat) == sorted(id(parameter) for parameter in network.parameters())


def test_a_network_without_a_backbone_has_nothing_to_unfreeze(tiny_recipe, cohort, pixels, cpu):
    recipe = changed(tiny_recipe, schedule="gradual_unfreezing")
    with pytest.raises(UsageError, match="no backbone to freeze"):
        classifier_learner(recipe, cohort, pixels, cpu).fit_recipe()

"""The recipes of published systems against what their authors wrote down."""

import numpy as np
import pandas as pd
import pytest

from darkcovid import models
from darkcovid.data.splits import assign_splits
from darkcovid.recipe import load_recipe
from darkcovid.training.fit import backbone_head_splitter
from darkcovid.training.loss import num_outputs
from darkcovid.training.schedule import total_epochs
from darkcovid.vision.learner import classifier_learner

from ..conftest import RECIPES


def system(name):
    return load_recipe(RECIPES / "systems" / f"{name}.yaml")


def rows(*counts):
    """So many images of each class, each of a patient of its own."""
    labels = pd.Series(np.repeat([f"c{i}" for i in range(len(counts))], counts))
    return pd.DataFrame({"dataset": "d", "path": [f"{i}.png" for i in range(len(labels))], "patient_id": ""}), labels


def sizes(name, *counts):
    """(train, valid, test) images."""
    table, labels = rows(*counts)
    valid, test = assign_splits(table, labels, system(name).data.split)
    return len(labels) - valid.sum() - test.sum(), valid.sum(), test.sum()


@pytest.mark.parametrize(
    ("name", "counts", "expected"),
    [
        ("darkcovidnet_faithful", (125, 500, 500), (900, 225, 0)),
        ("darkcovidnet_binary", (125, 500), (500, 125, 0)),
        ("basic_cnn_1", (146, 146), (194, 66, 32)),
        ("three_layer_cnn", (100, 100), (120, 80, 0)),
        ("radiography2020/darkcovidnet_rerun", (305, 500, 500), (1044, 261, 0)),
        ("radiography2020/cnn13", (1226, 1359, 1364), (3159, 790, 0)),
        ("radiography2020/resnet50_head", (219, 219, 219), (495, 123, 39)),
    ],
)
def test_split_sizes(name, counts, expected):
    assert sizes(name, *counts) == expected


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("darkcovidnet_faithful", 1_167_586),
        ("darkcovidnet_binary", 1_164_434),
        ("darkcovidnet_rerun", 1_167_361),
        ("basic_cnn_1", 156_417),
        ("basic_cnn_2", 287_489),
        ("basic_cnn_3", 287_489),
        ("basic_cnn_4", 32_897),
        ("three_layer_cnn", 1_212_513),
        ("vgg16_binary", 2_097_665),
        ("vgg16_four_class", 2_098_436),
    ],
)
def test_trainable_parameters_at_the_recipes_size(name, parameters):
    recipe = system(name)
    size = recipe.data.image_size
    plain = recipe.model.model_copy(update={"weights": "none"})
    network = models.create_model(plain, num_outputs(recipe.model.activation, len(recipe.data.classes)), (size, size))
    trained = (
        backbone_head_splitter(network)[-1]
        if recipe.training.freeze_backbone
        else [p for group in backbone_head_splitter(network) for p in group]
    )
    assert sum(parameter.numel() for parameter in trained) == parameters


@pytest.mark.parametrize("name", sorted(path.stem for path in (RECIPES / "systems" / "radiography2020").glob("*.yaml")))
def test_on_the_radiography_database_only_the_images_are_others(name):
    rebuilt, original = system(f"radiography2020/{name}"), system(name)
    assert (rebuilt.model, rebuilt.training) == (original.model, original.training)
    of_images = {"manifest", "dataset", "label_column", "classes", "where", "max_per_class", "split"}
    before, after = (recipe.data.model_dump(exclude=of_images) for recipe in (original, rebuilt))
    assert after == before
    assert rebuilt.data.split.method == original.data.split.method
    assert rebuilt.data.selected_datasets == ()


def test_every_setting_of_fastai_v1_is_written_out():
    recipe = system("darkcovidnet_faithful")
    training, data = recipe.training, recipe.data
    assert (training.epochs, training.batch_size, training.lr, training.schedule) == (100, 32, 3e-3, "one_cycle")
    assert (training.warmup_fraction, training.div_final, training.weight_decay) == (0.3, 250_000, 1e-2)
    adam = training.optimizer
    assert (adam.name, adam.momentum, adam.sqr_momentum, adam.eps, adam.decay_norm_and_bias) == ("adam", 0.9, 0.99, 1e-8, True)
    assert (training.precision, training.checkpoint, training.tta_views, training.ema_decay) == ("fp32", "last", 0, None)
    assert (data.image_size, data.letterbox, data.normalize) == (256, False, "first_batch")
    seen = data.augmentation
    assert (seen.flip, seen.rotate, seen.zoom, seen.perspective, seen.padding) == (0.5, 10.0, (1.0, 1.1), 0.2, "reflection")
    assert (seen.lighting, seen.p_affine, seen.p_lighting) == (0.2, 0.75, 0.75)
    plain = {"class_weights": "none", "focal_gamma": 0.0, "label_smoothing": 0.0, "groups": "none"}
    assert recipe.training.loss.model_dump() == plain


def test_weight_decay_reaches_every_parameter_where_v1_decayed_them_all(tiny_recipe, cohort, pixels, cpu):
    v1 = system("darkcovidnet_faithful").training.model_copy(update={"batch_size": 8, "device": "cpu"})
    for training, all_of_them in ((v1, True), (tiny_recipe.training, False)):
        learner = classifier_learner(tiny_recipe.model_copy(update={"training": training}), cohort, pixels, cpu)
        learner.create_opt()
        spared = [state for state in learner.opt.state.values() if state.get("do_wd") is False]
        assert bool(spared) != all_of_them


def test_epochs_batches_and_rates_of_the_others():
    names = ("basic_cnn_1", "basic_cnn_3", "three_layer_cnn", "vgg16_binary", "vgg16_head")
    facts = {name: system(name).training for name in names}
    assert [(facts[name].batch_size, total_epochs(system(name))) for name in names] == [
        (20, 30),
        (15, 25),
        (8, 15),
        (10, 20),
        (32, 50),
    ]
    assert (facts["basic_cnn_3"].lr, facts["basic_cnn_3"].schedule, facts["basic_cnn_3"].lr_gamma) == (0.01, "exponential", 0.6)
    assert facts["three_layer_cnn"].optimizer.name == "rmsprop"
    assert facts["vgg16_binary"].lr == 5e-4
    assert system("vgg16_four_class").training.lr == 1e-4
    head = facts["vgg16_head"]
    assert (head.lr, head.freeze_backbone, head.checkpoint) == (1e-3, True, "best")
    assert None not in (head.reduce_lr_on_plateau, head.early_stopping_patience)
    assert system("densenet121_head").model.dropout == 0.2
    assert system("vgg16_head").data.max_per_class == 219
    assert {system(f"{name}_head").data.augment for name in ("vgg16", "resnet50", "densenet121")} == {"none"}


def test_the_generators_of_keras():
    first, later = system("basic_cnn_1").data.augmentation, system("basic_cnn_2").data.augmentation
    assert (first.rotate, first.shift, first.zoom_range, first.flip) == (45.0, 0.15, (0.5, 1.5), 0.5)
    assert (later.rotate, later.shift, later.zoom_range, later.flip) == (45.0, 0.0, (0.5, 1.5), 0.5)
    three = system("three_layer_cnn").data.augmentation
    assert (three.shear, three.zoom_range, three.flip) == (0.2, (0.8, 1.2), 0.5)
    crescent = system("vgg16_binary").data
    seen = crescent.augmentation
    assert (seen.rotate, seen.shift, seen.shear, seen.zoom_range, seen.channel_shift) == (50.0, 0.2, 0.25, (0.9, 1.1), 20.0)
    assert (seen.flip, seen.flip_vertical, seen.padding, crescent.normalize) == (0.5, 0.5, "zeros", "zca")

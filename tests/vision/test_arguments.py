"""A mistake in a notebook is named by the argument that was given, in one line."""

import pytest

import darkcovid as dc
from darkcovid.core.errors import DataError, UsageError
from darkcovid.recipe.recipe import validate
from darkcovid.vision.data_block import PatientSplitter

PHANTOM = {"phantom": {"patients": 24, "image_size": 64}, "size": 64}


def loaders(cache_dir, manifest="phantom", **arguments):
    return dc.CXRDataLoaders.from_manifest(manifest, cache_dir=cache_dir, **PHANTOM | arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"valid_pct": 0}, "valid_pct: input should be greater than 0, not 0"),
        ({"bs": 0}, "bs: input should be greater than or equal to 2, not 0"),
        ({"seed": -1}, "seed: "),
        ({"size": 5}, "size: input should be greater than or equal to 32, not 5"),
        ({"size": (64, 5)}, "size.1: input should be greater than or equal to 32, not 5"),
        ({"device": "tpu"}, "device: input should be 'auto'"),
        ({"augment": "nothing"}, "augment: use a mapping"),
        ({"augment": {"flip": 3}}, "augment.flip: input should be less than or equal to 1, not 3"),
        ({"classes": ["covid", "cold"]}, "classes: no image is labeled 'cold'"),
        ({"where": {"vew": ["PA"]}}, "where.vew: the manifest has no such column; did you mean 'view'?"),
        ({"wher": {"view": ["PA"]}}, "wher: unknown key; did you mean 'where'?"),
        ({"max_per_class": {"covid": 1}}, "max_per_class.covid: input should be greater than or equal to 2, not 1"),
        ({"manifest": "/absent.csv"}, "/absent.csv: no such file"),
    ],
)
def test_an_argument_of_loaders(cache_dir, arguments, said):
    with pytest.raises(UsageError) as error:
        loaders(cache_dir, **arguments)
    assert str(error.value).startswith(said)


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        ({"arch": "resnt18"}, UsageError, "arch: no architecture is called 'resnt18'; did you mean 'resnet18'?"),
        ({"arch": "resnet18", "weights": "/absent.pth"}, DataError, "weights: /absent.pth: no such file"),
        ({"arch": "resnet18", "training": {"lrr": 3}}, UsageError, "training.lrr: unknown key; did you mean 'lr'?"),
        ({"arch": "resnet18", "model": {"head": "best"}}, UsageError, "model.head: resnet18 has no head 'best'"),
    ],
)
def test_an_argument_of_a_learner(cache_dir, arguments, kind, said):
    with pytest.raises(kind) as error:
        dc.cxr_learner(loaders(cache_dir), **arguments)
    assert str(error.value).startswith(said)


def test_an_argument_of_what_a_data_block_is_made_of():
    with pytest.raises(UsageError, match=r"^PatientSplitter: valid_pct: input should be less than 1, not 3$"):
        PatientSplitter(valid_pct=3)
    with pytest.raises(UsageError, match=r"^LungCrop: margin: "):
        dc.LungCrop(128, margin=-1)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"augment": 3}, "data.augment: input should be text, not 3"),
        ({"image_size": [64, "a"]}, "data.image_size.1: input should be a valid integer, not 'a'"),
        ({"max_per_class": "a"}, "data.max_per_class: input should be a valid integer, not 'a'"),
        ({"external": [{"manifest": 3}]}, "data.external.0.manifest: input should be text, not 3"),
        ({"where": {"view": "PA"}}, "data.where.view: input should be a list, not 'PA'"),
    ],
)
def test_a_recipe_s_key_of_several_forms_is_told_by_the_form_that_got_furthest(data, said):
    with pytest.raises(UsageError) as error:
        validate({"name": "a", "data": data}, where="")
    assert str(error.value) == said

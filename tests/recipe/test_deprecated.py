"""Recipes of earlier versions load, and say so in one line."""

import re
import warnings

import pytest

from darkcovid.core.errors import UsageError
from darkcovid.recipe import load_recipe
from darkcovid.recipe.deprecated import KEYS, VALUES, modern_path, modernize

OLD = """
name: old
published: "none"
audit_share: 0.5
data:
  manifest: phantom
  dataset: null
  per_class: 50
  normalise: image
  augment: {warp: 0.1, warp_by: side, light: 0.2, p_light: 0.5, span: [0.9, 1.1], text: 0.1, erase: 0.1, trivial: false}
  external: [{manifest: phantom, phantom: {seed: 8}, patients: other}]
lungs: {thumbnail: true, aspect: pad}
model: {head: faithful, outputs: softmax}
training:
  keep: best
  stop_after: 5
  optimiser: {name: sgd, decay_all: true}
  loss: {smoothing: 0.1}
  mixup: 0.2
arms:
  one: {training.clip: 1.0, lungs.aspect: squash}
  two: {training: {ema: 0.9}}
"""
NEW = """
name: old
reported_results: "none"
audit_epochs_fraction: 0.5
data:
  manifest: phantom
  dataset: null
  max_per_class: 50
  normalize: per_image
  augment:
    {perspective: 0.1, perspective_by: side, lighting: 0.2, p_lighting: 0.5, zoom_range: [0.9, 1.1], burned_in_text: 0.1,
     random_erasing: 0.1, trivial_augment: false}
  external: [{manifest: phantom, phantom: {seed: 8}, shared_patient_ids: false}]
lungs: {context_channel: true, resize: letterbox}
model: {head: flatten, activation: softmax}
training:
  checkpoint: best
  early_stopping_patience: 5
  optimizer: {name: sgd, decay_norm_and_bias: true}
  loss: {label_smoothing: 0.1}
  mixup_alpha: 0.2
arms:
  one: {training.clip_grad_norm: 1.0, lungs.resize: squash}
  two: {training: {ema_decay: 0.9}}
"""


@pytest.fixture
def write(tmp_path):
    def write(text):
        (tmp_path / "recipe.yaml").write_text(text)
        return tmp_path / "recipe.yaml"

    return write


def test_an_old_recipe_is_the_new_one_and_says_so_once(write):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        new = load_recipe(write(NEW))
    with pytest.warns(FutureWarning) as said:
        old = load_recipe(write(OLD))
    assert old == new
    (message,) = [str(one.message) for one in said]
    assert "training.stop_after is now training.early_stopping_patience" in message
    assert "lungs.aspect is now lungs.resize" in message and "data.normalize: image is now per_image" in message
    assert "\n" not in message


@pytest.mark.parametrize("old", KEYS)
def test_every_old_key_is_renamed_wherever_it_stands(old):
    said = []
    # by way of today's sections: `training.optimizer.decay_all` is what `modernize` meets in `optimiser: {decay_all: ...}`
    value = None
    for part in reversed(old.split(".")):
        value = {part: value}
    found = modernize(value, said.append)
    for part in KEYS[old].split("."):
        found = found[part]
    assert found is None
    assert re.search(rf"{re.escape(old)} is now {re.escape(KEYS[old])}", said[0])
    assert modern_path(old) == KEYS[old]


def test_old_values_are_renamed_only_at_their_key():
    assert modernize({"lungs": {"resize": "pad", "mode": "pad"}}, lambda words: None) == {
        "lungs": {"resize": "letterbox", "mode": "pad"}
    }
    assert all(key not in KEYS for key in VALUES)


def test_a_key_under_both_names_is_refused(write):
    with pytest.raises(UsageError, match=r"training\.keep: this is the old name of training\.checkpoint, which is given too"):
        load_recipe(write("name: a\ntraining: {keep: best, checkpoint: last}"))


def test_an_arm_s_key_under_both_names_is_refused(write):
    with pytest.raises(UsageError, match=r"training\.clip: this is the old name of training\.clip_grad_norm, which is given too"):
        load_recipe(write("name: a\narms: {one: {training.clip: 1.0, training.clip_grad_norm: 2.0}}"))


def test_an_override_may_use_an_old_key(write):
    with pytest.warns(FutureWarning, match=r"--set training\.optimiser\.decay_all=true: old names of recipe keys"):
        recipe = load_recipe(write("name: a"), ["training.optimiser.decay_all=true"])
    assert recipe.training.optimizer.decay_norm_and_bias


def test_the_command_says_it_in_one_line(darkcovid, write):
    done = darkcovid("run", write("name: a\ntraining: {stop_after: 3}"), "--phantom", "--dry-run")
    (line,) = [line for line in done.stderr.splitlines() if "old names of recipe keys" in line]
    assert line.startswith("warning: ") and line.count("is now") == 1


@pytest.mark.parametrize(
    "text", ["100: 1", "training: {100: 1}", "arms: {one: {100: 1}}", "arms: {one: {1.5: {2: 3}}}", "arms: {7: {null: 1}}"]
)
def test_keys_that_are_no_words_are_no_old_names(write, text):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UsageError):
            load_recipe(write(f"name: a\n{text}"))

"""A sweep is checked when its recipe is read: what may be swept, and every value that is given."""

import pytest

from darkcovid.core.errors import UsageError
from darkcovid.recipe import SearchSpace, load_recipe, takes_whole_numbers, with_swept_keys


@pytest.fixture
def load(tmp_path):
    def load(sweep, start="extends: segmented\n"):
        (tmp_path / "swept.yaml").write_text(f"name: swept\n{start}sweep: {sweep}\n")
        return load_recipe(tmp_path / "swept.yaml")

    return load


def test_every_kind_of_value_and_the_way_back(load, tmp_path):
    recipe = load(
        "{over: {training.lr: {log_range: [1.0e-4, 1.0e-2]}, training.epochs: {range: [5, 30], step: 5}, "
        "model.dropout: {range: [0, 0.5]}, data.augment: [none, {rotate: 5.0}], data.image_size: {range: [128, 256], step: 64}}}"
    )
    (tmp_path / "again.yaml").write_text(recipe.to_yaml())
    assert load_recipe(tmp_path / "again.yaml") == recipe
    over = recipe.sweep.over
    assert over["training.epochs"].grid(True) == [5, 10, 15, 20, 25, 30]
    assert over["data.augment"].grid(False) == ["none", {"rotate": 5.0}]
    assert over["training.lr"].grid(False) is None
    whole = {key: takes_whole_numbers(recipe, key, space) for key, space in over.items()}
    assert [key for key, yes in whole.items() if yes] == ["training.epochs", "data.image_size"]


@pytest.mark.parametrize(
    ("space", "values"),
    [
        ({"range": (0.0, 1.0), "step": 0.25}, [0.0, 0.25, 0.5, 0.75, 1.0]),
        ({"range": (0.1, 0.5), "step": 0.1}, [0.1, 0.2, 0.3, 0.4, 0.5]),
        ({"range": (1.0, 8.0), "step": 3.0}, [1.0, 4.0, 7.0]),
        ({"range": (0.0, 1.0), "points": 3}, [0.0, 0.5, 1.0]),
        ({"log_range": (0.001, 0.1), "points": 3}, [0.001, 0.01, 0.1]),
    ],
)
def test_the_values_of_a_grid(space, values):
    assert SearchSpace(**space).grid(False) == values


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ("{over: {training.lrr: [1.0]}}", "sweep.over.training.lrr: unknown key; did you mean 'training.lr'?"),
        ("{over: {lr: [1.0]}}", "sweep.over.lr: unknown key; did you mean 'training.lr'?"),
        ("{over: {training: {lr: [1.0]}}}", "sweep.over.training.lr: unknown key; did you mean 'training.lr'?"),
        ("{over: {training.lr: {log_rang: [1, 2]}}}", "sweep.over.training.lr.log_rang: unknown key; did you mean 'log_range'?"),
        ("{over: {training.lr: {log_range: [0, 1]}}}", "sweep.over.training.lr: a log_range begins above 0"),
        ("{over: {training.lr: {range: [1, 0]}}}", "from the least to the greatest"),
        ("{over: {training.lr: {range: [-1, 1]}}}", "sweep.over.training.lr: input should be greater than 0, not -1"),
        ("{over: {training.lr: {range: [.nan, 1]}}}", "sweep.over.training.lr"),
        ("{over: {training.epochs: {range: [0.5, 3]}}}", "this key takes whole numbers"),
        ("{over: {training.epochs: [1, two]}}", "sweep.over.training.epochs: input should be a valid integer, not 'two'"),
        ("{over: {data.augment: [{rotate: 400}]}}", "sweep.over.data.augment: rotate: input should be less than or equal to 180"),
        ("{over: {data.image_size: [same_pixels_as crop]}}", "no other arm is called 'crop'"),
        ("{over: {training.lr: 3}}", "sweep.over.training.lr: input should be a mapping, not 3"),
        ("{over: {training.lr: []}}", "at least 1 item"),
        ("{over: {training.lr: [0.1, 0.1]}}", "name each choice once"),
        ("{over: {training.lr: {choices: [0.1], range: [0.1, 1]}}}", "give exactly one of choices, range and log_range"),
        ("{over: {training.loss: [{}], training.loss.focal_gamma: [1.0]}}", "is a part of training.loss"),
        ("{over: {}}", "sweep.over: "),
        ("{over: {training.lr: null}}", "sweep.over: "),
        ("{trials: 3}", "sweep.over: this key is required"),
        ("{over: {training.lr: [0.1]}, foldz: 3}", "sweep.foldz: unknown key; did you mean 'folds'?"),
        ("{over: {training.lr: [0.1]}, sampler: tpee}", "sweep.sampler: input should be 'tpe', 'random' or 'grid', not 'tpee'"),
        ("{over: {training.lr: [0.1]}, arm: segmentd}", "sweep.arm: no arm is called 'segmentd'; did you mean 'segmented'?"),
        ("{over: {training.lr: [0.1]}, metric: loss}", "sweep.metric: input should be "),
        ("{over: {training.lr: {range: [0.1, 1]}}, sampler: grid}", "a grid needs the values"),
        (
            "{over: {training.lr: {range: [0.1, 1], points: 200}, lungs.margin: {range: [0, 1], points: 200}}, sampler: grid}",
            "40000",
        ),
        ("{over: {data.split.seed: [1, 2]}}", "a sweep keeps the images, their labels and the split"),
        ("{over: {data.classes: [[covid, rest]]}}", "a sweep keeps the images"),
        ("{over: {training.seed: [1, 2]}}", "is chance"),
        ("{over: {training.seeds: [[1], [2]]}}", "is chance"),
        ("{over: {training.tta_views: [0, 4]}}", "trials are judged without views"),
        ("{over: {training.tta_below: [0.5, 0.9]}}", "trials are judged without views"),
        ("{over: {name: [a]}}", "cannot be swept"),
        ("{over: {data.leave_out: [suspects]}}", "name a file"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(load, sweep, message):
    with pytest.raises(UsageError) as caught:
        load(sweep)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_values_that_only_go_together_are_not_refused_one_by_one(load):
    over = "{training.schedule: [one_cycle, constant], training.reduce_lr_on_plateau: [null, {patience: 3}]}"
    recipe = load(f"{{over: {over}}}")
    tried = with_swept_keys(recipe, {"training.schedule": "constant", "training.reduce_lr_on_plateau": {"patience": 3}})
    assert tried.arm_recipes()["unsegmented"].training.reduce_lr_on_plateau.patience == 3
    with pytest.raises(UsageError, match="needs a constant or exponential schedule"):
        with_swept_keys(recipe, {"training.reduce_lr_on_plateau": {"patience": 3}})


def test_cross_validated_recipes_and_segmenters_have_nothing_to_lock(load):
    with pytest.raises(UsageError, match="none is left to confirm the winner"):
        load("{over: {training.lr: [0.1]}}", "extends: segmented\ntraining: {folds: 3}\n")
    with pytest.raises(UsageError, match="leave it out of a segmenter's recipe"):
        load("{over: {training.lr: [0.1]}}", "extends: lung_unet\n")


@pytest.mark.parametrize("start", ["data: {leave_out: suspects}", "arms: {segmented: {data.leave_out: suspects}}"])
def test_a_recipe_that_looks_for_suspects_is_not_swept(load, start):
    """Trials would not look for them, so the winner would be one of another recipe."""
    swept = "{over: {training.lr: [0.1]}, arm: segmented}"
    with pytest.raises(UsageError, match=r"data\.leave_out: suspects are looked for by further fits"):
        load(swept, f"extends: segmented\n{start}\n")
    assert load(swept, "extends: segmented\narms: {unsegmented: {data.leave_out: suspects}}\n").sweep.arm == "segmented"


def test_a_key_of_an_extended_recipe_is_dropped_by_null(load, tmp_path):
    load("{over: {training.lr: [0.1], lungs.margin: [0.1]}}")
    (tmp_path / "child.yaml").write_text("extends: swept.yaml\nsweep: {over: {training.lr: null, training.epochs: [3]}}\n")
    assert list(load_recipe(tmp_path / "child.yaml").sweep.over) == ["lungs.margin", "training.epochs"]


def test_only_the_swept_arm_is_changed_and_what_borrows_its_size_follows(load):
    recipe = load("{over: {lungs.crop_size: [96, 128]}, arm: segmented}")
    tried = with_swept_keys(recipe, {"lungs.crop_size": 96})
    assert (tried.arms["segmented"]["lungs.crop_size"], tried.sweep) == (96, None)
    assert tried.arm_recipes()["unsegmented"] == recipe.arm_recipes()["unsegmented"]
    beside = with_swept_keys(recipe, {"lungs.crop_size": 96}, name="winner")
    assert beside.arm_recipes()["segmented"] == recipe.arm_recipes()["segmented"]
    assert beside.arm_recipes()["winner"].lungs.crop_size == 96


def test_a_run_does_not_look_at_the_sweep(load):
    recipe = load("{over: {training.lr: [0.1]}}")
    assert all(arm.sweep is None for arm in recipe.arm_recipes().values())

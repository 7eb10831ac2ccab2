import pytest

from darkcovid.core.errors import UsageError
from darkcovid.recipe import FitId, deep_merge, load_recipe

from ..conftest import RECIPES


@pytest.fixture
def write(tmp_path):
    def write(text, name="recipe.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def refused(path, *sets):
    with pytest.raises(UsageError) as caught:
        load_recipe(path, sets)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("path", sorted(RECIPES.glob("**/*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_recipe_is_valid_and_survives_a_round_trip(path, write):
    recipe = load_recipe(path)
    again = load_recipe(write(recipe.to_yaml()))
    assert again == recipe
    assert again.digest() == recipe.digest()


def test_an_unknown_key_is_named_by_its_path_with_the_nearest_valid_name(write):
    path = write("name: a\ntraining: {epoch: 5}\n")
    assert refused(path) == "training.epoch: unknown key; did you mean 'epochs'?"
    assert refused(write("name: a\ndata: {split: {metod: random}}")).startswith(
        "data.split.metod: unknown key; did you mean 'method'"
    )
    assert refused(write("name: a\nlungs: {mod: crop}")).startswith("lungs.mod: unknown key; did you mean 'mode'")
    assert refused(write("name: a\nmodle: {}")).startswith("modle: unknown key; did you mean 'model'")


def test_a_key_of_another_section_is_named_with_its_path(write):
    assert refused(write("name: a\ntraining: {label_smoothing: 0.1}")) == (
        "training.label_smoothing: unknown key; did you mean 'training.loss.label_smoothing'?"
    )
    assert refused(write("name: a\nepochs: 5")) == "epochs: unknown key; did you mean 'training.epochs'?"


def test_an_arm_of_an_extended_recipe_is_dropped_by_null(write):
    write("name: a\narms: {one: {}, two: {lungs: null}}", "base.yaml")
    assert list(load_recipe(write("extends: base.yaml\narms: {one: null, three: {}}")).arms) == ["two", "three"]
    assert list(load_recipe(write("extends: base.yaml"), ["arms.two=null"]).arms) == ["one"]
    assert refused(write("name: a\narms: {one: {}, two: }")).startswith("arms.two: ")


def test_a_recipe_that_is_extended_is_looked_for_beside_the_one_that_names_it(write):
    path = write("name: a\nextends: recipes/none.yaml")
    message = refused(path)
    assert message.startswith(f"{path.resolve()}: extends: no recipe {path.parent / 'recipes/none.yaml'}; ")
    assert message.endswith("the path is relative to the recipe that names it")


def test_an_unknown_key_in_an_arm_is_named_under_the_arm(write):
    path = write("name: a\narms: {one: {}, two: {training.epoch: 5}}")
    assert refused(path) == "arms.two.training.epoch: unknown key; did you mean 'epochs'?"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("training: {epochs: five}", "training.epochs"),
        ("training: {epochs: '5'}", "training.epochs"),
        ("training: {epochs: 2.5}", "training.epochs"),
        ("training: {epochs: true}", "training.epochs"),
        ("training: {lr: -1}", "training.lr"),
        ("training: {lr: .nan}", "training.lr"),
        ("data: {image_size: huge}", "data.image_size"),
        ("data: {image_size: 5}", "data.image_size"),
        ("data: {classes: [covid]}", "data.classes"),
        ("data: {contrast: sharp}", "data.contrast"),
        ("data: {max_per_class: 1}", "data.max_per_class"),
        ("data: {max_per_class: {covid: 1}}", "data.max_per_class.covid"),
        ("data: {max_per_class: {covid19: 5}}", "data"),
        ("task: lung_segmentation\ndata: {contrast: clahe}", "data.contrast"),
        ("data: {split: {valid: 1.0}}", "data.split.valid"),
        ("training: {tta_below: 0.9}", "training"),
        ("lungs: {mode: cut}", "lungs.mode"),
        ("lungs: 3", "lungs"),
        ("arms: [one]", "arms"),
    ],
)
def test_a_wrong_type_or_value_is_named_by_its_path(write, text, key):
    assert refused(write(f"name: a\n{text}\n")).startswith(f"{key}: ")


def test_duplicate_keys_and_broken_yaml_are_refused(write):
    assert "'training' is given twice" in refused(write("name: a\ntraining: {}\ntraining: {}\n"))
    assert "not a valid recipe" in refused(write("name: [a\n"))
    assert "a recipe is a mapping" in refused(write("- a\n"))
    assert "not a valid recipe" in refused(write("name: !!python/object/apply:os.system ['true']\n"))
    assert "no such recipe" in refused(write("").parent / "absent.yaml")


def test_the_name_is_required_and_cannot_leave_the_runs_folder(write):
    assert refused(write("model: {}")) == "name: this key is required"
    assert refused(write("name: ../up")).startswith("name: ")


def test_extends_merges_key_by_key_over_several_levels_and_refuses_circles(write):
    write("name: base\ntraining: {epochs: 7, batch_size: 4}\n", "base.yaml")
    write("extends: base.yaml\nname: middle\ntraining: {epochs: 9}\n", "middle.yaml")
    recipe = load_recipe(write("extends: middle.yaml\nname: top\n"))
    assert (recipe.name, recipe.training.epochs, recipe.training.batch_size) == ("top", 9, 4)
    assert "circle" in refused(write("extends: recipe.yaml\nname: a\n"))


def test_of_several_recipes_that_are_extended_the_later_ones_go_before(write):
    write("name: base\ndata: {classes: [a, b], image_size: 64}\ntraining: {epochs: 7}\n", "base.yaml")
    write("extends: base.yaml\nname: system\nmodel: {arch: cnn13}\ntraining: {batch_size: 4}\n", "system.yaml")
    write("name: images\ndata: {classes: [x, y, z]}\narms: {one: {}, two: {}}\n", "images.yaml")
    recipe = load_recipe(write("extends: [system.yaml, images.yaml]\nname: both\narms: {one: null}\n"))
    assert (recipe.name, recipe.model.arch, recipe.training.epochs, recipe.training.batch_size) == ("both", "cnn13", 7, 4)
    assert (recipe.data.classes, recipe.data.image_size, list(recipe.arms)) == (("x", "y", "z"), 64, ["two"])
    for wrong in ("3", "[base.yaml, 3]", "{a: b}"):
        assert "extends: name a recipe file, or a list" in refused(write(f"extends: {wrong}\nname: a\n"))


def test_set_replaces_one_key_and_speaks_yaml(write):
    path = write("name: a\nlungs: {mode: crop}\n")
    recipe = load_recipe(path, ["training.lr=3e-3", "data.split.seed=5", "lungs=null", "data.image_size=[96, 64]"])
    assert (recipe.training.lr, recipe.data.split.seed, recipe.lungs) == (3e-3, 5, None)
    assert recipe.data.image_size == (96, 64)
    assert "write it as key.path=value" in refused(path, "training.epochs")
    assert refused(path, "training.epoch=3").startswith("training.epoch: unknown key")


def test_arms_replace_keys_of_the_whole_recipe(write):
    recipe = load_recipe(write("name: a\nlungs: {margin: 0.2}\narms: {off: {lungs: null}, wide: {lungs.margin: 0.5}, same: {}}"))
    arms = recipe.arm_recipes()
    assert list(arms) == ["off", "wide", "same"]
    assert arms["off"].lungs is None
    assert arms["wide"].lungs.margin == 0.5
    assert arms["same"].lungs.margin == 0.2
    assert load_recipe(write("name: alone\n")).arm_recipes().keys() == {"alone"}


def test_arms_may_not_change_the_patients(write):
    message = refused(write("name: a\narms: {one: {}, two: {data.split.seed: 1}}"))
    assert message.startswith("arms.two.data.split: arms of one recipe share it")


def test_arms_may_differ_in_contrast(write):
    arms = load_recipe(write("name: a\narms: {one: {}, two: {data.contrast: clahe}}")).arm_recipes()
    assert [arm.data.contrast for arm in arms.values()] == ["none", "clahe"]


def test_folds_and_seeds_make_fits(write):
    recipe = load_recipe(write("name: a\ntraining: {folds: 2, seeds: [7, 8]}"))
    fits = {str(name): (fit.data.split.folds, fit.data.split.fold, fit.training.seed) for name, fit in recipe.fits().items()}
    assert fits == {"fold1-seed7": (2, 1, 7), "fold2-seed7": (2, 2, 7), "fold1-seed8": (2, 1, 8), "fold2-seed8": (2, 2, 8)}
    assert list(load_recipe(write("name: a")).fits()) == [FitId()]
    assert list(load_recipe(write("name: a\ntraining: {seeds: [3]}")).fits()) == [FitId(seed=3)]
    message = refused(write("name: a\narms: {one: {}, two: {training.folds: 2}}"))
    assert message.startswith("arms.two.training.folds: arms of one recipe share it")
    assert "fold needs folds" in refused(write("name: a\ndata: {split: {fold: 2}}"))
    assert "in 1..3" in refused(write("name: a\ndata: {split: {folds: 3, fold: 4}}"))


def test_a_borrowed_size_needs_another_arm_with_a_size(write):
    same = "data.image_size: same_pixels_as"
    assert "did you mean 'crop'" in refused(write(f"name: a\narms: {{crop: {{}}, small: {{{same} crops}}}}"))
    assert "of its own" in refused(write(f"name: a\narms: {{one: {{{same} two}}, two: {{{same} one}}}}"))
    assert refused(write("name: a\ndata: {image_size: same_pixels_as crop}")).startswith("data.image_size: ")


def test_the_manifest_is_found_from_the_recipes_folder_and_one_above(write, tmp_path):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "list.csv").write_text("")
    recipe = load_recipe(write("name: a\ndata: {manifest: list.csv}", "recipes/a.yaml"))
    assert recipe.data.manifest == str(tmp_path / "list.csv")


def test_merge_replaces_what_is_not_a_mapping():
    assert deep_merge({"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"c": None}, "d": [2]}) == {"a": {"b": 1, "c": None}, "d": [2]}

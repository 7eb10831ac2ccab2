"""Suspected label errors: planted ones are found, and a run lists, shows and leaves them out."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import darkcovid as dc
from darkcovid.audits.label_errors import find_label_errors
from darkcovid.core.errors import DataError, UsageError
from darkcovid.data.cohort import load_classification_cohort
from darkcovid.experiment.label_errors import add_arm_without_suspects, tell_left_out
from darkcovid.experiment.lr_find import find_learning_rate
from darkcovid.recipe.recipe import validate
from darkcovid.vision.arm_inputs import InputBuilder
from darkcovid.vision.training_suspects import training_suspects

from ..experiment.test_runner import Watched

pytestmark = pytest.mark.usefixtures("quick_plots")

CLASSES = ["covid", "no_finding", "pneumonia"]


def predictions(errors=12, images=300, seed=0):
    """A network that is right of nine in ten images, and the labels of some images changed."""
    random = np.random.RandomState(seed)
    truth = np.arange(images) % 3
    scores = random.randn(images, 3) + 3 * np.eye(3)[truth]
    probabilities = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    labels = truth.copy()
    changed = random.choice(images, errors, replace=False)
    labels[changed] = (labels[changed] + 1) % 3
    table = pd.DataFrame({"image": [f"{row}.png" for row in range(images)], "patient": [f"p{row}" for row in range(images)]})
    table["label"] = [CLASSES[label] for label in labels]
    for column, name in enumerate(CLASSES):
        table[f"probability_{name}"] = probabilities[:, column]
    return table, {f"{row}.png" for row in changed}


def test_planted_label_errors_are_found():
    table, changed = predictions()
    found, suspects = find_label_errors(table, CLASSES, "arm")
    named = set(suspects.image)
    assert len(named & changed) >= 10
    assert len(named) == found.suspects <= 45
    assert suspects.label_quality.is_monotonic_increasing
    assert (suspects.label != suspects.suggested).all()
    assert sum(pair.images for pair in found.pairs) == found.suspects
    assert found.accuracy < found.accuracy_without


def test_where_labels_are_right_few_are_doubted():
    found, _ = find_label_errors(predictions(errors=0)[0], CLASSES, "arm")
    assert found.suspects <= 0.12 * found.images


def test_predictions_of_one_image_are_averaged():
    table, _ = predictions()
    twice = pd.concat([table, table.assign(probability_covid=1 / 3, probability_no_finding=1 / 3, probability_pneumonia=1 / 3)])
    found, _ = find_label_errors(twice, CLASSES, "arm")
    assert found.images == 300


def test_a_class_without_images_is_not_judged():
    table, _ = predictions()
    assert find_label_errors(table[table.label != "covid"], CLASSES, "arm") is None


def test_a_network_at_chance_does_not_judge_labels():
    table, _ = predictions()
    random = np.random.default_rng(0)
    shuffled = table.assign(label=random.permutation(table.label))
    assert find_label_errors(shuffled, CLASSES, "arm") is None
    one_patient = table.assign(patient="p")  # nothing is known of other patients
    assert find_label_errors(one_patient, CLASSES, "arm") is None


RECIPE = {
    "name": "labels",
    "audit": "data",
    "data": {"manifest": "phantom", "image_size": 64, "phantom": {"patients": 60, "image_size": 64, "signal": 1.0}},
    "model": {"arch": "resnet18", "head": "linear-probe"},
    "training": {"folds": 2},
    "arms": {"probe": {}},
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels")
    return {"runs_dir": folder / "runs", "cache_dir": folder / "cache"}


@pytest.fixture(scope="module")
def run(folders):
    return dc.run(validate(RECIPE, where=""), **folders)


def test_a_run_lists_and_shows_them(run):
    found = json.loads((run.path / "label_errors.json").read_text())
    suspects = pd.read_csv(run.path / "label_errors.csv")
    assert found["suspects"] == len(suspects) > 0
    assert found["images"] == run.predictions.image.nunique()
    report = (run.path / "report.html").read_text()
    assert "Labels that may be wrong" in report
    assert f"{found['suspects']} of {found['images']} images" in report
    assert (run.path / "label_errors.png").is_file()


def test_a_further_arm_trains_without_suspects_of_its_own_training_sets_and_scores_all(folders):
    recipe, name = add_arm_without_suspects(validate(RECIPE, where=""))
    assert (list(recipe.arms), name) == (["probe", "probe_without_suspects"], "probe_without_suspects")
    run = dc.run(recipe, **folders)
    whole, without = (run.comparison.arms[name].summary.images for name in run.arms)
    assert whole["valid"] == without["valid"]
    left_out = []
    for fold in ("fold1", "fold2"):
        suspects = set(pd.read_csv(run.path / "probe_without_suspects" / fold / "suspects.csv").image)
        sides = pd.read_csv(run.path / "probe_without_suspects" / fold / "split.csv").set_index("image").side
        assert suspects and set(sides[list(suspects)]) == {"left_out"}
        used = pd.read_csv(run.path / "probe_without_suspects" / fold / "predictions.csv").set_index("image").side
        assert (
            suspects == set(used.index[used == "left_out"])
            and (used[used != "left_out"] == sides[used.index[used != "left_out"]]).all()
        )
        left_out.append(len(suspects))
    assert whole["train"] - without["train"] == pytest.approx(sum(left_out) / 2, abs=1)
    summary = run.comparison.arms["probe_without_suspects"].summary
    assert summary.left_out_of_training == whole["train"] - without["train"] == round(sum(left_out) / 2)
    report = (run.path / "report.html").read_text()
    assert f"left out of training: {summary.left_out_of_training} in probe_without_suspects" in report
    predicted = run.predictions
    assert set(predicted[predicted.arm == "probe_without_suspects"].image) == set(predicted[predicted.arm == "probe"].image)


def test_which_arm_doubts_labels():
    several = validate(RECIPE | {"arms": {"one": {}, "two": {}}, "audit": "retrain"}, where="")
    more, name = add_arm_without_suspects(several, ["two"])
    assert (list(more.arms), name) == (["one", "two", "two_without_suspects"], "two_without_suspects")
    assert add_arm_without_suspects(more, ["one"])[1] == "one_without_suspects"
    assert add_arm_without_suspects(more, ["two"])[1] == "two_without_suspects"
    audits = [arm for arm in several.arm_recipes() if arm not in several.arms]
    assert audits
    with pytest.raises(UsageError, match=f"^--without-suspects --arm {audits[0]}: an arm of the audit; name one of one, two$"):
        add_arm_without_suspects(several, [audits[0]])
    with pytest.raises(UsageError, match="has no such arm"):
        add_arm_without_suspects(several, ["three"])


def test_no_label_outside_the_training_set_has_a_part_in_the_suspects(folders, cpu):
    phantom = {"patients": 120, "image_size": 64, "signal": 1.0}
    recipe = validate(RECIPE | {"data": RECIPE["data"] | {"leave_out": "suspects", "phantom": phantom}}, where="")
    fit = next(iter(recipe.fits().values()))
    cohort = load_classification_cohort(fit.data, folders["cache_dir"])
    pixels = InputBuilder(recipe, cohort, cpu, folders["cache_dir"]).make("probe").pixels
    suspects = training_suspects(cohort, fit, pixels, cpu)
    other = cohort.labels.copy()
    other[cohort.valid] = (other[cohort.valid] + 1) % len(cohort.classes)
    again = training_suspects(replace(cohort, labels=other), fit, pixels, cpu)
    pd.testing.assert_frame_equal(suspects, again)
    assert 0 < len(suspects) < cohort.train.sum()
    assert not set(suspects.image) & set(cohort.rows.path[cohort.valid])


@pytest.mark.slow
def test_leaving_suspects_out_gains_nothing_where_labels_say_nothing(tmp_path, cpu):
    """Labels of noise: what is scored stays at chance. With suspects of the whole cohort, 0.31 became 0.41."""
    data = RECIPE["data"] | {"phantom": {"patients": 200, "image_size": 64, "signal": 0.0}}
    base = RECIPE | {"data": data, "model": {"arch": "resnet18", "head": "nearest-neighbors"}, "training": {"folds": 2}}
    run = dc.run(add_arm_without_suspects(validate(base, where=""))[0], runs_dir=tmp_path / "runs", cache_dir=tmp_path / "cache")
    plain, without = (run.metrics[name].valid for name in run.arms)
    assert without.accuracy - plain.accuracy < 0.06
    assert without.intervals["accuracy"][0] < 0.36


def test_a_list_of_validation_images_alone_leaves_nothing_out(folders, tmp_path):
    single = RECIPE | {"training": {}, "arms": {}}
    cohort = load_classification_cohort(validate(single, where="").data, folders["cache_dir"])
    cohort.rows[cohort.valid][["path"]].rename(columns={"path": "image"}).to_csv(tmp_path / "valid.csv", index=False)
    recipe = validate(single | {"data": RECIPE["data"] | {"leave_out": str(tmp_path / "valid.csv")}}, where="")
    with pytest.raises(UsageError, match=r"no image on the list is in a training set, so nothing is left out"):
        dc.run(recipe, **folders)


def test_a_notebook_is_told_where_suspects_are_looked_for(folders):
    recipe = validate(RECIPE | {"data": RECIPE["data"] | {"leave_out": "suspects"}}, where="")
    with pytest.raises(UsageError, match=r"name the suspects\.csv of one of its fits"):
        dc.CXRDataLoaders.from_recipe(recipe, cache_dir=folders["cache_dir"])


def test_a_learning_rate_is_found_on_what_is_trained_on(folders, tmp_path, monkeypatch):
    single = RECIPE | {"training": {}, "arms": {}, "model": {"arch": "resnet18"}}
    cohort = load_classification_cohort(validate(single, where="").data, folders["cache_dir"])
    listed = cohort.rows.path[cohort.train][:5]
    pd.DataFrame({"image": listed}).to_csv(tmp_path / "listed.csv", index=False)
    seen = []
    monkeypatch.setattr(
        "darkcovid.experiment.lr_find.classifier_learner", lambda recipe, cohort, *rest: seen.append(cohort) or 1 / 0
    )
    words = (None, folders["cache_dir"], 1e-5, 1.0, 3, tmp_path / "plot.png")
    with pytest.raises(ZeroDivisionError):
        find_learning_rate(
            validate(single | {"data": RECIPE["data"] | {"leave_out": str(tmp_path / "listed.csv")}}, where=""), *words
        )
    assert not set(listed) & set(seen[0].rows.path[seen[0].train]) and seen[0].train.sum() == cohort.train.sum() - 5
    with pytest.raises(UsageError, match=r"lr-find looks for no suspects; name the suspects\.csv of a fit"):
        find_learning_rate(validate(single | {"data": RECIPE["data"] | {"leave_out": "suspects"}}, where=""), *words)


def test_a_list_that_a_network_made_is_warned_of(run, tmp_path):
    cohort = load_classification_cohort(run.recipe.data, tmp_path / "cache")
    reader = tmp_path / "reader.csv"
    pd.DataFrame({"image": cohort.rows.path[cohort.train][:3]}).to_csv(reader, index=False)
    network = tmp_path / "label_errors.csv"
    pd.read_csv(reader).assign(label="covid", suggested="pneumonia", label_quality=0.1).to_csv(network, index=False)
    for path, warned in ((reader, False), (network, True)):
        progress = Watched()
        tell_left_out("probe", run.recipe.data.model_copy(update={"leave_out": str(path)}), [cohort], progress)
        assert "probe: 3 images are left out of the training sets" in progress.text.getvalue()
        assert ("a network made this list" in progress.text.getvalue()) == warned


def test_a_list_that_is_of_no_use_is_refused(folders, tmp_path):
    (tmp_path / "other.csv").write_text("image\nnowhere.png\n")
    (tmp_path / "columns.csv").write_text("path\nnowhere.png\n")
    for name, kind, said in (
        ("other.csv", UsageError, "none of its 1 images is in the cohort"),
        ("columns.csv", DataError, "no column `image`; it has: path"),
        ("absent.csv", DataError, "not readable as CSV"),
    ):
        bad = RECIPE | {"data": RECIPE["data"] | {"leave_out": str(tmp_path / name)}}
        with pytest.raises(kind, match=rf"^data\.leave_out: .*{said}"):
            dc.run(validate(bad, where=""), **folders)

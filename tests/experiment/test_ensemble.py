"""Ensembles: averaged by hand, run from a recipe, compared, reported, asked and exported as an arm."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import darkcovid as dc
from darkcovid.audits.reporting_guideline import reporting_sheet
from darkcovid.core.errors import UsageError
from darkcovid.core.initial_weights import InitialWeights
from darkcovid.experiment.ensemble import average_by_fold, average_predictions
from darkcovid.experiment.paired_arms import paired_comparisons
from darkcovid.inference.export import export_model
from darkcovid.inference.load import load_fitted
from darkcovid.lungs.unet import load_segmenter
from darkcovid.recipe.recipe import validate
from darkcovid.report.html import read_evidence
from darkcovid.report.tables import comparison_rows

pytestmark = pytest.mark.usefixtures("quick_plots")

PHANTOM = {"patients": 24, "image_size": 64}
ELSEWHERE = {"manifest": "phantom", "name": "elsewhere", "shared_patient_ids": False, "phantom": PHANTOM | {"seed": 9}}
RECIPE = {
    "name": "ensembles",
    "audit": "shortcuts",
    "data": {"manifest": "phantom", "image_size": 64, "phantom": PHANTOM, "external": [ELSEWHERE]},
    "model": {"arch": "three_layer_cnn"},
    "training": {"epochs": 1, "folds": 2, "seeds": [1, 2], "batch_size": 8, "precision": "fp32"},
    "arms": {"whole": {}, "crop": {"lungs": {"crop_size": 64}}},
    "ensemble": {"both": ["whole", "crop"], "voted": ["whole"]},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ensemble")
    recipe = folder / "ensembles.yaml"
    recipe.write_text(json.dumps(RECIPE))
    return dc.run(recipe, runs_dir=folder / "runs", cache_dir=folder / "cache")


def rows(*cells, fit=True):
    columns = ["image", "patient", "side", "label", "predicted", "probability_a", "probability_b", *(["fit"] if fit else [])]
    return pd.DataFrame([list(map(str, row)) for row in cells], columns=columns)


def test_the_mean_of_members_by_hand():
    first = rows(("1.png", "p", "valid", "a", "a", 0.9, 0.1), ("2.png", "q", "train", "b", "a", 0.6, 0.4), fit=False)
    second = rows(("1.png", "p", "valid", "a", "b", 0.3, 0.7), ("2.png", "q", "train", "b", "b", 0.1, 0.9), fit=False)
    averaged = average_predictions([first, second], ["a", "b"]).set_index("image")
    assert averaged.probability_a.to_dict() == pytest.approx({"1.png": 0.6, "2.png": 0.35})
    assert averaged.predicted.to_dict() == {"1.png": "a", "2.png": "b"}


@pytest.mark.parametrize("fit", [False, True])
def test_an_image_left_out_by_one_member_was_trained_on_by_another(fit):
    def member(left, out, seed):
        extra = (f"fold1-seed{seed}",) if fit else ()
        one = ("1.png", "p", left, "a", "a", 0.9, 0.1, *extra)
        two = ("2.png", "q", out, "b", "b", 0.2, 0.8, *extra)
        return rows(one, two, ("3.png", "r", "valid", "b", "b", 0.2, 0.8, *extra), fit=fit)

    averaged = average_predictions([member("train", "left_out", 1), member("left_out", "left_out", 1)], ["a", "b"])
    assert averaged.set_index("image").side.to_dict() == {"1.png": "train", "2.png": "left_out", "3.png": "valid"}
    assert len(averaged) == 3
    if fit:  # suspects differ by seed
        seeds = pd.concat([member("train", "left_out", 1), member("left_out", "train", 2)], ignore_index=True)
        averaged = average_predictions([seeds], ["a", "b"])
        assert averaged.set_index("image").side.to_dict() == {"1.png": "train", "2.png": "train", "3.png": "valid"}


def test_a_fold_s_images_get_the_fits_of_that_fold_and_other_images_all_fits():
    member = rows(
        ("1.png", "p", "valid", "a", "a", 0.8, 0.2, "fold1-seed1"),
        ("1.png", "p", "valid", "a", "a", 0.6, 0.4, "fold1-seed2"),
        ("2.png", "q", "valid", "b", "b", 0.2, 0.8, "fold2-seed1"),
        ("x.png", "r", "external:site", "a", "a", 0.9, 0.1, "fold1-seed1"),
        ("x.png", "r", "external:site", "a", "b", 0.1, 0.9, "fold1-seed2"),
        ("x.png", "r", "external:site", "a", "b", 0.2, 0.8, "fold2-seed1"),
    )
    averaged = average_predictions([member], ["a", "b"]).set_index("image")
    assert averaged.probability_a.to_dict() == pytest.approx({"1.png": 0.7, "2.png": 0.2, "x.png": 0.4})
    assert averaged.fit.to_dict() == {"1.png": "fold1", "2.png": "fold2", "x.png": ""}


def test_an_ensemble_stands_beside_the_arms(run):
    assert run.arms == ["whole", "crop", "both", "voted"]
    table = run.predictions
    columns = [name for name in table if name.startswith("probability_")]
    valid = table[table.side == "valid"].copy()
    valid[columns] = valid[columns].astype(float)
    members = valid[valid.arm.isin(["whole", "crop"])].groupby("image")[columns].mean()
    both = valid[valid.arm == "both"].set_index("image")[columns]
    assert len(both) == len(members) == valid.image.nunique()
    np.testing.assert_allclose(both.loc[members.index], members, atol=1e-6)
    right = (both.to_numpy().argmax(1) == pd.Categorical(valid[valid.arm == "both"].label, run.recipe.data.classes).codes).mean()
    assert run.metrics["both"].valid.accuracy == pytest.approx(right)
    assert run.metrics["both"].scored_on == "out-of-fold"
    outside = table[table.side.str.startswith("external:")]
    assert (outside.groupby(["arm", "image"]).size().unstack("arm") == {"whole": 4, "crop": 4, "both": 1, "voted": 1}).all(
        axis=None
    )
    assert set(run.metrics["both"].external) == {"elsewhere"}


def test_its_shortcuts_are_audited_on_the_mean_of_its_members(run):
    hidden = {arm: pd.read_csv(run.path / arm / "shortcut_predictions.csv") for arm in ("whole", "crop")}
    columns = [name for name in hidden["whole"] if name.startswith("probability_")]
    classes = [name.removeprefix("probability_") for name in columns]
    audit = run.metrics["both"].shortcuts
    assert audit.images == len(hidden["whole"][hidden["whole"].shown == "plain"]) / 2 > 0  # two seeds
    for view in ("plain", "lungs_erased", "thumbnail"):
        table = pd.concat(hidden.values())
        table = table[table.shown == view].assign(fold=lambda rows: rows.fit.str.split("-").str[0])
        mean = table.groupby(["fold", "image"]).agg({"label": "first", **dict.fromkeys(columns, "mean")})
        right = np.array(classes)[mean[columns].to_numpy().argmax(1)] == mean.label
        assert audit.views[view].accuracy == pytest.approx(right.mean())
    assert "both" in run.path.joinpath("report.html").read_text()


def test_what_its_arms_do_not_share_is_said_to_be_theirs(run):
    both, voted = (run.comparison.arms[name].summary.members for name in ("both", "voted"))
    assert (both, voted) == (["whole", "crop"], ["whole"])
    sizes = dict(zip(run.arms, dict(comparison_rows(run.comparison))["image size"], strict=True))
    assert (sizes["both"], sizes["voted"]) == (sizes["whole"], sizes["whole"])  # both are 64x64

    arms = dict(run.comparison.arms)
    arms["crop"] = replace(
        arms["crop"],
        cost=replace(arms["crop"].cost, image_size=(48, 64)),
        summary=replace(arms["crop"].summary, initial_weights=InitialWeights("some/net.pth", 3, (), ())),
    )
    rows = dict(comparison_rows(replace(run.comparison, arms=arms)))
    assert rows["image size"] == ["64x64", "48x64", "of its arms", "64x64"]
    assert rows["initial weights"] == ["random", "net.pth", "of its arms", "random"]


def test_it_is_tested_against_the_reference(run):
    pairs = {pair["arm"]: pair for pair in json.loads((run.path / "comparison.json").read_text())["pairs"]}
    assert set(pairs) == {"crop", "both", "voted"}
    table = run.predictions[run.predictions.side == "valid"]
    whole = table[table.arm == "whole"]
    right = {arm: rows.set_index("image") for arm, rows in table.groupby("arm") if arm in ("both", "voted")}
    for arm, rows in right.items():
        theirs = (rows.predicted == rows.label).astype(float)[whole.image].to_numpy()
        ours = (whole.predicted == whole.label).to_numpy(float)
        assert pairs[arm]["only_arm"] == ((theirs > ours).sum())
        assert pairs[arm]["only_reference"] == ((ours > theirs).sum())


def test_a_test_set_is_compared_too(tmp_path):
    def write(folder, fits):
        folder.mkdir()
        rows = [
            {
                "image": image,
                "patient": image,
                "side": "test",
                "label": "a",
                "predicted": "a",
                "probability_a": 0.9,
                "probability_b": 0.1,
            }
            | ({"fit": fit} if fit is not None else {})
            for image in ("1.png", "2.png")
            for fit in fits
        ]
        pd.DataFrame(rows).to_csv(folder / "predictions.csv", index=False)
        return folder

    arms = {"one": write(tmp_path / "one", ["fold1-seed1", "fold2-seed1"]), "mean": write(tmp_path / "mean", [""])}
    pairs, not_paired = paired_comparisons([arms], ["a", "b"])
    assert [pair["arm"] for pair in pairs] == ["mean"] and not_paired == []


def test_what_is_lost_outside_is_that_of_the_fits_of_a_fold():
    """Two folds that are each right of half of the external images; together they are right of all."""
    fold = "fold1"
    member = rows(
        ("1.png", "p", "valid", "a", "a", 0.9, 0.1, "fold1"),
        ("2.png", "q", "valid", "b", "b", 0.1, 0.9, "fold2"),
        ("x.png", "r", "external:site", "a", "a", 0.9, 0.1, "fold1"),
        ("y.png", "s", "external:site", "b", "a", 0.6, 0.4, "fold1"),
        ("x.png", "r", "external:site", "a", "b", 0.4, 0.6, "fold2"),
        ("y.png", "s", "external:site", "b", "b", 0.1, 0.9, "fold2"),
    )
    voted, by_fold = average_predictions([member], ["a", "b"]), average_by_fold([member], ["a", "b"])
    assert (voted[voted.side == "external:site"].predicted == ["a", "b"]).all()
    outside = by_fold[by_fold.side == "external:site"]
    assert (len(outside), (outside.predicted == outside.label).mean()) == (4, 0.5)
    assert set(by_fold[by_fold.side == "valid"].fit) >= {fold}


def test_two_images_of_one_path_stay_two():
    member = rows(
        ("1.png", "p", "valid", "a", "a", 0.9, 0.1, "fold1"),
        ("1.png", "q", "valid", "b", "b", 0.2, 0.8, "fold1"),
    )
    averaged = average_predictions([member, member], ["a", "b"])
    assert averaged[["patient", "label", "predicted"]].to_numpy().tolist() == [["p", "a", "a"], ["q", "b", "b"]]


def test_the_reporting_sheet_says_whose_mean_it_is(run):
    sheet = {topic.name: topic.answer for topic in reporting_sheet(read_evidence(run.path))}
    assert "both is the mean of whole and crop; voted is the mean of whole" in sheet["network"]
    assert not any(name in sheet["optimization"] for name in ("both", "voted"))


def test_it_costs_what_its_members_cost(run):
    arms = run.comparison.arms
    assert arms["both"].cost.train_seconds == pytest.approx(arms["whole"].cost.train_seconds + arms["crop"].cost.train_seconds)
    assert arms["both"].cost.fits == 8
    assert arms["both"].summary.parameters == 4 * (arms["whole"].summary.parameters + arms["crop"].summary.parameters)
    assert arms["voted"].cost.epoch_seconds == arms["whole"].cost.epoch_seconds


def test_it_has_no_learner_of_its_own(run):
    with pytest.raises(UsageError, match=r"arm 'both': an ensemble; name one of its arms: whole, crop"):
        run.learner("both")


def test_its_report_and_display(run):
    assert "both" in run.path.joinpath("report.html").read_text()
    assert "both" in run._repr_html_()
    assert set(run.history.arm) == {"whole", "crop"}


def test_it_answers_with_the_mean_of_its_members(run):
    import torch

    from darkcovid.core.device import get_device, predict_batches
    from darkcovid.data.phantom import CLASSES, draw_anatomy, draw_radiograph
    from darkcovid.inference.predictor import InferencePipeline
    from darkcovid.recipe import Phantom

    random = np.random.RandomState(3)
    from PIL import Image

    images = [
        Image.fromarray(draw_radiograph(draw_anatomy(random), CLASSES[0], Phantom(image_size=64), random)[0]) for _ in range(3)
    ]
    model = load_fitted(run.path, "voted")
    pipeline = InferencePipeline(model, load_segmenter(None), get_device("cpu", "fp32"))
    answers = pipeline(images, explain=True)
    pixels = np.stack([np.asarray(image) for image in images])
    each = [
        torch.cat(list(predict_batches(member.network, pixels, member.normalizer, pipeline.compute))).softmax(1)
        for member in model.members
    ]
    assert len(each) == 4
    expected = (torch.stack(each).mean(0).log() / model.temperature).softmax(1).numpy()
    np.testing.assert_allclose([list(answer.probabilities.values()) for answer in answers], expected, atol=1e-5)
    assert all(answer.heat.shape == (64, 64) for answer in answers)
    assert len(InferencePipeline(load_fitted(run.path, "both"), load_segmenter(None), pipeline.compute)(images)) == 3


def test_an_ensemble_of_one_input_is_exported_and_one_of_several_is_refused(run, tmp_path):
    made = export_model(load_fitted(run.path, "voted"), load_segmenter(None), "onnx", tmp_path)
    assert made["classifier"]["largest_difference"] < 1e-4
    with pytest.raises(
        UsageError,
        match=r"^--arm both: its arms see different pixels of an image \(size, lungs, .*\); export them one by one",
    ):
        export_model(load_fitted(run.path, "both"), load_segmenter(None), "onnx", tmp_path)


def test_it_is_served(run):
    from starlette.testclient import TestClient

    from darkcovid.inference.predictor import load_pipeline
    from darkcovid.serving.app import create_app

    with TestClient(create_app({"both": load_pipeline(run.path, "both", "cpu")})) as client:
        assert client.get("/v1/models").json()["models"][0]["name"] == "both"
        card = client.get("/v1/models/both/card").json()
        assert (card["fit"], card["network"]) == ("both", "mean of 8 fits of three_layer_cnn")
        assert card["lungs"] == "whole image and crop"


def test_a_run_with_an_ensemble_is_reproduced(run, tmp_path):
    from darkcovid.experiment.reproduce import reproduce
    from darkcovid.experiment.runner import RunPaths
    from darkcovid.report.progress import null_progress

    again = reproduce(run.path, RunPaths(tmp_path / "runs", run.path.parent.parent / "cache"), null_progress())
    assert len(again.fits) == 8
    assert again.same


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ensemble": ["whole", "corp"]}, r"ensemble\.ensemble: no arm is called 'corp'; did you mean 'crop'\?"),
        ({"ensemble": {"whole": ["crop"]}}, r"ensemble\.whole: give it a name that no arm has"),
        ({"ensemble": {"a/b": ["crop"]}}, r"ensemble\.a/b: give it a name"),
        ({"ensemble": {"both": []}}, r"ensemble\.both: name one arm or several"),
        ({"ensemble": ["whole", "whole"]}, r"name one arm or several, each once"),
        ({"ensemble": ["whole"], "training": {}}, r"one arm of one fit has nothing to average"),
        ({"ensemble": "whole"}, r"ensemble"),
    ],
)
def test_ensembles_that_cannot_be(change, said):
    with pytest.raises(UsageError, match=said):
        validate(RECIPE | change, where="")


def test_an_ensemble_can_be_taken_out_of_a_recipe():
    assert validate(RECIPE | {"ensemble": None}, where="").ensemble == {}


def test_an_ensemble_without_all_of_its_arms_is_said_to_be_left_out(tmp_path):
    from ..experiment.test_runner import Watched

    recipe = validate(RECIPE | {"training": {"epochs": 1, "precision": "fp32"}, "ensemble": ["whole", "crop"]}, where="")
    progress = Watched()
    dc.run(recipe, arms=["whole"], runs_dir=tmp_path / "runs", cache_dir=tmp_path / "cache", progress=progress)
    assert "ensemble ensemble is left out, since not all of its arms were run: crop" in progress.text.getvalue()


def test_a_list_of_arms_is_an_ensemble_of_that_name():
    assert validate(RECIPE | {"ensemble": ["whole", "crop"]}, where="").ensemble == {"ensemble": ("whole", "crop")}

"""A run as a call: its tables, plots, learner and predictions, and the audit of runs, learners and foreign predictions."""

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pandas as pd
import pytest
from fastai.learner import Learner

import darkcovid as dc
from darkcovid.core.errors import UsageError
from darkcovid.experiment.notebook import overrides
from darkcovid.recipe.recipe import validate
from darkcovid.report.notebook_progress import epoch_table
from darkcovid.report.progress import null_progress
from darkcovid.training.history import History

KEYS = {
    "data.phantom.patients": 40,
    "data.phantom.image_size": 64,
    "data.image_size": 64,
    "lungs.crop_size": 32,
    "training.epochs": 2,
    "training.batch_size": 8,
    "training.device": "cpu",
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, cache_dir):
    folder = tmp_path_factory.mktemp("api") / "runs"
    arms = ["unsegmented", "segmented"]
    return dc.run("segmented", set=KEYS, arms=arms, phantom=True, runs_dir=folder, cache_dir=cache_dir, progress=null_progress())


@pytest.mark.slow
def test_a_run_shows_what_its_folder_holds(finished):
    comparison = finished.comparison
    assert finished.arms == list(finished.table.index) == ["unsegmented", "segmented"]
    assert finished.table.accuracy["segmented"] == comparison.arms["segmented"].metrics.valid.accuracy
    assert finished.table.image_size["segmented"] == (32, 32)
    low, high = finished.table.accuracy_low["segmented"], finished.table.accuracy_high["segmented"]
    assert (low, high) == comparison.arms["segmented"].metrics.valid.interval("accuracy")
    assert list(finished.history.epoch) == [1, 2, 1, 2] and list(finished.history.arm.unique()) == finished.arms
    images = sum(comparison.arms["segmented"].summary.images.values())
    assert finished.predictions.groupby("arm").size().to_dict() == dict.fromkeys(finished.arms, images)
    assert finished.report() == finished.path / "report.html"
    html = finished._repr_html_()
    assert finished.verdict[0].split(":")[0] in html and "segmented" in html and "never a diagnosis" in html
    assert "accuracy" in repr(finished)
    assert dc.open_run(finished.path).table.equals(finished.table)
    assert dc.compare(finished, finished.path).arms[0].endswith("unsegmented")
    with pytest.raises(UsageError, match="not a finished run"):
        dc.open_run(finished.path.parent)


@pytest.mark.slow
def test_a_run_draws_on_given_axes(finished):
    import matplotlib.pyplot as plt

    _, axes = plt.subplots(1, 3)
    assert finished.plot_history("accuracy", axes[0]) is axes[0] and len(axes[0].lines) == 2
    matrix = finished.plot_confusion_matrix("segmented", axes[1])
    counts = np.array(finished.metrics["segmented"].valid.confusion_matrix)
    assert [int(text.get_text()) for text in matrix.texts] == counts.ravel().tolist()
    assert finished.plot_comparison(axes[2]).get_ylabel().startswith("accuracy")
    with pytest.raises(UsageError, match="no column 'loss'"):
        finished.plot_history("loss")
    with pytest.raises(UsageError, match="no such arm"):
        finished.plot_confusion_matrix("crop")
    plt.close("all")


@pytest.mark.slow
def test_a_runs_learner_and_predictor_say_what_the_run_said(finished, cache_dir):
    learn = finished.learner("segmented", cache_dir=cache_dir)
    mine = learn.split_predictions().filter(like="probability_").to_numpy(np.float32)
    saved = finished.predictions.query("arm == 'segmented'").filter(like="probability_").to_numpy(np.float32)
    np.testing.assert_allclose(mine, saved, atol=1e-5)
    files = list(learn.dls.cohort.files[:4])
    table = finished.predictor("segmented", "cpu").predict(files)
    assert list(table.image) == [str(file) for file in files]
    assert table.label.tolist() == [learn.dls.classes[row.argmax()] for row in mine[:4]]
    assert finished.predictor("segmented", "cpu").predict([]).empty
    one = finished.predictor("segmented", "cpu").predict_one(np.zeros((80, 60), np.uint8))
    assert not one.lungs_trusted and sum(one.probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert finished.explain(files[0], "segmented").get_title().startswith(one.label[:0])
    with pytest.raises(UsageError, match="no such arm"):
        finished.learner("crop")


@pytest.mark.slow
def test_audits_of_a_run_a_learner_and_foreign_predictions_agree(finished, cache_dir, tmp_path):
    of_run = dc.audit(finished)
    assert len(of_run.checks) == 38 and of_run.verdict == finished.verdict
    learn = finished.learner("segmented", cache_dir=cache_dir)
    of_learner = dc.audit(learn)
    assert set(of_learner.checks.group) == {"data", "shortcuts", "evaluation"}
    same = [number for number in of_learner.checks.index if number in (1, 2, 3, 4, 5, 6, 9, 10, 34)]
    assert of_learner.checks.status[same].tolist() == of_run.checks.status[same].tolist()
    (metrics,) = of_learner.metrics.values()
    theirs = finished.metrics["segmented"]
    assert metrics.valid.accuracy == theirs.valid.accuracy
    erased = (metrics.shortcuts.views["lungs_erased"].accuracy, theirs.shortcuts.views["lungs_erased"].accuracy)
    assert erased[0] == pytest.approx(erased[1])

    page = of_learner.save(tmp_path / "audit.html").read_text()
    assert of_learner.verdict[1] in page and of_learner.verdict[1].startswith("Accuracy: ")
    sheets = {
        name: of_learner.save_sheet(name, tmp_path / f"{name}.md").read_text() for name in ("claim", "tripod-ai", "probast-ai")
    }
    assert all("asks for the recipe of a run" in sheet for sheet in sheets.values())
    assert "images / s" not in page and "speed-up per epoch" not in page
    with pytest.raises(UsageError, match=r"^audit: a learner of other DataLoaders than CXRDataLoaders needs cohort="):
        dc.audit(Learner(learn.dls, learn.model, loss_func=learn.loss_func))
    assert dc.audit_data(learn).leaks == dc.audit_data(learn.dls).leaks

    rows = learn.dls.cohort.rows
    predictions = finished.predictions.query("arm == 'segmented' and side == 'valid'")
    foreign = predictions.filter(like="probability_").rename(columns=lambda name: name.removeprefix("probability_"))
    report = dc.audit(foreign.assign(path=predictions.image), cohort=rows)
    assert report.metrics["predictions"].valid.accuracy == theirs.valid.accuracy
    assert report.checks.status[3] == "pass" and report.checks.status[19] == "not run"
    assert "not run" in report._repr_html_() and report.verdict[0] in str(report)
    leaked = rows.assign(patient_id="the same")
    assert dc.audit(foreign.assign(path=predictions.image), cohort=leaked).checks.status[3] == "fail"
    only_scored = rows[rows.path.isin(predictions.image)]
    assert dc.audit(foreign.assign(path=predictions.image), cohort=only_scored).checks.status[[3, 4]].tolist() == ["not run"] * 2


def test_what_cannot_be_audited_is_refused():
    cohort = pd.DataFrame({"path": ["a.png", "b.png"], "label": ["covid", "none"], "patient_id": ["1", "2"]})
    sound = pd.DataFrame({"image": ["a.png", "b.png"], "covid": [0.5, 0.1], "none": [0.5, 0.9]})
    for predictions, rows, message in (
        (3, cohort, "a int is neither a run"),
        (sound, None, "predictions need cohort="),
        (sound.drop(columns=["none", "covid"]), cohort, "no column of scores"),
        (sound.assign(none=2.0), cohort, "--scores logits"),
        (sound.assign(image="a.png"), cohort, "predicted twice"),
        (sound.assign(image=["a.png", "c.png"]), cohort, "not in the manifest, the first is c.png"),
    ):
        with pytest.raises(UsageError, match=message):
            dc.audit(predictions, cohort=rows)


def test_changes_of_keys_become_what_the_command_line_takes():
    changes = {"training.epochs": 5, "lungs": None, "data.classes": ["a", "b"], "training.lr": 3e-3, "model.arch": "resnet18"}
    assert overrides(changes) == [
        *("training.epochs=5", "lungs=null", 'data.classes=["a", "b"]', "training.lr=0.003", 'model.arch="resnet18"')
    ]
    with pytest.raises(UsageError, match="change the Recipe itself"):
        dc.run(dc_recipe(), set={"training.epochs": 1})


def dc_recipe():
    from darkcovid.recipe import load_recipe

    return load_recipe("demo")


def test_a_notebook_shows_epochs_as_a_table_and_the_time_left():
    row = {"epoch": 1, "train_loss": 0.5, "valid_loss": 0.25, "accuracy": 0.75, "seconds": 60.0}
    shown = epoch_table(History("accuracy", [row]), 3, 120.0)
    assert "<th>valid_loss</th>" in shown and "<td>0.2500</td>" in shown and "1/3, 2 min" in shown
    assert "left" not in epoch_table(History("accuracy", [row]), 1, 0.0)


def test_the_package_offers_its_api_without_importing_torch():
    import subprocess
    import sys

    code = "import sys, darkcovid as dc; assert 'run' in dir(dc) and 'torch' not in sys.modules; dc.CXRDataBlock; dc.nothing"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip().endswith("AttributeError: module 'darkcovid' has no attribute 'nothing'")


def test_the_learner_of_nearest_neighbors_holds_those_of_the_run(tmp_path, cache_dir):
    data = {"manifest": "phantom", "image_size": 64, "phantom": {"patients": 24, "image_size": 64}}
    recipe = {"name": "nn", "audit": "none", "data": data, "model": {"arch": "resnet18", "head": "nearest-neighbors"}}
    run = dc.run(validate(recipe | {"training": {"precision": "fp32"}}, where=""), runs_dir=tmp_path, cache_dir=cache_dir)
    learn = run.learner(cache_dir=cache_dir)
    columns = [name for name in run.predictions if name.startswith("probability_")]
    np.testing.assert_allclose(learn.probabilities(learn.dls.pixels), run.predictions[columns].astype(float), atol=1e-4)

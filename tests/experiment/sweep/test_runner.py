"""Whole sweeps on phantoms: they find what is known to be there, see no locked patient, and survive a kill."""

import json
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import darkcovid as dc
from darkcovid.core.errors import DarkCovidError, Interrupted, UsageError
from darkcovid.data.cohort import load_classification_cohort
from darkcovid.data.phantom import phantom_manifest
from darkcovid.experiment.run_dir import RunDir
from darkcovid.experiment.run_list import read_run
from darkcovid.experiment.runner import RunPaths
from darkcovid.experiment.sweep.deadline import Deadline
from darkcovid.experiment.sweep.inner_folds import inner_folds, training_side
from darkcovid.experiment.sweep.result import count_trials
from darkcovid.experiment.sweep.runner import final_recipe, run_sweep, sweep_folds
from darkcovid.experiment.sweep.study import SweepStudy
from darkcovid.experiment.sweep.trials import TrialContext, make_trials, reserved_seconds, trial_recipe
from darkcovid.recipe import Phantom, Recipe, load_recipe, swept_arm
from darkcovid.report.sweep import _shading
from darkcovid.scale.parallel import ChildProcesses
from darkcovid.scale.sweep_jobs import make_trials_in_parallel

from ...commands import error_of, processes
from ...conftest import RECIPES
from ..test_run_list import make_run
from ..test_runner import Watched

pytestmark = pytest.mark.usefixtures("quick_plots")

TEXT = """
name: tiny
data:
  manifest: phantom
  classes: [covid, rest]
  image_size: 64
  augment: none
  split: {valid: 0.3}
  phantom: {patients: 24, image_size: 64, signal: 1.0, shortcut: 1.0}
training: {epochs: 2, batch_size: 8, lr: 1.0e-3, precision: fp32, device: cpu}
audit: none
sweep:
  over: {training.lr: {log_range: [1.0e-5, 1.0e-2]}, training.weight_decay: [0.0, 0.01]}
  trials: 4
  folds: 2
  final_seeds: 1
"""


@pytest.fixture
def recipe(tmp_path):
    def recipe(*sets):
        (tmp_path / "tiny.yaml").write_text(TEXT)
        return load_recipe(tmp_path / "tiny.yaml", sets)

    return recipe


def only_sweep(runs):
    (folder,) = runs.glob("tiny-sweep-*")
    return folder


def trials(folder):
    table = pd.read_csv(folder / "trials.csv")
    return table[table.state != "interrupted"].drop(columns=["trial", "seconds"]).reset_index(drop=True)


def trials_alone(recipe, folder, cache):
    """The trials of a sweep without the final run, which takes longer."""
    folder.mkdir()
    _, folds = sweep_folds(recipe, cache, Watched())
    study = SweepStudy(folder, recipe)
    make_trials(TrialContext(study, RunDir(folder), cache, folds, Watched()))
    return study


@pytest.mark.slow
def test_a_sweep_finds_the_learning_rate_that_learns(recipe, darkcovid, tmp_path):
    """A marker in a corner tells covid; 1e-6 does not learn it in six epochs, 1e-3 does."""
    recipe()
    over = "sweep.over={training.lr: [1.0e-6, 1.0e-3], training.weight_decay: null}"
    sets = [over, "training.lr=1.0e-6", "training.epochs=6", "training.batch_size=4", "data.phantom.patients=40", "sweep.folds=3"]
    words = ["sweep", tmp_path / "tiny.yaml", *(word for key in [*sets, "sweep.trials=3"] for word in ("--set", key))]
    result = json.loads(darkcovid(*words, "--json", "--minutes", 30).stdout)
    assert result["best"]["values"] == {"training.lr": 1e-3} and result["best"]["metric"] > 0.9
    assert result["plain"]["metric"] < 0.85 and result["plain"]["values"] == {"training.lr": 1e-6}
    assert result["final"]["winner"]["metric"] > result["final"]["plain"]["metric"] + 0.2
    assert result["difference"]["low"] > 0 and "The winner is better in balanced accuracy" in result["sentences"][1]
    assert result["seeds"] == [42] and "chosen among 3 trials (3 complete" in result["sentences"][2]
    final = json.loads((tmp_path / result["final_run"] / "comparison.json").read_text())
    assert final["arms"]["winner"]["balanced_accuracy"] == result["final"]["winner"]["metric"]  # the headline is the final run's
    assert json.loads((tmp_path / result["run_dir"] / "sweep.json").read_text()) == result
    assert "no unfinished run" in error_of(darkcovid(*words, "--resume", code=2))
    listed = json.loads(darkcovid("runs", "list", "--json").stdout)
    assert [run["kind"] for run in listed] == ["run", "sweep"]


@pytest.mark.slow
def test_a_sweep_as_a_call(recipe, tmp_path):
    few = {"sweep.trials": 1, "sweep.over": {"training.lr": [1e-3]}, "training.epochs": 1}
    folders = {"runs_dir": tmp_path / "runs", "cache_dir": tmp_path / "cache", "progress": Watched()}
    recipe()
    found = dc.sweep(tmp_path / "tiny.yaml", set=few, **folders)
    assert json.loads((Path(found.run_dir) / "sweep.json").read_text()) == json.loads(json.dumps(found.as_dict()))
    assert set(found.final) == {"plain"} and Path(found.final_run).is_dir()
    with pytest.raises(UsageError, match="sweep: manifest, set"):
        dc.sweep(recipe(), set=few, **folders)


def written_cohort(folder, noise):
    """The phantom cohort as a manifest that names each image's set; with `noise` the locked images and labels are others."""
    manifest = phantom_manifest(Phantom(patients=24, image_size=64, signal=1.0, shortcut=1.0), folder.parent / "cache")
    rows = manifest.rows.copy()
    patients = sorted(rows.patient_id.unique())
    locked = rows.patient_id.isin(patients[::4]) | rows.patient_id.isin(patients[1::8])
    rows["split"] = np.where(rows.patient_id.isin(patients[::4]), "valid", np.where(locked, "test", "train"))
    folder.mkdir()
    random = np.random.default_rng(3)
    for number, (place, row) in enumerate(rows.iterrows()):
        with Image.open(manifest.locate(row.path)) as image:
            pixels = np.asarray(image.convert("L")).copy()
        if noise and locked[place]:
            pixels = random.integers(0, 256, pixels.shape, np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        rows.loc[place, "path"] = f"{number}.png"
    if noise:
        of_set = [rows.index[rows.split == name] for name in ("valid", "test")]
        for places in of_set:
            rows.loc[places, "label"] = rows.label[places].to_numpy()[::-1]
    rows.drop(columns=["sha256", "bytes", "width", "height", "lung_mask"], errors="ignore").to_csv(
        folder / "manifest.csv", index=False
    )
    return folder / "manifest.csv"


@pytest.mark.slow
def test_no_trial_knows_the_locked_images_or_labels(recipe, tmp_path):
    """With other pixels and labels in the locked sets, trials are the same to the last digit; so are those of the same seed."""
    found, few = [], ["sweep.trials=3", "sweep.metric=log_loss", "training.epochs=1"]
    for name in ("true", "noise"):
        manifest = written_cohort(tmp_path / name, noise=name == "noise")
        swept = recipe(f"data.manifest={manifest}", "data.split={method: by_column, column: split}", *few)
        study = trials_alone(swept, tmp_path / f"sweep-{name}", tmp_path / "cache")
        found.append([(record.values, record.metric, record.folds) for record in study.records()])
    assert found[0] == found[1] and len({metric for _, metric, _ in found[0]}) > 1


def test_the_training_side_holds_nothing_of_locked_patients(phantom_data, cache_dir):
    split = phantom_data.split.model_copy(update={"method": "random", "test": 0.2})
    cohort = load_classification_cohort(phantom_data.model_copy(update={"split": split, "allow_leaks": True}), cache_dir)
    locked = set(cohort.patients[cohort.valid | cohort.test])
    assert locked & set(cohort.patients[cohort.train])  # an image-wise split has patients in two sets
    side = training_side(cohort)
    assert len(side) and not locked & set(side.patients)
    assert set(side.manifest.rows.path) == set(side.rows.path) and len(side.files) == len(side.sha256) == len(side)
    folds = inner_folds(side, 2, 41)
    assert not set(folds[0].patients[folds[0].valid]) & set(folds[1].patients[folds[1].valid])
    assert (folds[0].valid ^ folds[1].valid).all() and not any(fold.test.any() for fold in folds)
    with pytest.raises(UsageError, match="use fewer folds"):
        inner_folds(side, 20, 41)


def sweep_in(folder, recipe_file):
    try:
        run_sweep(load_recipe(recipe_file), RunPaths(folder / "runs", folder / "cache"), Watched(), (folder / "runs").exists())
    except Interrupted:
        os._exit(130)


@pytest.mark.slow
def test_a_sweep_that_is_killed_again_and_again_ends_as_one_that_was_not(recipe, tmp_path):
    recipe()
    context = processes()
    began = time.monotonic()
    whole = context.Process(target=sweep_in, args=(tmp_path / "whole", tmp_path / "tiny.yaml"))
    whole.start()
    whole.join()
    assert whole.exitcode == 0
    seconds, kills = time.monotonic() - began, 0
    for share in (0.3, 0.5, None):
        process = context.Process(target=sweep_in, args=(tmp_path / "killed", tmp_path / "tiny.yaml"))
        process.start()
        process.join(None if share is None else share * seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
            kills += 1
        elif process.exitcode == 0:
            break
    assert kills
    runs = [tmp_path / name / "runs" for name in ("whole", "killed")]
    pd.testing.assert_frame_equal(*(trials(only_sweep(folder)) for folder in runs), check_exact=True)
    first, second = (json.loads((only_sweep(folder) / "sweep.json").read_text()) for folder in runs)
    for key in ("final", "difference", "seeds", "locked"):
        assert first[key] == second[key]
    assert all(len(list(folder.glob("tiny-final-*"))) == 1 for folder in runs)
    info = read_run(only_sweep(runs[1]))
    assert (info.status, info.is_sweep, list(info.summary.arms)) == ("done", True, ["tiny", "winner"])
    page = (only_sweep(runs[1]) / "report.html").read_text()
    assert "that no trial saw" in page and page.count("data:image/png") >= 2 and "http" not in page


def judged_by(metric):
    """In place of real trials, ones that have the metric of their values."""

    def make(context):
        while (trial := context.study.ask()) is not None:
            context.study.finish(trial, metric(context.study.values(trial)), [0.5, 0.5], 1.0)

    return make


LOOKING = {"checkpoint": "[last, best]", "early_stopping_patience": "[null, 3]", "reduce_lr_on_plateau": "[null, {patience: 3}]"}
BOTH, WINNER = "Both are flattered: ", "Only the winner is flattered, so it looks better beside the plain recipe than it is: "
PLAIN = "Only the plain recipe is flattered, so the winner looks worse beside it than it is: "


def final_arms(recipe, folders, progress, names, resume):
    """In place of the final run, a comparison of its arms without a difference."""
    folder = make_run(folders.runs.parent / f"final-{recipe.digest()}", accuracy=0.5)
    comparison = json.loads((folder / "comparison.json").read_text())
    (arm,) = comparison["arms"].values()
    return comparison | {"arms": dict.fromkeys(names, arm), "pairs": []}


@pytest.mark.parametrize(
    ("key", "plain", "wins", "cautioned"),
    [
        *((key, "null" if key != "checkpoint" else "last", True, WINNER) for key in LOOKING),
        ("checkpoint", "best", False, PLAIN),
        ("early_stopping_patience", "3", False, PLAIN),
        ("lr", "1.0e-3", True, ""),
        ("lr", "1.0e-3", True, BOTH),
    ],
)
def test_whoever_looks_at_the_set_that_is_scored_is_said_to(recipe, folders, key, plain, wins, cautioned):
    """`wins` is whether the trial that looks is the best; a test set is not looked at."""
    over = LOOKING.get(key, "[1.0e-3, 1.0e-2]")
    spaces = {"training.weight_decay": "null", "training.lr": "null", f"training.{key}": over}
    sets = [f"sweep.over={{{', '.join(f'{name}: {space}' for name, space in spaces.items())}}}", f"training.{key}={plain}"]
    sets += ["training.schedule=constant", "sweep.sampler=grid"]
    sets += ["training.checkpoint=best"] * (cautioned == BOTH)
    quiet = (None, "last", 1e-3)
    make = judged_by(lambda values: 0.9 if (values[f"training.{key}"] not in quiet) == wins else 0.5)
    said = run_sweep(recipe(*sets), folders, Watched(), make=make, final_run=final_arms).sentences
    looked = "checkpoint" if cautioned == BOTH else key
    end = f"{cautioned}training.{looked} went by the set that is scored; hold out a test set (data.split.test)."
    assert said[3:] == ((end,) if cautioned else ())
    tested = run_sweep(recipe(*sets, "data.split.test=0.2"), folders, Watched(), make=make, final_run=final_arms)
    assert len(tested.sentences) == 3


@pytest.mark.parametrize("values", ["[1.0e-3, 1.0e-2]", "[1.0e-2, 1.0e-3]", "[1.0e-2, 0.0010]"])
@pytest.mark.parametrize("tied", [False, True])
def test_a_plain_recipe_that_no_value_beats_is_fitted_once_and_that_is_said(recipe, folders, tmp_path, values, tied):
    swept = recipe(f"sweep.over={{training.lr: {values}, training.weight_decay: null}}", "sweep.sampler=grid")
    make = judged_by(lambda found: 0.9 if tied or found["training.lr"] == 1e-3 else 0.5)
    arms = []

    def final(recipe, folders, progress, names, resume):
        arms.append((names, list(recipe.arms)))
        return final_arms(recipe, folders, progress, names, resume)

    result = run_sweep(swept, folders, Watched(), make=make, final_run=final)
    assert arms == [(["tiny"], ["tiny"])] and (list(result.final), result.difference) == (["plain"], None)
    assert result.sentences[1].startswith("No value tried beat the recipe's own")
    page = (only_sweep(folders.runs) / "report.html").read_text()
    assert "The plain recipe, confirmed" in page and "winner" not in page
    assert list(read_run(only_sweep(folders.runs)).summary.arms) == ["tiny"]


def test_trials_that_tie_are_said_to(recipe, folders):
    swept = recipe(
        "sweep.over={training.lr: [1.0e-2, 1.0e-4, 1.0e-5], training.weight_decay: null}",
        "training.lr=1.0e-3",
        "sweep.sampler=grid",
    )
    make = judged_by(lambda found: 0.5 if found["training.lr"] == 1e-4 else 0.75)
    result = run_sweep(swept, folders, Watched(), make=make, final_run=final_arms)
    assert result.trials["tied"] == 2
    assert "2 trials tied at a balanced accuracy of 0.750 there, and the first is taken." in result.sentences[2]
    page = (only_sweep(folders.runs) / "report.html").read_text()
    assert "2 trials tied at 0.750; the first is taken" in page and "The winner against the plain recipe</h2>" in page
    assert (page.count(">tied, taken<"), page.count(">tied<")) == (1, 1)
    assert f'href="../{Path(result.final_run).name}/report.html"' in page


@pytest.mark.parametrize(
    ("metric", "value", "expected"),
    [("accuracy", 0.98, (0.93, 1.0)), ("roc_auc", 0.01, (0.0, 0.06)), ("log_loss", 1.2, (1.15, 1.25))],
)
def test_equal_metrics_are_shaded_within_what_the_metric_can_be(metric, value, expected):
    shading = _shading([value, value], metric)
    assert (shading.vmin, shading.vmax) == pytest.approx(expected)


def test_trials_that_cannot_be_are_counted_and_the_others_go_on(recipe, tmp_path, cache_dir):
    """A learning rate of 1e30 makes the loss nan."""
    over = "sweep.over={training.lr: [1.0e-3, 1.0e+30], training.weight_decay: null}"
    study = trials_alone(recipe(over, "sweep.sampler=grid", "training.epochs=1"), tmp_path / "sweep", cache_dir)
    assert count_trials(study) | {"complete": 1, "failed": 1, "planned": 2} == count_trials(study)
    assert study.best().values == {"training.lr": 1e-3}
    (failed,) = [record for record in study.records() if record.state == "failed"]
    assert "the training loss became nan" in failed.reason


def test_a_sweep_of_which_nothing_works_says_why(recipe, folders):
    over = "sweep.over={training.lr: [1.0e+30, 1.0e+31], training.weight_decay: null}"
    with pytest.raises(DarkCovidError, match="all 2 trials failed, the first with: the training loss became nan"):
        run_sweep(recipe(over, "sweep.sampler=grid"), folders, Watched())
    assert read_run(only_sweep(folders.runs)).status == "failed"


def test_a_recipe_without_a_sweep_and_a_budget_that_is_over(recipe, folders):
    with pytest.raises(UsageError, match="the recipe has no sweep; add"):
        run_sweep(Recipe(name="plain"), folders, Watched())
    with pytest.raises(DarkCovidError, match="no trial was finished in 1e-06 minutes; give more --minutes"):
        run_sweep(recipe(), folders, Watched(), minutes=1e-6)


def test_time_is_kept_for_the_final_fits(recipe, tmp_path):
    """Two folds are fits of half of the training set; the final fits are one of the winner and one of the plain recipe."""
    study = SweepStudy(tmp_path, recipe())
    assert reserved_seconds(study) == 0
    for metric, seconds in ((0.5, 10.0), (0.9, 30.0)):
        study.finish(study.ask(), metric, [metric], seconds)
    assert reserved_seconds(study) == 10 + 30  # the first trial has the recipe's own values, the second is the best
    assert Deadline(1.0, began=time.monotonic() - 25).is_over(40) and not Deadline(1.0).is_over(40)


@pytest.mark.slow
def test_trials_of_a_worker_are_those_of_this_process(recipe, tmp_path, cache_dir):
    swept = recipe("sweep.sampler=random", "sweep.pruner=none", "training.epochs=1", "sweep.trials=2")
    alone = trials_alone(swept, tmp_path / "alone", cache_dir)
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "recipe.yaml").write_text(swept.to_yaml())
    study = SweepStudy(tmp_path / "jobs", swept)
    workers = ChildProcesses(1)
    make_trials_in_parallel(TrialContext(study, RunDir(tmp_path / "jobs"), cache_dir, (), Watched(), Deadline(5.0)), workers)
    values = [sorted(str(record.values) for record in each.records()) for each in (alone, study)]
    assert values[0] == values[1] and count_trials(study)["complete"] == 2


@pytest.mark.parametrize("where", ["training", "arms.one"])
def test_trials_make_no_views_at_test_time_and_the_final_fits_do(recipe, tmp_path, where):
    views = ["training.tta_views=4", "training.tta_below=0.9"]
    sets = views if where == "training" else ["arms={one: {training.tta_views: 4, training.tta_below: 0.9}}"]
    study = SweepStudy(tmp_path, recipe(*sets))
    tried = trial_recipe(study, {"training.lr": 1e-3}).arm_recipes()[swept_arm(study.recipe)].training
    assert (tried.tta_views, tried.tta_below, tried.lr) == (0, None, 1e-3)
    study.finish(study.ask(), 0.5, [], 1.0)
    final, names, _ = final_recipe(study.recipe.model_copy(update={"arms": study.recipe.arms or {"tiny": {}}}), study.best())
    assert {final.arm_recipes()[name].training.tta_views for name in names.values()} == {4}


def test_every_trial_of_the_shipped_sweep_is_a_recipe(tmp_path):
    shipped = load_recipe(RECIPES / "sweep.yaml")
    study = SweepStudy(tmp_path, shipped)
    for number in range(study.total):
        trial = study.ask()
        tried = trial_recipe(study, study.values(trial)).arm_recipes()["segmented"]
        assert tried.training.lr == study.values(trial)["training.lr"] and tried.audit == "none"
        assert (tried == trial_recipe(study, {}).arm_recipes()["segmented"]) == (
            number == 0
        )  # the first has the recipe's own values
        study.finish(trial, 0.5, [], 1.0)

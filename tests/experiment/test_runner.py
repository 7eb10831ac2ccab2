"""The main line in full on the phantom cohort, and two epochs of it on the real radiographs."""

import csv
import gzip
import io
import json
import re
import threading
from contextlib import nullcontext

import filelock
import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from safetensors import safe_open

from darkcovid.core.distributed import ALONE
from darkcovid.core.errors import Interrupted, UsageError
from darkcovid.data.normalize import Normalize
from darkcovid.experiment.run_dir import RunDir
from darkcovid.experiment.run_state import holds_lock
from darkcovid.experiment.runner import exclusive_fit_lock, run
from darkcovid.experiment.train_arm import FitJob
from darkcovid.lungs.unet import build_unet, save_segmenter
from darkcovid.recipe import load_recipe
from darkcovid.report.progress import Progress

from ..conftest import RECIPES

ARM_KEYS = {
    *("image_size", "parameters", "images", "prepare_seconds", "segment_seconds", "train_seconds", "epoch_seconds"),
    *("train_images_per_second", "speedup", "peak_host_bytes", "peak_device_bytes", "accuracy", "balanced_accuracy"),
    *("per_class", "confusion_matrix", "untrusted_lungs", "bad_images"),
}

SETS = ["data.manifest=phantom", "data.dataset=null", "data.phantom.patients=24", "data.phantom.image_size=96"]
SETS += ["data.image_size=96", "training.epochs=2", "training.batch_size=8", "data.split.valid=0.25"]


class Watched(Progress):
    """Progress whose text is kept, and which can raise after an epoch of an arm."""

    def __init__(self, stop_at=None):
        self.text, self.stop_at = io.StringIO(), stop_at
        super().__init__(Console(file=self.text, width=200))

    def stage(self, text):
        super().stage(text)
        if self.stop_at and text.startswith(self.stop_at):
            raise KeyboardInterrupt


@pytest.mark.parametrize("held", [0.3, None])
def test_a_fit_waits_for_a_lock_that_is_held_for_a_moment(tmp_path, held):
    """`runs list` takes each lock to see whether another has it; another fit keeps it."""
    job = FitJob(RunDir(tmp_path), "whole", load_recipe(RECIPES / "base.yaml"), tmp_path / "whole")
    job.folder.mkdir()
    lock = filelock.FileLock(job.folder / ".lock", thread_local=False)
    lock.acquire()
    if held is None:
        with pytest.raises(UsageError, match="another process is fitting whole"), exclusive_fit_lock(job, ALONE):
            pass
        lock.release()
        return
    threading.Timer(held, lock.release).start()
    with exclusive_fit_lock(job, ALONE):
        assert holds_lock(tmp_path)


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_the_main_job_on_phantoms(folders):
    recipe = load_recipe(RECIPES / "segmented.yaml", [*SETS, "lungs.crop_size=null"])
    progress = Watched()
    comparison = run(recipe, folders, progress, profile=True)
    directory = folders.runs / comparison["run_dir"].split("/")[-1]

    assert list(comparison["arms"]) == ["unsegmented", "small", "segmented"]
    for arm in comparison["arms"].values():
        assert set(arm) >= ARM_KEYS
    whole, small, crop = comparison["arms"].values()
    assert whole["image_size"] == [96, 96]
    assert small["image_size"] == crop["image_size"] != [96, 96]
    assert whole["speedup"] == 1.0
    assert crop["segment_seconds"] > 0 == whole["segment_seconds"]
    assert crop["untrusted_lungs"] <= 5

    pages = [(directory / name / "profile.txt").read_text() for name in comparison["arms"]]
    assert all("training: backward" in page and re.search(r"aten::\w*conv\w*_backward", page) for page in pages)
    with gzip.open(directory / "segmented" / "trace.json.gz", "rt") as trace:
        assert json.load(trace)["traceEvents"]

    assert json.loads((directory / "status.json").read_text())["state"] == "done"
    assert load_recipe(directory / "recipe.yaml") == recipe
    assert json.loads((directory / "environment.json").read_text())["libraries"]["torch"]
    assert "| accuracy |" in (directory / "comparison.md").read_text()
    assert (directory / "comparison.png").read_bytes().startswith(b"\x89PNG")
    events = [json.loads(line)["event"] for line in (directory / "events.jsonl").read_text().splitlines()]
    assert events == ["running", *["arm", "epoch", "epoch"] * 3, "done"]
    splits = {(directory / arm / "split.csv").read_text() for arm in ("unsegmented", "small")}
    assert len(splits) == 1
    for arm in comparison["arms"]:
        folder = directory / arm
        names = {path.name for path in folder.iterdir()}
        assert names == {
            "split.csv", "history.csv", "predictions.csv",
        "shortcut_predictions.csv", "metrics.json", "timing.json", "weights.safetensors", "feature_distance.safetensors", "plots",
            "gradcam.csv", "explanations.csv", "thumbnails.json", "profile.txt", "trace.json.gz",
        }  # fmt: skip
        plots = {path.name for path in (folder / "plots").iterdir()}
        curves = {
            "loss.png",
            "accuracy.png",
            "learning_rate.png",
            "roc.png",
            "precision_recall.png",
            "reliability.png",
            "risk_coverage.png",
        }
        untrusted = {"untrusted_lungs.png"} if comparison["arms"][arm]["untrusted_lungs"] else set()
        assert plots == curves | {"confusion_matrix.png", "gradcam.png"} | untrusted
        assert len(read_csv(folder / "history.csv")) == 2
        rows = read_csv(folder / "predictions.csv")
        valid = [row for row in rows if row["side"] == "valid"]
        right = [row["label"] == row["predicted"] for row in valid]
        assert np.mean(right) == pytest.approx(comparison["arms"][arm]["accuracy"])
        assert len(rows) == sum(comparison["arms"][arm]["images"].values())
    with safe_open(directory / "segmented" / "weights.safetensors", framework="pt") as file:
        about = json.loads(file.metadata()["darkcovid"])
    assert about["image_size"] == crop["image_size"]
    assert "unsegmented epoch 2/2" in progress.text.getvalue()
    assert "now predicting" in progress.text.getvalue()


@pytest.mark.slow
def test_an_interrupted_run_goes_on_where_it_was_and_gives_the_same_numbers(folders, monkeypatch):
    kept = []
    monkeypatch.setattr("darkcovid.experiment.runner.computing_with", lambda count: kept.append(count) or nullcontext())
    recipe = load_recipe(RECIPES / "segmented.yaml", [*SETS, "lungs.crop_size=64", "training.precision=fp32"])
    arms = ["small", "segmented"]
    whole = run(recipe, folders, Watched(), arms)
    with pytest.raises(KeyboardInterrupt):
        run(recipe, folders, Watched(stop_at="segmented epoch 1/2"), arms)
    states = [RunDir(path).state() for path in folders.runs.iterdir()]
    assert sorted(states) == ["done", "interrupted"]
    (path,) = [path for path in folders.runs.iterdir() if RunDir(path).state() == "interrupted"]
    environment = json.loads((path / "environment.json").read_text()) | {"torch_threads": 7}
    (path / "environment.json").write_text(json.dumps(environment))
    progress = Watched()
    resumed = run(recipe, folders, progress, arms, resume=True)
    assert kept == [None, None, 7]
    said = progress.text.getvalue()
    assert "small is finished already" in said
    assert "segmented epoch 2/2" in said
    assert "segmented epoch 1/2" not in said
    for arm in arms:
        for key in ("accuracy", "confusion_matrix", "per_class"):
            assert resumed["arms"][arm][key] == whole["arms"][arm][key]
    first, second = sorted(folders.runs.iterdir())
    for name in ("predictions.csv", "split.csv"):
        assert (first / "segmented" / name).read_text() == (second / "segmented" / name).read_text()


@pytest.mark.slow
def test_the_lung_recipe_trains_on_phantom_masks_and_its_weights_crop(folders):
    sets = ["data.manifest=phantom", "data.phantom.patients=12", "data.phantom.image_size=128"]
    recipe = load_recipe(RECIPES / "lung_unet.yaml", [*sets, "training.epochs=4", "training.batch_size=4"])
    comparison = run(recipe, folders, Watched())
    arm = comparison["arms"]["lung_unet"]
    assert 0 < arm["dice"]["min"] <= arm["dice"]["p5"] <= arm["dice"]["median"] <= 1
    assert arm["dice"]["mean"] > 0.3
    weights = folders.runs / comparison["run_dir"].split("/")[-1] / "lung_unet" / "weights.safetensors"
    crops = load_recipe(
        RECIPES / "segmented.yaml", [*SETS, "lungs.crop_size=64", f"lungs.weights={weights}", "training.epochs=1"]
    )
    used = run(crops, folders, Watched(), ["segmented"])
    assert used["arms"]["segmented"]["image_size"] == [64, 64]


def test_where_no_lungs_are_found_whole_images_are_used_counted_and_shown(folders, tmp_path):
    blind = build_unet()
    with torch.no_grad():
        blind.segmentation_head[0].weight.zero_()
        blind.segmentation_head[0].bias.fill_(-100)
    save_segmenter(blind, Normalize(0.5, 0.25), tmp_path / "blind.safetensors")
    sets = [*SETS, "training.epochs=1", "lungs.crop_size=null", f"lungs.weights={tmp_path / 'blind.safetensors'}"]
    comparison = run(load_recipe(RECIPES / "segmented.yaml", sets), folders, Watched(), ["segmented"])
    arm, folder = comparison["arms"]["segmented"], folders.runs / comparison["run_dir"].split("/")[-1] / "segmented"
    assert arm["image_size"] == [96, 96]
    assert arm["untrusted_lungs"] == sum(arm["images"].values())
    assert {row["lungs_untrusted"] for row in read_csv(folder / "split.csv")} == {"lungs cover only 0% of the image"}
    assert Image.open(folder / "plots" / "untrusted_lungs.png").width == 4 * 256


@pytest.mark.slow
def test_the_folds_of_a_segmenter_are_pooled(folders):
    sets = ["data.manifest=phantom", "data.phantom.patients=12", "data.phantom.image_size=64"]
    sets += ["data.split.folds=null", "training.folds=2"]
    recipe = load_recipe(RECIPES / "lung_unet.yaml", [*sets, "training.epochs=1", "training.batch_size=4"])
    comparison = run(recipe, folders, Watched())
    arm = comparison["arms"]["lung_unet"]
    folder = folders.runs / comparison["run_dir"].split("/")[-1] / "lung_unet"
    rows = read_csv(folder / "predictions.csv")
    assert len({row["image"] for row in rows}) == len(rows) == arm["images"]["valid"]
    assert arm["dice"]["mean"] == pytest.approx(np.mean([float(row["dice"]) for row in rows]), abs=1e-5)
    each = [json.loads((folder / fold / "metrics.json").read_text())["dice"]["mean"] for fold in ("fold1", "fold2")]
    assert arm["mean"]["dice"] == pytest.approx(np.mean(each))
    assert arm["sd"]["dice"] == pytest.approx(np.std(each, ddof=1))


@pytest.mark.slow
def test_folds_and_seeds_are_pooled_each_fit_resumable(folders):
    ward = "{manifest: phantom, name: ward, shared_patient_ids: false, phantom: {patients: 8, image_size: 96, seed: 8}}"
    recipe = load_recipe(
        RECIPES / "base.yaml",
        [*SETS, "training.folds=3", "training.seeds=[1, 2]", "training.epochs=1", f"data.external=[{ward}]"],
    )
    with pytest.raises(Interrupted):
        run(recipe, folders, Watched(stop_at="base/fold2-seed1 epoch 1"))
    watched = Watched()
    comparison = run(recipe, folders, watched, resume=True)
    assert "base/fold1-seed1 is finished already" in watched.text.getvalue()
    folder = folders.runs / comparison["run_dir"].split("/")[-1] / "base"
    names = [f"fold{fold}-seed{seed}" for seed in (1, 2) for fold in (1, 2, 3)]
    assert all((folder / name / "weights.safetensors").is_file() for name in names)
    arm, rows = comparison["arms"]["base"], read_csv(folder / "predictions.csv")
    assert {row["side"] for row in rows} == {"valid", "external:ward"}
    outside = [row["image"] for row in rows if row["side"] != "valid"]
    rows = [row for row in rows if row["side"] == "valid"]
    assert len(outside) == 6 * len(set(outside)) == 6 * arm["external"]["ward"]["images"]
    assert arm["external"]["ward"]["labels"] == {"covid": "covid", "no_finding": "no_finding", "pneumonia": "pneumonia"}
    assert len(rows) == 2 * arm["images"]["valid"] == 2 * len({row["image"] for row in rows})
    assert arm["accuracy"] == pytest.approx(np.mean([row["label"] == row["predicted"] for row in rows]))
    each = [json.loads((folder / name / "metrics.json").read_text())["accuracy"] for name in names]
    assert (arm["mean"]["accuracy"], arm["sd"]["accuracy"]) == pytest.approx((np.mean(each), np.std(each, ddof=1)))
    audited = [json.loads((folder / name / "metrics.json").read_text())["shortcuts"]["images"] for name in names]
    assert arm["shortcuts"]["images"] == sum(audited)
    seconds = [json.loads((folder / name / "timing.json").read_text())["train_seconds"] for name in names]
    assert arm["train_seconds"] == pytest.approx(sum(seconds))
    patients = {}
    for row in rows:
        patients.setdefault(row["patient"], set()).add(row["fit"].split("-")[0])
    assert all(len(folds) == 1 for folds in patients.values())


@pytest.mark.slow
def test_the_audit_that_trains_again_has_arms_of_its_own(folders):
    recipe = load_recipe(RECIPES / "base.yaml", [*SETS, "audit=retrain", "audit_epochs_fraction=0.5", "lungs=null"])
    comparison = run(recipe, folders, Watched())
    names = ["base", *(f"audit_{name}" for name in ("no_lungs", "lungs_only", "border_only", "thumbnail", "shuffled"))]
    assert list(comparison["arms"]) == names
    assert {arm["epochs"] for name, arm in comparison["arms"].items() if name != "base"} == {1}
    assert {name for name, arm in comparison["arms"].items() if "shortcuts" in arm and "attention" in arm} == {"base"}
    assert comparison["pairs"] == []
    directory = folders.runs / comparison["run_dir"].split("/")[-1]
    truths = {(row["image"], row["label"]) for row in read_csv(directory / "base" / "predictions.csv")}
    assert truths == {(row["image"], row["label"]) for row in read_csv(directory / "audit_shuffled" / "predictions.csv")}
    page = (directory / "report.html").read_text(encoding="utf-8")
    assert "trained again without lungs" in page
    assert "trained on shuffled labels" in page
    assert all(f'<th scope="col">{name}</th>' in page for name in names)


@pytest.mark.slow
@pytest.mark.real_data
def test_two_epochs_on_real_radiographs(folders, real_data):
    manifest = real_data / "ozturk512" / "manifest.csv"
    sets = [f"data.manifest={manifest}", "data.max_per_class=50", "training.epochs=2", "training.batch_size=4"]
    recipe = load_recipe(RECIPES / "segmented.yaml", sets)
    comparison = run(recipe, folders, Watched(), ["unsegmented", "segmented"])
    whole, crop = comparison["arms"].values()
    assert whole["parameters"] == 1_167_586
    assert 145 <= sum(whole["images"].values()) <= 155
    assert crop["image_size"] == [128, 128]
    assert crop["untrusted_lungs"] < 0.05 * 150
    assert crop["train_seconds"] < whole["train_seconds"]
    assert min(whole["accuracy"], crop["accuracy"]) > 0.4

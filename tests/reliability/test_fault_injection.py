"""A run that is killed before a write, and resumed, ends with the files of a run that was never killed: before the first and the
last write of each kind."""

import json
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

from darkcovid.experiment.runner import RunPaths, run
from darkcovid.recipe import load_recipe
from darkcovid.report.progress import null_progress

from ..conftest import RECIPES
from .attempts import SETS

TIMED = {"timing.json", "comparison.json", "comparison.md", "comparison.png", "report.html", "status.json", "environment.json"}
TIMED |= {
    "history.csv",
    "events.jsonl",
    "audit.json",
    "recipe.yaml",
}  # compared without their times, or not at all
TIMELESS = ["epoch", "train_loss", "valid_loss", "accuracy", "lr", "train_images"]
pytestmark = pytest.mark.usefixtures("quick_plots")

CASES = {
    "single": [*SETS, "training.epochs=3", "audit=none"],
    "folds": [*SETS, "training.epochs=2", "training.folds=2", "audit=data"],
}


class Snapshots:
    """Copies the runs folder before every rename, append and removal in it: what a kill just then would leave."""

    def __init__(self, runs: Path, target: Path, monkeypatch):
        self.runs, self.target, self.taken, self.before = runs, target, [], ""
        for name in ("replace", "unlink", "open"):
            monkeypatch.setattr(Path, name, self.watched(name, getattr(Path, name)))

    def watched(self, name, original):
        def call(path, *args, **kwargs):
            appends = name == "open" and "a" in str(args[0] if args else kwargs.get("mode", "r"))
            changes = appends or name == "replace" or (name == "unlink" and path.exists())
            if changes and self.runs in path.parents and not path.name.endswith(".lock"):
                self.take(f"{name} {args[0].name if name == 'replace' else path.name}")
            return original(path, *args, **kwargs)

        return call

    def take(self, before):
        folder = self.target / str(len(self.taken))
        shutil.copytree(self.runs, folder)
        self.taken.append((folder, before))


def normalized(path: Path):
    """A file's content without times."""
    if path.name == "history.csv":
        return pd.read_csv(path)[TIMELESS].to_csv()
    if path.name == "events.jsonl":
        events = [json.loads(line) for line in path.read_text().splitlines()]
        return sorted((event["arm"], event["epoch"]) for event in events if event["event"] == "epoch")
    if path.name == "comparison.json":
        arms = json.loads(path.read_text())["arms"]
        return {arm: (values["accuracy"], values["confusion_matrix"], values["epochs"]) for arm, values in arms.items()}
    if path.name == "summary.json":
        arms = json.loads(path.read_text())["arms"]
        costs = ("second", "bytes", "joules", "speedup")
        return {
            arm: {key: value for key, value in row["metrics"].items() if not any(cost in key for cost in costs)}
            for arm, row in arms.items()
        }
    if path.name == "status.json":
        return json.loads(path.read_text())["state"]
    return None if path.name in TIMED else path.read_bytes()


def contents(runs: Path):
    (folder,) = runs.iterdir()
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): normalized(path) for path in files}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_kill_before_a_write_changes_nothing(tmp_path, cache_dir, monkeypatch, case):
    recipe, runs = load_recipe(RECIPES / "base.yaml", CASES[case]), tmp_path / "runs"
    runs.mkdir()
    with monkeypatch.context() as patch:
        snapshots = Snapshots(runs, tmp_path / "snapshots", patch)
        run(recipe, RunPaths(runs, cache_dir), null_progress())
    whole = contents(runs)
    assert not [name for name in whole if name.endswith((".part", "checkpoint.safetensors"))]
    seen = [before for _, before in snapshots.taken]
    for file in ("split.csv", "history.csv", "checkpoint.safetensors", "predictions.csv", "timing.json", "metrics.json"):
        assert f"replace {file}" in seen
    for folder, before in first_and_last(snapshots.taken):
        if not any(folder.iterdir()) or (case == "folds" and _inside_a_fit(folder, before)):
            continue
        if "done" not in [json.loads(path.read_text())["state"] for path in folder.glob("*/status.json")]:
            run(recipe, RunPaths(folder, cache_dir), null_progress(), resume=True)
        resumed = contents(folder)
        assert resumed.keys() == whole.keys(), before
        assert [name for name in whole if resumed[name] != whole[name]] == [], before
        shutil.rmtree(folder)


def first_and_last(taken):
    """Of each kind of write."""
    kinds = {before: [row for row, (_, other) in enumerate(taken) if other == before] for _, before in taken}
    return [taken[row] for row in sorted({row for rows in kinds.values() for row in (rows[0], rows[-1])})]


def _inside_a_fit(folder: Path, before: str) -> bool:
    """A write of one of several fits, of which `single` tries every one."""
    begun = len(list(folder.glob("*/base/fold*/split.csv")))
    finished = len(list(folder.glob("*/base/fold*/metrics.json")))
    return begun > finished and not before.endswith(("status.json", "metrics.json"))


def test_half_a_line_of_events_is_dropped(tmp_path, cache_dir, monkeypatch):
    recipe, runs = load_recipe(RECIPES / "base.yaml", CASES["single"]), tmp_path / "runs"
    runs.mkdir()
    with monkeypatch.context() as patch:
        snapshots = Snapshots(runs, tmp_path / "snapshots", patch)
        run(recipe, RunPaths(runs, cache_dir), null_progress())
    folder = next(folder for folder, before in snapshots.taken if before == "replace predictions.csv")
    (events,) = folder.glob("*/events.jsonl")
    os.truncate(events, events.stat().st_size - 9)
    run(recipe, RunPaths(folder, cache_dir), null_progress(), resume=True)
    assert contents(folder) == contents(runs)

"""Fits done by several processes are those that one process would have done."""

import json
from pathlib import Path

import pandas as pd
import pytest

from darkcovid.recipe import FitId, FitSelector

from ..commands import error_of
from ..experiment.test_runner import SETS

RECIPE = "name: parts\ndata: {manifest: phantom}\naudit: data\narms: {one: {}, two: {model: {head: gap}}}\n"
WORDS = [word for key in [*SETS, "training.folds=2", "training.precision=fp32", "training.epochs=1"] for word in ("--set", key)]


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "parts.yaml").write_text(RECIPE)
    return tmp_path / "parts.yaml"


def figures(comparison):
    return {name: (arm["accuracy"], arm["confusion_matrix"], arm["mean"]) for name, arm in comparison["arms"].items()}


def test_which_fits_a_part_has():
    fits = [FitId(1, 41), FitId(10, 41), FitId(1, 42)]
    assert [FitSelector(fold=1).matches(fit) for fit in fits] == [True, False, True]
    assert [FitSelector(fold=1, seed=42).matches(fit) for fit in fits] == [False, False, True]
    assert FitSelector().matches(FitId()) and not FitSelector(seed=1).matches(FitId())
    names = [fit.name("small") for fit in (*fits, FitId(seed=7), FitId())]
    assert names == ["small/fold1-seed41", "small/fold10-seed41", "small/fold1-seed42", "small/seed7", "small"]
    assert [FitId(2).folder(Path("run/small")), FitId().folder(Path("run/small"))] == [Path("run/small/fold2"), Path("run/small")]


@pytest.mark.slow
def test_parts_and_jobs_give_what_one_process_gives(darkcovid, recipe, tmp_path):
    whole = json.loads(darkcovid("run", recipe, *WORDS, "--runs-dir", tmp_path / "whole", "--json").stdout)
    shared = tmp_path / "shared"
    for arm, fold in (("two", 2), ("one", 1), ("two", 1)):
        done = darkcovid("run", recipe, *WORDS, "--run-dir", shared, "--arm", arm, "--fold", fold, "--json").stdout
        assert json.loads(done)["fits"] == [f"{arm}/fold{fold}"]
    assert "1 fits are not finished (one/fold2)" in error_of(darkcovid("aggregate", shared, code=2))
    darkcovid("run", recipe, *WORDS, "--run-dir", shared)
    collected = json.loads(darkcovid("aggregate", shared, "--json").stdout)
    assert figures(collected) == figures(whole)
    assert (shared / "report.html").is_file()
    assert json.loads((shared / "status.json").read_text())["state"] == "done"
    other = darkcovid("run", recipe, *WORDS, "--set", "training.lr=1e-4", "--run-dir", shared, code=2)
    assert "another recipe's run" in error_of(other)

    parallel = json.loads(darkcovid("run", recipe, *WORDS, "--runs-dir", tmp_path / "jobs", "--jobs", 2, "--json").stdout)
    assert figures(parallel) == figures(whole)
    (one,) = (tmp_path / "jobs").iterdir()
    (two,) = (tmp_path / "whole").iterdir()
    for path in (one / "one" / "fold1" / "predictions.csv", one / "two" / "fold2" / "predictions.csv"):
        pd.testing.assert_frame_equal(pd.read_csv(path), pd.read_csv(two / path.relative_to(one)), atol=1e-4)


def test_contradictions_are_refused(darkcovid, recipe, tmp_path):
    assert "name it with --run-dir DIR" in error_of(darkcovid("run", recipe, "--fold", 1, code=2))
    assert "leave --jobs, --engine and --resume out" in error_of(
        darkcovid("run", recipe, "--run-dir", tmp_path / "x", "--jobs", 2, code=2)
    )
    said = error_of(darkcovid("run", recipe, *WORDS, "--run-dir", tmp_path / "x", "--fold", 3, code=2))
    assert "fold3: the recipe has no such fit" in said and not (tmp_path / "x").exists()
    assert "not a run folder" in error_of(darkcovid("aggregate", tmp_path, code=2))

"""A run that is run again gives the same numbers, and a number that differs is found."""

import json

import pandas as pd
import pytest
import torch

from darkcovid.core.environment import parse_environment
from darkcovid.core.errors import UsageError
from darkcovid.experiment.reproduce import compare_fits, max_abs_difference, reproduce
from darkcovid.experiment.runner import RunPaths, run
from darkcovid.recipe import load_recipe
from darkcovid.report.progress import null_progress

from ..conftest import RECIPES
from .test_runner import SETS

pytestmark = pytest.mark.usefixtures("quick_plots")


@pytest.fixture
def one_thread():
    """As many as the commands that tests start, since sums of several threads round differently."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
def test_a_run_comes_out_again_and_what_was_changed_in_it_is_found(tmp_path, cache_dir, darkcovid, one_thread):
    recipe = load_recipe(RECIPES / "segmented.yaml", [*SETS, "training.precision=fp32", "training.folds=2", "audit=none"])
    folders = RunPaths(tmp_path / "runs", cache_dir)
    run(recipe, folders, null_progress(), ["small"])
    (first,) = folders.runs.iterdir()
    found = reproduce(first, folders, null_progress())
    assert found.same and found.environment == {}
    assert list(found.fits) == ["small/fold1", "small/fold2"]
    assert all(one.history_difference == one.predictions_difference == 0 for one in found.fits.values())

    table = pd.read_csv(first / "small" / "fold1" / "predictions.csv")
    table.loc[0, "probability_covid"] += 0.25
    table.to_csv(first / "small" / "fold1" / "predictions.csv", index=False)
    metrics = json.loads((first / "small" / "fold2" / "metrics.json").read_text())
    (first / "small" / "fold2" / "metrics.json").write_text(json.dumps(metrics | {"accuracy": 2.0}))
    about = json.loads((first / "environment.json").read_text())
    about["libraries"]["torch"] = "1.0"
    (first / "environment.json").write_text(json.dumps(about))
    done = darkcovid("reproduce", first, "--runs-dir", folders.runs, "--cache-dir", cache_dir, code=1)
    assert "torch: 1.0 then, " in done.stdout
    assert (
        "small/fold1: split the same, history the same, predictions differs by at most 0.25; metrics that differ: none"
        in done.stdout
    )
    assert "small/fold2: split the same, history the same, predictions the same; metrics that differ: accuracy" in done.stdout
    again = done.stdout.splitlines()[-1].removeprefix("run again in: ")
    assert compare_fits(first / "small" / "fold1", folders.runs / again.split("/")[-1] / "small" / "fold1").same is False


def test_what_is_no_finished_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match="not a finished run's folder"):
        reproduce(tmp_path, RunPaths(tmp_path, tmp_path), null_progress())


def test_tables_of_other_rows_or_texts_have_no_difference():
    table = pd.DataFrame({"image": ["a", "b"], "p": [0.5, 0.25]})
    assert max_abs_difference(table, table) == 0
    assert max_abs_difference(table, table.assign(p=[0.5, 0.75])) == 0.5
    assert max_abs_difference(table, table[:1]) is None
    assert max_abs_difference(table, table.assign(image=["a", "c"])) is None
    assert max_abs_difference(table, table.rename(columns={"p": "q"})) is None
    assert max_abs_difference(table, table.assign(p=["x", "y"])) is None
    unknown = table.assign(p=[0.5, float("nan")])
    assert max_abs_difference(table, unknown) is None and max_abs_difference(unknown, unknown) == 0


def test_what_changed_of_the_environment():
    then = {"python": "3.11", "platform": "a", "libraries": {"torch": "1", "old": "1"}, "command": ["x"]}
    now = {"python": "3.11", "platform": "b", "libraries": {"torch": "2", "new": "1"}, "command": ["y"]}
    assert parse_environment(then).differences(parse_environment(now)) == {
        "platform": ["a", "b"],
        "torch": ["1", "2"],
        "old": ["1", None],
        "new": [None, "1"],
    }

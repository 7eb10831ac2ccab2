"""Which values are tried, in what order, and what a kill changes: nothing. No network is fitted here."""

import math
import multiprocessing
from pathlib import Path

import optuna
import pytest

from darkcovid.experiment.sweep.study import SweepStudy, trial_reporter
from darkcovid.recipe import Recipe, Sweep, Training

OVER = {"training.lr": {"log_range": (1e-5, 1e-1)}, "training.weight_decay": {"choices": (0.0, 0.1)}}
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")


def recipe(**sweep):
    settings = {"over": OVER, "trials": 12} | sweep
    return Recipe(name="a", training=Training(lr=3e-3, weight_decay=0.1), sweep=Sweep(**settings))


def metric(values):
    """Best at a learning rate of 1e-3."""
    return -((math.log10(values["training.lr"]) + 3) ** 2)


def go_on(folder, asked, most=100):
    """Trials until all are made; some are never finished, as of a killed process."""
    study = SweepStudy(folder, asked)
    study.drop_unfinished()
    for _ in range(most):
        trial = study.ask()
        if trial is None:
            break
        study.finish(trial, metric(study.values(trial)), [0.0], 1.0)
    return study


def counted(study):
    return [(record.values, record.metric) for record in study.records() if record.state != "interrupted"]


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_same_seed_gives_the_same_trials_and_a_kill_changes_none(tmp_path, sampler):
    asked = recipe(sampler=sampler)
    for name in ("whole", "again", "killed", "other"):
        (tmp_path / name).mkdir()
    whole, again = go_on(tmp_path / "whole", asked), go_on(tmp_path / "again", asked)
    assert counted(whole) == counted(again) and len(counted(whole)) == 12
    for most in (1, 2, 4):
        go_on(tmp_path / "killed", asked, most).ask()  # and is killed in the midst of a trial
    killed = go_on(tmp_path / "killed", asked)
    assert counted(killed) == counted(whole)
    assert sum(record.state == "interrupted" for record in killed.records()) == 3
    other = go_on(tmp_path / "other", recipe(sampler=sampler, seed=42))
    assert counted(other)[1:] != counted(whole)[1:]
    assert counted(other)[0] == counted(whole)[0]  # the recipe's own values


def test_tpe_finds_the_optimum(tmp_path):
    study = go_on(tmp_path, recipe(trials=30))
    assert abs(math.log10(study.best().values["training.lr"]) + 3) < 0.3
    importance = study.importance()
    assert next(iter(importance)) == "training.lr" and importance["training.lr"] > 0.9


def test_a_grid_tries_every_combination_once_after_kills_too(tmp_path):
    over = {"training.lr": {"log_range": (1e-4, 1e-2), "points": 3}, "training.weight_decay": {"choices": (0.0, 0.1)}}
    asked = recipe(over=over, sampler="grid", trials=None)
    go_on(tmp_path, asked, 2).ask()
    study = go_on(tmp_path, asked)
    values = [tuple(record.values.values()) for record in study.records() if record.state == "complete"]
    assert sorted(values) == [(lr, decay) for lr in (1e-4, 1e-3, 1e-2) for decay in (0.0, 0.1)]
    assert study.total == 6


def test_the_recipes_own_values_come_first_where_they_are_among_those_tried(tmp_path):
    (tmp_path / "a").mkdir()
    first = go_on(tmp_path / "a", recipe(trials=1)).records()[0]
    assert (first.values, first.plain) == ({"training.lr": 3e-3, "training.weight_decay": 0.1}, True)
    (tmp_path / "b").mkdir()
    without = {"training.lr": {"log_range": (1e-5, 1e-4)}}
    assert not go_on(tmp_path / "b", recipe(over=without, trials=1)).records()[0].plain


def test_losses_are_made_small(tmp_path):
    study = SweepStudy(tmp_path, recipe(metric="log_loss", sampler="random"))
    for value in (0.5, 0.2, 0.9):
        study.finish(study.ask(), value, [], 1.0)
    assert study.best().metric == 0.2


def test_failed_trials_count_and_say_why_and_are_never_the_best(tmp_path):
    study = SweepStudy(tmp_path, recipe(trials=2))
    study.fail(study.ask(), "the loss became nan")
    study.finish(study.ask(), -5.0, [], 1.0)
    assert study.ask() is None
    assert [(record.state, record.reason) for record in study.records()] == [("failed", "the loss became nan"), ("complete", "")]
    assert study.best().number == 2


def test_choices_of_any_kind_come_back_as_they_were(tmp_path):
    choices = (None, {"mode": "crop", "margin": 0.1}, {"mode": "mask"})
    asked = recipe(over={"lungs": {"choices": choices}}, sampler="grid", trials=None)
    study = SweepStudy(tmp_path, asked)
    seen = [study.values(study.ask())["lungs"] for _ in range(3)]
    assert len(seen) == 3 and all(choice in seen for choice in choices)


def test_whole_numbers_stay_whole_and_steps_are_kept(tmp_path):
    over = {"training.epochs": {"range": (5.0, 22.0), "step": 5.0}, "training.batch_size": {"log_range": (2.0, 64.0)}}
    study = SweepStudy(tmp_path, recipe(over=over, sampler="random", trials=20))
    for _ in range(20):
        trial = study.ask()
        values = study.values(trial)
        assert values["training.epochs"] in (5, 10, 15, 20) and isinstance(values["training.epochs"], int)
        assert 2 <= values["training.batch_size"] <= 64 and isinstance(values["training.batch_size"], int)
        study.finish(trial, 0.0, [], 1.0)


def ask_all(folder: Path) -> None:
    study = SweepStudy(folder, recipe(sampler="random", trials=10))
    while (trial := study.ask()) is not None:
        study.finish(trial, metric(study.values(trial)), [], 1.0)


def test_processes_that_ask_at_once_share_the_trials(tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=ask_all, args=(tmp_path,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    study = SweepStudy(tmp_path, recipe(sampler="random", trials=10))
    (tmp_path / "alone").mkdir()
    alone = go_on(tmp_path / "alone", recipe(sampler="random", trials=10))
    values = [record.values for record in study.records()]
    assert len(values) == 10 and sorted(map(str, values)) == sorted(str(record.values) for record in alone.records())


@pytest.mark.parametrize("pruner", ["median", "successive_halving", "hyperband", "none"])
def test_poor_trials_are_pruned(tmp_path, pruner):
    """Of 18 trials every second one is poor from its first step on. Good and poor ones are made by two workers, which know of one
    another by the file alone, as those of `--jobs` and `--engine ray` do."""
    asked = recipe(sampler="random", trials=18, pruner=pruner)
    workers = {kind: SweepStudy(tmp_path, asked) for kind in ("good", "poor")}
    steps = {"good": 0, "poor": 0}
    for number in range(18):
        kind = "poor" if number % 2 else "good"
        study = workers[kind]
        trial = study.ask()
        report = trial_reporter(study, trial)
        try:
            for step in range(3, 31, 3):
                report((0.2 if kind == "poor" else 0.8) + step / 1000 + number / 1e5, step)
                steps[kind] += 1
            study.finish(trial, 0.2 if kind == "poor" else 0.8, [], 1.0)
        except optuna.TrialPruned:
            study.prune(trial, 1.0)
    pruned = [record for record in study.records() if record.state == "pruned"]
    if pruner == "none":
        assert not pruned and steps["good"] == steps["poor"] == 90
    else:
        assert len(pruned) >= 3 and steps["poor"] < 0.75 * steps["good"]
        assert study.best().metric == 0.8

"""What may be said of a sweep: the headline is the winner against the plain recipe on patients that no trial saw."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from darkcovid.core.io import write_json, write_text
from darkcovid.core.words import counted
from darkcovid.evaluation.results import parse_comparison
from darkcovid.evaluation.sweep_result import ConfirmedArm, SweepResult, TrialRecord
from darkcovid.experiment.run_summary import FILE as SUMMARY
from darkcovid.experiment.run_summary import RunSummary, summarize_comparison
from darkcovid.experiment.sweep.study import SweepStudy
from darkcovid.recipe import LOWER_IS_BETTER

RESULT, TRIALS = "sweep.json", "trials.csv"


def count_trials(study: SweepStudy) -> dict[str, int]:
    """How many trials ended how.

    Args:
        study: The sweep's.

    Returns:
        As `SweepResult.trials`.
    """
    records = study.records()
    states = Counter(record.state for record in records)
    counted = [record for record in records if record.state in ("complete", "pruned", "failed")]
    distinct = len({tuple(map(str, record.values.values())) for record in counted})
    named = {name: states[name] for name in ("complete", "pruned", "failed", "interrupted")}
    best = study.best()
    tied = sum(record.state == "complete" and record.metric == best.metric for record in records) if best else 0
    return named | {"distinct": distinct, "planned": study.total, "tied": tied}


def confirmed_arms(comparison: Mapping[str, Any], names: Mapping[str, str], metric: str) -> dict[str, ConfirmedArm]:
    """The plain recipe and the winner of a final run.

    Args:
        comparison: Its JSON.
        names: The arms' names in it, by `plain` and, where it is another recipe, `winner`.
        metric: The sweep's.

    Returns:
        By the same keys.
    """
    summary = summarize_comparison(comparison)
    confirmed = {}
    for role, name in names.items():
        arm, json_ = summary.arms[name], comparison["arms"][name]
        spread = f"test {metric}" if "test" in json_ else metric
        mean, sd = (json_.get(key, {}).get(spread) for key in ("mean", "sd"))
        interval = arm.intervals.get(metric)
        confirmed[role] = ConfirmedArm(name, arm.metrics.get(metric), interval, mean, sd, arm.metrics["accuracy"])
    return confirmed


def metric_difference(comparison: Mapping[str, Any], winner: str | None, metric: str) -> dict[str, float] | None:
    """The winner's metric less the plain recipe's, with its interval.

    Args:
        comparison: JSON of the final run.
        winner: The winner's name in it; None where the plain recipe is the best.
        metric: The sweep's.

    Returns:
        `difference`, `low` and `high`; None where the paired test has no such metric.
    """
    for pair in parse_comparison(dict(comparison)).pairs:
        if pair.arm == winner and metric in pair.differences:
            return asdict(pair.differences[metric])
    return None


def conclusions(
    comparison: Mapping[str, Any],
    final: Mapping[str, ConfirmedArm],
    difference: Mapping[str, float] | None,
    metric: str,
    trials: Mapping[str, int],
    best: TrialRecord,
    locked: Mapping[str, int],
    seeds: Sequence[int],
    looked: Mapping[str, Sequence[str]],
) -> tuple[str, ...]:
    """What may be said of a sweep.

    Args:
        comparison: JSON of the final run.
        final: As `confirmed_arms` gives it.
        difference: As `metric_difference` gives it.
        metric: The sweep's.
        trials: As `count_trials` gives them.
        best: The best trial.
        locked: Images and patients that no trial saw.
        seeds: Of the final run.
        looked: By `plain` and `winner`, the keys by which its fits went by the very set that they are scored on.

    Returns:
        Sentences, the headline first.
    """
    winner, plain = final.get("winner"), final["plain"]
    name = metric.replace("_", " ")
    figure = f"{_number(plain.metric)}{_span(plain.interval)}"
    where = f"on {locked['images']} images of {locked['patients']} patients that no trial saw"
    with_seeds = counted(len(seeds), "fresh seed")
    made = trials["complete"] + trials["pruned"] + trials["failed"]
    ended = f"{trials['complete']} complete, {trials['pruned']} pruned, {trials['failed']} failed"
    inner = f"the best of them had a {name} of {_number(best.metric)} there, and the best of several looks better than it is"
    if trials["tied"] > 1:
        taken = "the plain recipe" if winner is None else "the first"
        inner = f"{trials['tied']} trials tied at a {name} of {_number(best.metric)} there, and {taken} is taken"
    if winner is None:
        headline = f"The plain recipe, {where}, {with_seeds}: {name} {figure}."
        outcome = "No value tried beat the recipe's own, so it alone was fitted again and there is no difference to show."
        chosen = f"{counted(made, 'trial')} ({ended}) on inner folds of the training set; {inner}."
    else:
        told = f"{name} {_number(winner.metric)}{_span(winner.interval)} against {figure}"
        headline = f"The winner against the plain recipe, {where}, {with_seeds} each: {told}."
        outcome = _difference_sentence(comparison, difference, metric, winner.arm)
        chosen = f"It was chosen among {made} trials ({ended}) by inner folds of the training set; {inner}."
    return (headline, outcome, chosen, *_flattered(looked))


def _flattered(looked: Mapping[str, Sequence[str]]) -> list[str]:
    """Whose figures are too good, since its fits went by the set that they are of; nothing where none did."""
    roles = [role for role, keys in looked.items() if keys]
    if not roles:
        return []
    keys = ", ".join(f"training.{key}" for key in sorted({key for role in roles for key in looked[role]}))
    if len(roles) == 2:
        who = "Both are flattered"
    elif len(looked) == 1:
        who = "The plain recipe is flattered"
    elif roles == ["winner"]:
        who = "Only the winner is flattered, so it looks better beside the plain recipe than it is"
    else:
        who = "Only the plain recipe is flattered, so the winner looks worse beside it than it is"
    return [f"{who}: {keys} went by the set that is scored; hold out a test set (data.split.test)."]


def _difference_sentence(comparison: Mapping[str, Any], difference: Mapping[str, float] | None, metric: str, winner: str) -> str:
    if difference is None:
        pairs = parse_comparison(dict(comparison)).pairs
        return next((pair.sentence for pair in pairs if pair.arm == winner), "The two were not compared.")
    sign = -1 if metric in LOWER_IS_BETTER else 1
    low, high = difference["low"], difference["high"]
    span = f"{difference['difference']:+.3f} (95 % interval {low:+.3f} to {high:+.3f})"
    name, accuracy = metric.replace("_", " "), _accuracy_sentence(comparison, metric, winner)
    if low <= 0 <= high:
        return f"No difference in {name} could be shown: {span}.{accuracy}"
    better = "better" if sign * difference["difference"] > 0 else "worse"
    return f"The winner is {better} in {name} than the plain recipe: {span}.{accuracy}"


def _accuracy_sentence(comparison: Mapping[str, Any], metric: str, winner: str) -> str:
    """The difference that the final run's report shows, after a blank; '' where it is that of the sweep's metric."""
    for pair in parse_comparison(dict(comparison)).pairs:
        if pair.arm == winner and metric != "accuracy":
            found = pair.differences["accuracy"]
            span = f"{found.difference:+.3f} (95 % interval {found.low:+.3f} to {found.high:+.3f})"
            return f" The final run's report shows the difference in accuracy, another figure: {span}."
    return ""


def write_sweep_result(result: SweepResult, study: SweepStudy, comparison: Mapping[str, Any]) -> None:
    """Write `trials.csv`, `summary.json` and, last, `sweep.json`.

    Args:
        result: Of the sweep.
        study: Its trials.
        comparison: JSON of the final run.
    """
    folder = Path(result.run_dir)
    rows = [
        {"trial": record.number, "state": record.state, **record.values, result.metric: record.metric}
        | {"seconds": record.seconds, "plain": record.plain, "reason": record.reason}
        for record in study.records()
    ]
    write_text(folder / TRIALS, pd.DataFrame(rows).to_csv(index=False))
    final = summarize_comparison(comparison)
    arms = {arm.arm: final.arms[arm.arm] for arm in result.final.values()}
    facts = {"kind": "sweep", "trials": result.trials, "final_run": result.final_run}
    minutes = result.minutes + (final.minutes or 0.0)
    write_json(folder / SUMMARY, asdict(RunSummary(arms, minutes, result.sentences[1], facts)))
    write_json(folder / RESULT, result.as_dict())


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _span(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f" ({interval[0]:.3f} to {interval[1]:.3f})"

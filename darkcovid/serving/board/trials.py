"""The trials of a sweep so far, and its winner: what its `events.jsonl` and, once it is done, its `sweep.json` say."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from darkcovid.core.io import read_regular_text
from darkcovid.experiment.run_list import DAMAGE
from darkcovid.experiment.run_state import read_json_mapping
from darkcovid.recipe import LOWER_IS_BETTER

MAX_TRIALS = 2000
STATES = ("complete", "pruned", "failed", "interrupted")


def read_trials(sweep: Path) -> dict[str, Any]:
    """What the board shows of a sweep, finished or running.

    Args:
        sweep: Its folder.

    Returns:
        `metric` and `lower_is_better`; `trials`: `{number, state, values, metric, seconds, plain, reason}` of the latest 2,000
        that ended, in order, and of the best; `left_out`: how many others there are; `best`: the number of the best complete one,
        null while there is none; `planned`: how many there are to be, null where that is not known; `fitting`: whether the final
        fits were begun and are not ended; of a finished sweep `sentences` (the headline first), `final`: `{role, arm, metric,
        interval}` of the winner and the plain recipe, `difference` (null where there is none), `importance` by key and
        `final_run`, the final run's name; empty ones before.
    """
    metric, planned = _asked(sweep)
    result = _result(sweep)
    metric = str(result.get("metric", metric))
    lower = metric in LOWER_IS_BETTER
    events = _events(sweep)
    trials = sorted(_ended(events).values(), key=lambda trial: trial["number"])
    stages = [event["event"] for event in events if event.get("event") in ("final_fits", "final", "trial")]
    complete = [trial for trial in trials if trial["state"] == "complete" and trial["metric"] is not None]
    sign = -1 if lower else 1
    best = max(complete, key=lambda trial: (sign * trial["metric"], trial["plain"], -trial["number"]), default=None)
    shown = trials[-MAX_TRIALS:]
    shown = shown if best is None or best in shown else [best, *shown]
    found = {"sentences": [], "final": [], "difference": None, "importance": {}, "final_run": ""} | _conclusions(result)
    return {
        "metric": metric,
        "lower_is_better": lower,
        "trials": shown,
        "left_out": len(trials) - len(shown),
        "best": best and best["number"],
        "fitting": stages[-1:] == ["final_fits"],
        "planned": _planned(result, planned),
        **found,
    }


def _events(sweep: Path) -> list[dict[str, Any]]:
    """What its `events.jsonl` tells; a kill may have left half a line."""
    try:
        lines = read_regular_text(sweep / "events.jsonl").splitlines()
    except DAMAGE:
        return []
    events = []
    for line in lines:
        with suppress(ValueError):
            events.append(json.loads(line))
    return [event for event in events if isinstance(event, dict)]


def _ended(events: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """By number; a resumed sweep may tell one twice."""
    trials = {}
    for event in events:
        try:
            if event["event"] == "trial" and event["state"] in STATES:
                trials[int(event["number"])] = {
                    "number": int(event["number"]),
                    "state": event["state"],
                    "values": dict(event["values"]),
                    "metric": None if event["metric"] is None else float(event["metric"]),
                    "seconds": None if event["seconds"] is None else float(event["seconds"]),
                    "plain": bool(event["plain"]),
                    "reason": str(event["reason"]),
                }
        except DAMAGE:
            continue
    return trials


def _asked(sweep: Path) -> tuple[str, int | None]:
    """The metric and the number of trials that the recipe asks for."""
    try:
        asked = yaml.safe_load(read_regular_text(sweep / "recipe.yaml"))["sweep"]
        return str(asked["metric"]), None if asked["trials"] is None else int(asked["trials"])
    except DAMAGE:
        return "", None


def _result(sweep: Path) -> dict[str, Any]:
    try:
        return read_json_mapping(sweep / "sweep.json")
    except DAMAGE:
        return {}


def _planned(result: dict[str, Any], asked: int | None) -> int | None:
    """How many trials a finished sweep planned; the recipe's number before, and where its file is damaged."""
    try:
        planned = result["trials"]["planned"]
        return None if planned is None else int(planned)
    except DAMAGE:
        return asked


def _conclusions(result: dict[str, Any]) -> dict[str, Any]:
    """What is only known of a finished sweep; nothing where its file is damaged."""
    try:
        return {
            "sentences": [str(sentence) for sentence in result["sentences"]],
            "final": [
                {"role": role, "arm": str(arm["arm"]), "metric": arm["metric"], "interval": arm["interval"]}
                for role, arm in result["final"].items()
            ],
            "difference": result["difference"],
            "importance": dict(result["importance"]),
            "final_run": Path(str(result["final_run"])).name,
        }
    except DAMAGE:
        return {}

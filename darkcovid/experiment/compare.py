"""Arms side by side: the machine-readable comparison, and whether two arms may be compared at all."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from darkcovid.core.errors import UsageError, one_line
from darkcovid.evaluation.results import parse_arm
from darkcovid.experiment.paired_arms import pairs_of
from darkcovid.experiment.run_dir import RunDir

ARM_FILES = ("split.csv", "predictions.csv", "metrics.json", "timing.json")


def load_arm_metrics(folder: Path) -> dict[str, Any]:
    """One finished arm's metrics and cost: the keys of its `metrics.json` and `timing.json` in one, see `results.parse_arm`.

    Raises:
        UsageError: The arm is unfinished, or one of its files damaged.
    """
    try:
        arm = json.loads((folder / "metrics.json").read_text()) | json.loads((folder / "timing.json").read_text())
        parse_arm(arm)
        return arm
    except (OSError, ValueError) as error:
        reason = one_line(error)
        raise UsageError(
            f"{folder}: not a finished arm of a run ({reason}); finish it with `darkcovid run ... --resume`"
        ) from None


def build_comparison(arms: dict[str, dict[str, Any]], run_dir: str, reference: str, timed_alone: bool = True) -> dict[str, Any]:
    """The `comparison.json` of arms.

    Args:
        arms: Each arm's `load_arm_metrics`.
        run_dir: For a person: the run's folder, or several.
        reference: The arm with which the others are compared.
        timed_alone: Whether no two fits shared the machine; if they did, no speed-up is given.

    Returns:
        `run_dir`, `reference_arm` and `arms`, each arm with its `speedup`: how many times shorter its median epoch is than the
        reference arm's, however many epochs each was trained for; None of an arm that was trained on another number of images.
    """
    base = arms[reference]

    def speedup(arm: dict[str, Any]) -> float | None:
        same_work = training_images(arm) == training_images(base)
        return base["epoch_seconds"] / arm["epoch_seconds"] if timed_alone and same_work and arm["epoch_seconds"] else None

    timed = {name: arm | {"speedup": speedup(arm)} for name, arm in arms.items()}
    return {"run_dir": run_dir, "reference_arm": reference, "arms": timed}


def training_images(arm: dict[str, Any]) -> int | None:
    """How many images an arm of `comparison.json` was trained on; None where it does not say."""
    return arm.get("images", {}).get("train")


def fits_ran_alone(run: Path) -> bool:
    """Whether no two fits of a run shared the machine, as `--jobs` and `--engine ray` let them.

    Args:
        run: Its folder.

    Returns:
        As its `events.jsonl` has it.
    """
    return all(event.get("event") != "parallel" for event in RunDir(run).events())


def finished_arms(run: Path) -> list[Path]:
    """The finished arm folders of a run, in its recipe's order.

    Raises:
        UsageError: `run` is no run folder, or has no finished arm.
    """
    if not run.is_dir():
        raise UsageError(f"{run}: no such run folder")
    folders = [folder for folder in run.iterdir() if all((folder / name).is_file() for name in ARM_FILES)]
    if not folders:
        raise UsageError(f"{run}: no finished arm in it; name a folder that `darkcovid run` made")
    order = _arm_order(run)
    return sorted(folders, key=lambda folder: (order.index(folder.name) if folder.name in order else len(order), folder.name))


def _arm_order(run: Path) -> list[str]:
    try:
        return list(json.loads((run / "comparison.json").read_text())["arms"])
    except (OSError, ValueError, KeyError, TypeError):
        return []


def validation_patients(arm: Path) -> frozenset[tuple[str, str, str]]:
    """(patient, image, label) of the arm's validation set."""
    with (arm / "split.csv").open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        return frozenset((row["patient"], row["image"], row["label"]) for row in rows if row["side"] == "valid")


def incomparable_reason(first: Path, other: Path) -> str | None:
    """Why the metrics of two arms cannot be compared.

    Args:
        first: One arm's folder.
        other: The other's.

    Returns:
        None when both were validated on the same images of the same patients with the same labels.
    """
    mine, theirs = validation_patients(first), validation_patients(other)
    if mine == theirs:
        return None
    patients, others = ({patient for patient, _, _ in rows} for rows in (mine, theirs))
    names = f"{first.parent.name}/{first.name} and {other.parent.name}/{other.name}"
    if patients != others:
        differing = len(patients ^ others)
        return f"{names} were validated on different patients ({differing} are in only one of them)"
    return f"{names} were validated on the same patients but on different images or labels"


def compare_runs(runs: Sequence[Path], force: bool = False, numbers: Sequence[int] | None = None) -> dict[str, Any]:
    """Every finished arm of `runs` side by side; the first is the reference.

    Args:
        runs: Run folders.
        force: Whether arms with different validation sets are shown all the same.
        numbers: Of each run, by which its arms are called, as in `1: small`; None: from 1 where two arms have one name, else arms
            are called as they are.

    Returns:
        `build_comparison` with `pairs`, the reasons against comparing in `not_comparable`, why arms have no paired test in
        `not_paired`, and the `runs` by number, empty where none has one.

    Raises:
        UsageError: Validation sets differ, and `force` is not given; or a run is unfinished.
    """
    finished = [finished_arms(run) for run in runs]
    names = [arm.name for arms in finished for arm in arms]
    numbers = numbers or (range(1, len(runs) + 1) if len(set(names)) < len(names) else [])
    prefixes = [f"{number}: " for number in numbers] or [""] * len(runs)
    by_run = [{prefix + arm.name: arm for arm in arms} for prefix, arms in zip(prefixes, finished, strict=True)]
    arms = {name: arm for run in by_run for name, arm in run.items()}
    reference, first = next(iter(arms.items()))
    reasons = [reason for arm in list(arms.values())[1:] if (reason := incomparable_reason(first, arm))]
    if reasons and not force:
        raise UsageError(f"{reasons[0]}, so their metrics cannot be compared; --force shows them all the same")
    comparison = build_comparison(
        {name: load_arm_metrics(arm) for name, arm in arms.items()},
        run_dir=", ".join(str(run) for run in runs),
        reference=reference,
        timed_alone=all(fits_ran_alone(run) for run in {arm.parent for arm in arms.values()}),
    )
    numbered = {str(number): str(run) for number, run in zip(numbers, runs, strict=False)}
    return comparison | pairs_of(comparison["arms"], by_run) | {"not_comparable": reasons, "runs": numbered}

"""Arms side by side: the machine-readable comparison, and whether two arms may be compared at all."""

import csv
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd

from darkcovid.core.errors import UsageError, one_line
from darkcovid.evaluation.results import is_segmenter, parse_arm
from darkcovid.experiment.run_dir import RunDir
from darkcovid.metrics.classification import probability_columns
from darkcovid.metrics.paired_tests import Predictions, compare_arms
from darkcovid.recipe import AUDIT
from darkcovid.recipe.fit_id import without_seed

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
        reference arm's, however many epochs each was trained for.
    """
    base = arms[reference]["epoch_seconds"]
    timed = {
        name: summary | {"speedup": base / summary["epoch_seconds"] if timed_alone and summary["epoch_seconds"] else None}
        for name, summary in arms.items()
    }
    return {"run_dir": run_dir, "reference_arm": reference, "arms": timed}


def fits_ran_alone(run: Path) -> bool:
    """Whether no two fits of a run shared the machine, as `--jobs` and `--engine ray` let them.

    Args:
        run: Its folder.

    Returns:
        As its `events.jsonl` has it.
    """
    return all(event.get("event") != "parallel" for event in RunDir(run).events())


def paired_comparisons(folders: dict[str, Path], reference: str, classes: list[str]) -> list[dict[str, Any]]:
    """Every other classifier against the reference, as `metrics.paired_tests.compare_arms` does.

    Args:
        folders: Each arm's folder, whose `predictions.csv` is read.
        reference: The arm with which the others are compared.
        classes: In the order of the probabilities.

    Returns:
        One dict per other arm that was scored on the same images.
    """
    arms = {name: read_predictions(folder, classes) for name, folder in folders.items()}
    base = arms[reference]
    same = {name: matched for name, arm in arms.items() if (matched := _row_by_row(base, arm)) is not None}
    return [asdict(pair) for pair in compare_arms(reference, same, classes)]


def _row_by_row(base: Predictions, arm: Predictions) -> Predictions | None:
    """An arm's predictions in the rows of another's; None where it was scored on other images.

    An ensemble has one prediction of an image for all seeds of a fold, and one of the test set for all fits: it stands beside
    each of theirs.
    """
    if list(arm.images) == list(base.images):
        return arm
    if not base.fits:
        return None
    rows = {image: row for row, image in enumerate(arm.images)}
    names = [image.removeprefix(f"{fit} ") for image, fit in zip(base.images, base.fits, strict=True)]
    found = [rows.get(f"{without_seed(fit)} {name}", rows.get(f" {name}")) for name, fit in zip(names, base.fits, strict=True)]
    known = [row for row in found if row is not None]
    if len(known) < len(found) or len(set(known)) < len(rows):
        return None
    return replace(base, labels=arm.labels[known], probabilities=arm.probabilities[known])


def read_predictions(folder: Path, classes: list[str]) -> Predictions:
    """A classifier's predictions of its test set, or without one of its validation set, of every fold and seed.

    Args:
        folder: The arm's.
        classes: In the order of the probabilities.

    Returns:
        The predictions, sorted by fit and image.
    """
    table = pd.read_csv(folder / "predictions.csv", dtype={"image": str, "patient": str}, keep_default_na=False)
    table = table[table.side == ("test" if (table.side == "test").any() else "valid")]
    keys = ["fit", "image"] if "fit" in table else ["image"]
    table = table.sort_values(keys)
    return Predictions(
        images=table[keys].agg(" ".join, axis=1).tolist(),
        patients=table.patient.tolist(),
        labels=table.label.map({name: code for code, name in enumerate(classes)}).to_numpy(),
        probabilities=table[probability_columns(classes)].to_numpy(float),
        several_fits=bool(table.image.duplicated().any()),
        fits=table.fit.tolist() if "fit" in table else (),
    )


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


def compare_runs(runs: list[Path], force: bool = False) -> dict[str, Any]:
    """Every finished arm of `runs` side by side; the first is the reference.

    Args:
        runs: Run folders.
        force: Whether arms with different validation sets are shown all the same.

    Returns:
        `build_comparison` with `pairs`, and the reasons against comparing in `not_comparable`.

    Raises:
        UsageError: Validation sets differ, and `force` is not given; or a run is unfinished.
    """
    arms = [arm for run in runs for arm in finished_arms(run)]
    reasons = [reason for arm in arms[1:] if (reason := incomparable_reason(arms[0], arm))]
    if reasons and not force:
        raise UsageError(f"{reasons[0]}, so their metrics cannot be compared; --force shows them all the same")
    names = _distinct_names(arms)
    comparison = build_comparison(
        {name: load_arm_metrics(arm) for name, arm in zip(names, arms, strict=True)},
        run_dir=", ".join(str(run) for run in runs),
        reference=names[0],
        timed_alone=all(fits_ran_alone(run) for run in {arm.parent for arm in arms}),
    )
    return comparison | pairs_of(comparison, dict(zip(names, arms, strict=True))) | {"not_comparable": reasons}


def pairs_of(comparison: dict[str, Any], folders: dict[str, Path]) -> dict[str, Any]:
    """The paired tests of a comparison of classifiers.

    Args:
        comparison: As `build_comparison` gives it.
        folders: Each arm's folder.

    Returns:
        {"pairs": [...]}, empty where the arms have different classes; {} of segmenters.
    """
    arms = comparison["arms"]
    if any(is_segmenter(arm) for arm in arms.values()):
        return {}
    classes = {tuple(arm["per_class"]) for arm in arms.values()}
    if len(classes) > 1:
        return {"pairs": []}
    own_arms = {name: folder for name, folder in folders.items() if not name.startswith(AUDIT)}
    return {"pairs": paired_comparisons(own_arms, comparison["reference_arm"], list(classes.pop()))}


def _distinct_names(arms: list[Path]) -> list[str]:
    short = [arm.name for arm in arms]
    return short if len(set(short)) == len(short) else [f"{arm.parent.name}/{arm.name}" for arm in arms]

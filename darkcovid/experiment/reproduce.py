"""Is a run reproducible? Its resolved recipe is run again, and every number is compared with the first one's."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from darkcovid.core.errors import DataError, UsageError
from darkcovid.experiment.run_dir import environment
from darkcovid.experiment.runner import RunPaths, run
from darkcovid.recipe import load_recipe
from darkcovid.report.progress import Progress

TIMES = ("seconds", "data_seconds", "step_seconds", "valid_seconds")
ABOUT = ("darkcovid", "python", "platform", "processors", "torch_threads", "cuda_devices")


def reproduce(first: Path, folders: RunPaths, progress: Progress) -> dict[str, Any]:
    """Run a finished run's recipe again and compare.

    Args:
        first: The finished run's folder.
        folders: Where the new run and the cache go.
        progress: Shown to a person.

    Returns:
        `run` and `again` (folders), `environment` ({what: [then, now]} of what differs), `fits` ({fit: `compare_fits`}) and
        `same`: whether splits, histories, predictions and metrics all are.

    Raises:
        UsageError: Not a finished run's folder; and as `runner.run` does.
    """
    if not (first / "comparison.json").is_file():
        raise UsageError(f"{first}: not a finished run's folder")
    recipe = load_recipe(first / "recipe.yaml")
    arms = list(_read(first / "comparison.json")["arms"])
    again = Path(run(recipe, folders, progress, arms)["run_dir"])
    fits = {fit.name(arm): fit.folder(Path(arm)) for arm in arms for fit in recipe.arm_recipes()[arm].fits()}
    comparisons = {name: compare_fits(first / folder, again / folder) for name, folder in fits.items()}
    return {
        "run": str(first),
        "again": str(again),
        "environment": diff_environment(_read(first / "environment.json"), environment()),
        "fits": comparisons,
        "same": all(comparison["same"] for comparison in comparisons.values()),
    }


def compare_fits(first: Path, again: Path) -> dict[str, Any]:
    """Compare two folders of one fit.

    Args:
        first: One folder.
        again: The other.

    Returns:
        Whether `split`, `history`, `predictions` and `metrics` are the same, and all of them (`same`); `history_difference` and
        `predictions_difference`: the largest of a number, None where the rows differ; `metrics_differing`: keys.
    """
    split = _table(first / "split.csv").equals(_table(again / "split.csv"))
    timeless = [_table(folder / "history.csv").drop(columns=list(TIMES), errors="ignore") for folder in (first, again)]
    history = max_abs_difference(*timeless)
    predictions = max_abs_difference(_table(first / "predictions.csv"), _table(again / "predictions.csv"))
    metrics = [_read(folder / "metrics.json") for folder in (first, again)]
    differing = sorted(key for key in metrics[0].keys() | metrics[1].keys() if metrics[0].get(key) != metrics[1].get(key))
    return {
        "split": split,
        "history": history == 0,
        "history_difference": history,
        "predictions": predictions == 0,
        "predictions_difference": predictions,
        "metrics": not differing,
        "metrics_differing": differing,
        "same": split and history == 0 and predictions == 0 and not differing,
    }


def max_abs_difference(first: pd.DataFrame, again: pd.DataFrame) -> float | None:
    """The largest difference of a number in two tables.

    Args:
        first: One table.
        again: The other.

    Returns:
        None where they have other rows, columns or texts, or one has a number where the other has none.
    """
    numbers = list(first.select_dtypes("number").columns)
    texts = [column for column in first if column not in numbers]
    if first.shape != again.shape or list(first.columns) != list(again.columns):
        return None
    if numbers != list(again.select_dtypes("number").columns) or not first[texts].equals(again[texts]):
        return None
    before, after = first[numbers].to_numpy(float), again[numbers].to_numpy(float)
    if (np.isnan(before) != np.isnan(after)).any():
        return None
    return float(np.nan_to_num(np.abs(before - after)).max(initial=0.0))


def diff_environment(then: dict[str, Any], now: dict[str, Any]) -> dict[str, list[Any]]:
    """What differs between two `environment.json`, the libraries' versions included.

    Args:
        then: The earlier one.
        now: The later one.

    Returns:
        {what: [then, now]}.
    """
    before = {key: then.get(key) for key in ABOUT} | then.get("libraries", {})
    after = {key: now.get(key) for key in ABOUT} | now["libraries"]
    return {key: [before.get(key), after.get(key)] for key in before | after if before.get(key) != after.get(key)}


def _table(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None

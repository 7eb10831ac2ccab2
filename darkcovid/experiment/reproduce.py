"""Is a run reproducible? Its resolved recipe is run again, and every number is compared with the first one's."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from darkcovid.core.cpu_threads import computing_with
from darkcovid.core.environment import current_environment, parse_environment
from darkcovid.core.errors import DataError, UsageError
from darkcovid.experiment.runner import RunPaths, run
from darkcovid.recipe import load_recipe
from darkcovid.report.progress import Progress

TIMES = ("seconds", "data_seconds", "step_seconds", "valid_seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class FitComparison:
    """Two folders of one fit.

    Attributes:
        split: Whether the split is the same.
        history_difference: The largest difference of a number, times left out; None where rows or columns differ.
        predictions_difference: Likewise.
        metrics_differing: Keys.
    """

    split: bool
    history_difference: float | None
    predictions_difference: float | None
    metrics_differing: list[str]

    @property
    def history(self) -> bool:
        """Whether losses, metrics and rates of all epochs are the same."""
        return self.history_difference == 0

    @property
    def predictions(self) -> bool:
        """Whether all probabilities are the same."""
        return self.predictions_difference == 0

    @property
    def same(self) -> bool:
        """Whether everything is."""
        return self.split and self.history and self.predictions and not self.metrics_differing

    def as_dict(self) -> dict[str, Any]:
        """As `darkcovid reproduce --json` prints it."""
        same = {"history": self.history, "predictions": self.predictions, "metrics": not self.metrics_differing}
        return asdict(self) | same | {"same": self.same}


@dataclass(frozen=True, slots=True)
class Reproduction:
    """A run and its repetition.

    Attributes:
        run: The first run's folder.
        again: The second's.
        environment: What differs: [then, now].
        fits: By the fit's name.
    """

    run: str
    again: str
    environment: dict[str, list[Any]]
    fits: dict[str, FitComparison]

    @property
    def same(self) -> bool:
        """Whether every fit is."""
        return all(comparison.same for comparison in self.fits.values())

    def as_dict(self) -> dict[str, Any]:
        """As `darkcovid reproduce --json` prints it."""
        fits = {name: comparison.as_dict() for name, comparison in self.fits.items()}
        return {"run": self.run, "again": self.again, "environment": self.environment, "fits": fits, "same": self.same}


def reproduce(first: Path, folders: RunPaths, progress: Progress) -> Reproduction:
    """Run a finished run's recipe again and compare.

    Args:
        first: The finished run's folder.
        folders: Where the new run and the cache go.
        progress: Shown to a person.

    Returns:
        Both folders, what differs in the environment, and each fit compared.

    Raises:
        UsageError: Not a finished run's folder; and as `runner.run` does.
    """
    if not (first / "comparison.json").is_file():
        raise UsageError(f"{first}: not a finished run's folder")
    recipe, environment = load_recipe(first / "recipe.yaml"), parse_environment(_read(first / "environment.json"))
    arms = [arm for arm in _read(first / "comparison.json")["arms"] if arm not in recipe.ensemble]
    with computing_with(environment.torch_threads):
        again = Path(run(recipe, folders, progress, arms)["run_dir"])
    fits = {fit.name(arm): fit.folder(Path(arm)) for arm in arms for fit in recipe.arm_recipes()[arm].fits()}
    return Reproduction(
        run=str(first),
        again=str(again),
        environment=environment.differences(current_environment()),
        fits={name: compare_fits(first / folder, again / folder) for name, folder in fits.items()},
    )


def compare_fits(first: Path, again: Path) -> FitComparison:
    """Compare two folders of one fit.

    Args:
        first: One folder.
        again: The other.

    Returns:
        What differs.
    """
    timeless = [_table(folder / "history.csv").drop(columns=list(TIMES), errors="ignore") for folder in (first, again)]
    metrics = [_read(folder / "metrics.json") for folder in (first, again)]
    return FitComparison(
        split=_table(first / "split.csv").equals(_table(again / "split.csv")),
        history_difference=max_abs_difference(*timeless),
        predictions_difference=max_abs_difference(_table(first / "predictions.csv"), _table(again / "predictions.csv")),
        metrics_differing=sorted(
            key for key in metrics[0].keys() | metrics[1].keys() if metrics[0].get(key) != metrics[1].get(key)
        ),
    )


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

"""The runs of a folder, each told by its small files; a damaged one is told as damaged."""

import csv
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from darkcovid.core.errors import UsageError, one_line
from darkcovid.core.io import read_regular_text
from darkcovid.experiment.run_notes import Notes, read_notes
from darkcovid.experiment.run_state import (
    AUDIT,
    AUDIT_NAME,
    DONE,
    RUN,
    RUN_NAME,
    SWEEP,
    is_run_folder,
    read_json_mapping,
    run_kind,
    run_state,
)
from darkcovid.experiment.run_summary import RunSummary, read_audit_summary, read_run_summary
from darkcovid.recipe.errors import close_name

SORT_KEYS = ("time", "name", "recipe", "accuracy", "minutes", "size", "status")
DAMAGE = (OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError, csv.Error, yaml.YAMLError)


@dataclass(frozen=True)
class RunInfo:
    """What a list shows of a run.

    Attributes:
        path: Its folder.
        recipe: The recipe's name; '' where it is not known.
        started: When, in UTC.
        status: `running`, `interrupted`, `failed` or `done`.
        reason: Why it failed.
        size: Bytes of its files.
        summary: Of a finished run; None otherwise.
        notes: Its tags and note.
        damage: What of it cannot be read; '' where all can.
        kind: `run`, `sweep`, which shows the arms of its final run, or `audit`.
    """

    path: Path
    recipe: str
    started: datetime
    status: str
    reason: str = ""
    size: int = 0
    summary: RunSummary | None = None
    notes: Notes = field(default_factory=Notes)
    damage: str = ""
    kind: str = RUN

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def is_sweep(self) -> bool:
        """Whether it is a sweep."""
        return self.kind == SWEEP

    @property
    def best_arm(self) -> str | None:
        """The most accurate arm, of segmenters that of the highest Dice; the first of several, and None where none is known."""
        arms = self.summary.arms if self.summary else {}
        known = [name for name, arm in arms.items() if arm.headline in arm.metrics]
        return max(known, key=lambda name: arms[name].metrics[arms[name].headline], default=None)

    @property
    def accuracy(self) -> float | None:
        """Of the most accurate arm."""
        if self.summary is None or self.best_arm is None:
            return None
        arm = self.summary.arms[self.best_arm]
        return arm.metrics[arm.headline]

    def as_dict(self) -> dict[str, Any]:
        """As `runs list --json` prints it."""
        arms = self.summary.arms if self.summary else {}
        return {
            "name": self.name,
            "run_dir": str(self.path),
            "kind": self.kind,
            "recipe": self.recipe,
            "time": self.started.isoformat(timespec="seconds"),
            "status": self.status,
            "reason": self.reason,
            "arms": {
                name: {
                    "metric": arm.headline,
                    "value": arm.metrics.get(arm.headline),
                    "interval": arm.intervals.get(arm.headline),
                    "set": arm.scored and arm.scored.set,
                    "train_seconds": arm.metrics.get("train_seconds"),
                    "external_roc_auc": arm.external,
                }
                for name, arm in arms.items()
            },
            "best_arm": self.best_arm,
            "minutes": self.summary.minutes if self.summary else None,
            "bytes": self.size,
            "tags": list(self.notes.tags),
            "note": self.notes.note,
            "verdict": self.summary.verdict if self.summary else "",
            "damage": self.damage,
        }


def list_runs(runs_dir: Path) -> list[RunInfo]:
    """Every run of a folder. Links are passed by, and so is what is not a run's folder.

    Args:
        runs_dir: The folder of all runs.

    Returns:
        The runs, the newest first.

    Raises:
        UsageError: There is no such folder, or it cannot be read.
    """
    runs = [read_run(folder) for folder in run_folders(runs_dir)]
    return sorted(runs, key=lambda run: (run.started, run.name), reverse=True)


def run_folders(runs_dir: Path) -> list[Path]:
    """The folders of all runs in a folder; no link is followed.

    Args:
        runs_dir: The folder of all runs.

    Returns:
        The runs' folders, in no order.

    Raises:
        UsageError: There is no such folder, or it cannot be read.
    """
    try:
        folders = [Path(entry.path) for entry in os.scandir(runs_dir) if entry.is_dir(follow_symlinks=False)]
    except OSError as error:
        raise UsageError(f"{runs_dir}: no folder of runs ({error.strerror}); name the one given to --runs-dir") from None
    return [folder for folder in folders if not folder.name.startswith(".") and is_run_folder(folder)]


def read_run(path: Path) -> RunInfo:
    """One run; whatever is damaged in it is said in `damage`.

    Args:
        path: A run's folder.

    Returns:
        What a list shows of it.
    """
    faults: list[str] = []

    def attempt(file: str, read):
        try:
            return read()
        except FileNotFoundError:
            return None
        except DAMAGE as error:
            faults.append(f"{file} cannot be read ({_reason(error)})")
            return None

    status = attempt("status.json", lambda: read_json_mapping(path / "status.json"))
    kind = run_kind(path)
    state = DONE if kind == AUDIT else run_state(path, status)
    notes = attempt("notes.json", lambda: read_notes(path)) or Notes()
    recipe = "" if kind == AUDIT else attempt("recipe.yaml", lambda: _recipe_name(path)) or ""
    summary = None
    if kind == AUDIT:
        summary = attempt("comparison.json or audit.json", lambda: read_audit_summary(path))
    elif state == DONE:
        summary = attempt("comparison.json or summary.json", lambda: read_run_summary(path))
    if state == DONE and summary is None and not faults:
        faults.append("it is done, and comparison.json is missing")
    reason = one_line((status or {}).get("reason", ""))
    return RunInfo(path, recipe, _started(path), state, reason, folder_size(path), summary, notes, "; ".join(faults), kind)


def find_run(run: Path, runs_dir: Path) -> Path:
    """The folder of a run that a person names.

    Args:
        run: A path, or a name in `runs_dir`.
        runs_dir: The folder of all runs.

    Returns:
        The folder.

    Raises:
        UsageError: There is no such run's folder, or it is a link.
    """
    places = [run] if run.is_absolute() or len(run.parts) > 1 else [runs_dir / run, run]
    for place in places:
        if is_run_folder(place):
            return place
    present = next((place for place in places if place.is_symlink() or place.exists()), None)
    if present is not None:
        what = "a link; name the folder that it leads to" if present.is_symlink() else "not the folder of a run"
        raise UsageError(f"{present}: {what}; nothing was done")
    names = [entry.name for entry in os.scandir(runs_dir)] if runs_dir.is_dir() else []
    close = close_name(run.name, names)
    raise UsageError(
        f"{run}: no such run{f'; did you mean {close!r}?' if close else ''} (`darkcovid runs list` shows those of {runs_dir})"
    )


def sort_runs(runs: Iterable[RunInfo], key: str, reverse: bool = False) -> list[RunInfo]:
    """Runs in another order; those of which a figure is not known come last.

    Args:
        runs: In any order.
        key: One of `SORT_KEYS`. Times, accuracies, minutes and sizes: the greatest first; names: in their order.
        reverse: The other way round.

    Returns:
        The runs.
    """
    ways = {
        "time": lambda run: run.started.timestamp(),
        "name": lambda run: run.name,
        "recipe": lambda run: run.recipe,
        "accuracy": lambda run: run.accuracy,
        "minutes": lambda run: run.summary and run.summary.minutes,
        "size": lambda run: run.size,
        "status": lambda run: run.status,
    }
    runs, way = list(runs), ways[key]
    known, unknown = [run for run in runs if way(run) is not None], [run for run in runs if way(run) is None]
    greatest_first = key in ("time", "accuracy", "minutes", "size")
    return sorted(known, key=way, reverse=greatest_first != reverse) + unknown


def folder_size(path: Path) -> int:
    """Bytes of all regular files below a folder; no link is followed, and what vanishes meanwhile counts nothing."""
    total, folders = 0, [os.fspath(path)]
    while folders:
        try:
            entries = list(os.scandir(folders.pop()))
        except OSError:
            continue
        for entry in entries:
            try:
                about = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if stat.S_ISDIR(about.st_mode):
                folders.append(entry.path)
            elif stat.S_ISREG(about.st_mode):
                total += about.st_size
    return total


def _recipe_name(path: Path) -> str:
    """By the folder's name, or, as of a folder that a person named, by the recipe's first line."""
    matched = RUN_NAME.fullmatch(path.name)
    if matched:
        return matched["recipe"]
    first = read_regular_text(path / "recipe.yaml").split("\n", 1)[0]
    named = yaml.safe_load(first)
    return str(named["name"])


def _started(path: Path) -> datetime:
    """By the folder's name, or by when the recipe was written."""
    matched = RUN_NAME.fullmatch(path.name) or AUDIT_NAME.fullmatch(path.name)
    if matched:
        try:
            return datetime.strptime(matched["started"], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
        except ValueError:
            pass
    resolved = path / "recipe.yaml"
    return datetime.fromtimestamp((resolved if resolved.exists() else path).lstat().st_mtime, UTC)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or one_line(error)
    return f"no {error}" if isinstance(error, KeyError) else one_line(error)[:100]

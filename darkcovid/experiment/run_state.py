"""Is this a run's folder, and how does the run stand? A folder that says "running" may be that of a run that was killed.

Told from small files alone, without following a link. Nothing heavy is imported here: a list of a thousand runs comes at once.
"""

import json
import platform
import re
import stat
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import filelock
import psutil

from darkcovid.core.io import read_regular_text

RUN, SWEEP, AUDIT = "run", "sweep", "audit"  # kinds
SWEEP_TRIALS = "study.db"
RUNNING, INTERRUPTED, FAILED, DONE = "running", "interrupted", "failed", "done"
STATES = (RUNNING, INTERRUPTED, FAILED, DONE)
RUN_NAME = re.compile(r"(?P<recipe>.+)-(?P<started>\d{8}T\d{6})-[0-9a-f]{8}(-\d+)?")
AUDIT_NAME = re.compile(r"audit-.+-(?P<started>\d{8}T\d{6})(-\d+)?")
AUDIT_FILE, RECIPE_FILE = "audit.json", "recipe.yaml"  # a run has both where its images were audited
RUN_FILES = (RECIPE_FILE, "environment.json", "status.json", AUDIT_FILE)
QUIET_SECONDS = 12 * 3600  # after which a run of another machine, which cannot be asked, is taken for dead
STARTING_SECONDS = 300  # in which a new folder may have no status yet
LOCK_SECONDS = 2  # that a run waits for its lock, which `holds_lock` takes for a moment
CLOCK_SECONDS = 5  # by which a process may seem younger than what it wrote


def is_run_folder(path: Path) -> bool:
    """Whether a folder, not a link to one, is a run's: by its name and files, or by an environment that darkcovid wrote."""
    try:
        if not stat.S_ISDIR(path.lstat().st_mode):
            return False
        present = [name for name in RUN_FILES if _is_file(path / name)]
        if RUN_NAME.fullmatch(path.name):
            return bool(present) or not any(path.iterdir())
        return len(present) > 1 and "darkcovid" in read_json_mapping(path / "environment.json")
    except (OSError, ValueError):
        return False


def run_kind(path: Path) -> str:
    """What a run's folder is of.

    Args:
        path: The folder.

    Returns:
        `sweep`, `audit` (of predictions or a model made elsewhere), or `run`.
    """
    if _is_file(path / AUDIT_FILE) and not _is_file(path / RECIPE_FILE):
        return AUDIT
    return SWEEP if _is_file(path / SWEEP_TRIALS) else RUN


def read_json_mapping(path: Path) -> dict[str, Any]:
    """A small JSON file's mapping.

    Raises:
        OSError: It is missing, or not a regular file.
        ValueError: It is too large, not JSON, or no mapping.
    """
    value = json.loads(read_regular_text(path))
    if not isinstance(value, dict):
        raise ValueError("not a JSON mapping")
    return value


def run_state(path: Path, status: dict[str, Any] | None) -> str:
    """How a run stands.

    Args:
        path: Its folder.
        status: Its `status.json`; None where there is none that can be read.

    Returns:
        One of `STATES`. A run that says "running" is interrupted when its process is gone and no fit of it holds a lock; one of
        another machine, or of several, when nothing was written for `QUIET_SECONDS`.
    """
    if status is None:
        return RUNNING if time.time() - path.lstat().st_mtime < STARTING_SECONDS else INTERRUPTED
    stated = status.get("state")
    if stated in (DONE, FAILED, INTERRUPTED):
        return str(stated)
    return RUNNING if _is_alive(path, status) else INTERRUPTED


def holds_lock(path: Path) -> bool:
    """Whether a process on this machine holds the lock of the run, or of one of its fits."""
    return any(_is_locked(lock) for lock in _lock_files(path))


def _is_alive(path: Path, status: dict[str, Any]) -> bool:
    if status.get("host", platform.node()) == platform.node() and _process_lives(status):
        return True
    if holds_lock(path):
        return True
    elsewhere = status.get("host", platform.node()) != platform.node() or status.get("shared") is True
    return elsewhere and time.time() - _last_written(path) < QUIET_SECONDS


def _process_lives(status: dict[str, Any]) -> bool:
    """Whether the process that wrote a status is still there; a later one of the same number is another."""
    try:
        process = psutil.Process(int(status["pid"]))
        wrote = datetime.fromisoformat(status["time"]).timestamp()
        return process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= wrote + CLOCK_SECONDS
    except (KeyError, TypeError, ValueError, OverflowError, psutil.Error):
        return False


def _last_written(path: Path) -> float:
    """When one of the files that grow during a run was written last, in seconds since 1970."""
    times = [path.lstat().st_mtime]
    for name in ("status.json", "events.jsonl"):
        if _is_file(path / name):
            times.append((path / name).lstat().st_mtime)
    return max(times)


def _lock_files(path: Path) -> Iterator[Path]:
    """The lock of the folder, of its arms, and of their fits."""
    folders = [path]
    for _ in range(3):
        yield from (folder / ".lock" for folder in folders if _is_file(folder / ".lock"))
        folders = [child for folder in folders for child in _real_folders(folder)]


def _real_folders(folder: Path) -> list[Path]:
    return [child for child in folder.iterdir() if stat.S_ISDIR(child.lstat().st_mode) and child.name != "plots"]


def _is_locked(lock: Path) -> bool:
    try:
        with filelock.FileLock(lock, blocking=False):
            return False
    except filelock.Timeout:
        return True
    except OSError:
        return False


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False

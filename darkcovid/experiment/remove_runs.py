"""Runs are removed whole: renamed first, so that a kill leaves either the run or a hidden rest that the next removal takes."""

import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from darkcovid.core.errors import UsageError
from darkcovid.experiment.run_list import RunInfo
from darkcovid.experiment.run_state import RUNNING, holds_lock, is_run_folder

REMOVED = ".removed-"
_REST = re.compile(re.escape(REMOVED) + r".+-[0-9a-f]{32}")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(h|d|w)")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", re.IGNORECASE)
HOURS = {"h": 1, "d": 24, "w": 168}
BYTES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def check_removable(run: RunInfo) -> None:
    """Whether a run may be removed.

    Args:
        run: As it stands now.

    Raises:
        UsageError: It is running, not a run's folder, or the folder in which this process is.
    """
    if not is_run_folder(run.path):
        raise UsageError(f"{run.path}: not the folder of a run; nothing was removed")
    if run.status == RUNNING or holds_lock(run.path):
        raise UsageError(f"{run.path}: it is running; stop it first; nothing was removed")
    if Path.cwd().resolve().is_relative_to(run.path.resolve()):
        raise UsageError(f"{run.path}: this is the current folder, or one above it; leave it first; nothing was removed")


def remove_run(run: RunInfo) -> None:
    """Remove a run's folder. Links in it are removed, not what they lead to.

    Args:
        run: As it stands now.

    Raises:
        UsageError: As `check_removable` does, or the folder cannot be renamed.
    """
    check_removable(run)
    aside = run.path.parent / f"{REMOVED}{run.path.name}-{uuid.uuid4().hex}"
    try:
        run.path.rename(aside)
    except OSError as error:
        raise UsageError(f"{run.path}: cannot be removed ({error.strerror}); check the rights of the folder above it") from None
    shutil.rmtree(aside)


def finish_removals(runs_dir: Path) -> int:
    """Remove what killed removals left behind.

    Args:
        runs_dir: The folder of all runs.

    Returns:
        How many folders that were.
    """
    rests = [Path(entry.path) for entry in os.scandir(runs_dir) if _REST.fullmatch(entry.name)] if runs_dir.is_dir() else []
    rests = [rest for rest in rests if stat.S_ISDIR(rest.lstat().st_mode)]
    for rest in rests:
        shutil.rmtree(rest, ignore_errors=True)  # another removal may be at it
    return len(rests)


def select_runs(
    runs: Iterable[RunInfo],
    older_than: timedelta | None = None,
    larger_than: int | None = None,
    statuses: Iterable[str] = (),
    tags: Iterable[str] = (),
    keep_tags: Iterable[str] = (),
    now: datetime | None = None,
) -> list[RunInfo]:
    """Runs that meet every condition given; running ones never do.

    Args:
        runs: To choose from.
        older_than: Since their start.
        larger_than: Bytes.
        statuses: Only those; none: all.
        tags: Only runs with one of these; none: all.
        keep_tags: No run with one of these.
        now: The time; None: of the clock.

    Returns:
        The runs, in their order.
    """
    now, statuses, tags, keep_tags = now or datetime.now(UTC), set(statuses), set(tags), set(keep_tags)
    return [
        run
        for run in runs
        if run.status != RUNNING
        and (older_than is None or now - run.started > older_than)
        and (larger_than is None or run.size > larger_than)
        and (not statuses or run.status in statuses)
        and (not tags or tags & set(run.notes.tags))
        and not keep_tags & set(run.notes.tags)
    ]


def parse_duration(text: str, option: str) -> timedelta:
    """`12h`, `30d` or `2w`.

    Args:
        text: As it was given.
        option: Named in the message.

    Returns:
        The duration.

    Raises:
        UsageError: It is none.
    """
    matched = _DURATION.fullmatch(text.strip())
    if not matched or float(matched[1]) * HOURS[matched[2]] > 1e6:
        raise UsageError(f"{option} {text}: write it as 12h, 30d or 2w")
    return timedelta(hours=float(matched[1]) * HOURS[matched[2]])


def parse_size(text: str, option: str) -> int:
    """`500MB`, `5GB` or a number of bytes, by powers of ten.

    Args:
        text: As it was given.
        option: Named in the message.

    Returns:
        Bytes.

    Raises:
        UsageError: It is none.
    """
    matched = _SIZE.fullmatch(text.strip())
    if not matched:
        raise UsageError(f"{option} {text}: write it as 500MB or 5GB")
    return round(float(matched[1]) * BYTES[matched[2].lower()])

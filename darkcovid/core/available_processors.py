"""How many processors may this process use? The least of the machine's, of its affinity and of its control groups' quota."""

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path, PurePosixPath


@lru_cache
def available_processors(root: Path = Path("/")) -> tuple[int, str]:
    """How many processors this process may use; looked up once, since every piece of work in threads asks.

    Args:
        root: Of the file system.

    Returns:
        The least of the machine's, its affinity's and its control groups' quota (versions 1 and 2, rounded, at least 1), and
        which of these it is: empty for the machine's, `affinity` or `quota`.
    """
    machine, allowed = os.cpu_count() or 1, len(allowed_processors())
    quota = cpu_quota(root)
    processors = max(1, int(quota + 0.5)) if quota < allowed else allowed
    if processors < allowed:
        return processors, "quota"
    return allowed, "affinity" if allowed < machine else ""


def allowed_processors() -> set[int]:
    """The numbers of the processors that this process's affinity allows it: all, where the system knows no affinity."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def cpu_quota(root: Path = Path("/")) -> float:
    """Processors that this process's control groups allow it, the least of all levels; infinite without a limit.

    Args:
        root: Of the file system.

    Returns:
        A number above 0.
    """
    return min(_quotas(root), default=float("inf"))


def _quotas(root: Path) -> Iterator[float]:
    base = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = (line.split(":", 2) + ["", ""])[:3]
        if not controllers:
            for folder in _levels(base, path):
                quota, period = (_read(folder / "cpu.max").split() + ["max", "1"])[:2]
                yield from _share(quota, period)
        elif "cpu" in controllers.split(","):
            for folder in _levels(base / controllers, path) + _levels(base / "cpu", path):
                yield from _share(_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us"))


def _levels(base: Path, path: str) -> list[Path]:
    """A group's folder and those above it; inside a container, whose own groups are the root, only that exists."""
    group = PurePosixPath(path.strip().lstrip("/"))
    return [base / level for level in (group, *group.parents) if ".." not in level.parts]


def _share(quota: str, period: str) -> Iterator[float]:
    try:
        share = float(quota) / float(period)
    except (ValueError, ZeroDivisionError):  # "max", or no such file
        return
    if share > 0:  # -1 is none
        yield share


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError:
        return ""

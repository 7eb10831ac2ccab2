"""How many processors may this process use, and how do its threads wait for each other? Decided before torch is loaded, whose
OpenMP reads the answer once.

OpenMP's threads wait by spinning, which is fastest where nothing else runs. Beside other work they take each other's processor:
an epoch that takes 2 seconds then takes 35 (2 cores, two busy loops), and 5 where threads sleep while they wait. On Linux that is
switched as other work comes and goes (`thread_waiting`); elsewhere it is chosen once, by the work found at the start.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from darkcovid.core.thread_waiting import OWN_SETTINGS, can_switch_waiting

THREADS, WAITING = "OMP_NUM_THREADS", "OMP_WAIT_POLICY"
OF_THREADS = (THREADS, "OMP_THREAD_LIMIT", "MKL_NUM_THREADS", "ATEN_NUM_THREADS")  # settings by which a person chooses how many
SAMPLE_SECONDS = 0.25
BUSY = 0.5  # processors that other work may use while threads spin


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuThreads:
    """What was found, and what was set.

    Attributes:
        processors: How many this process may use.
        limited_by: `affinity` or `quota`; empty where it may use all of the machine's.
        switched: Whether threads spin or sleep as other work comes and goes.
        others: Processors that other work used at the start; None where it was not looked at.
        chosen: Environment variables that were set.
        given: Those of OpenMP that were set before, which stay.
    """

    processors: int
    limited_by: str = ""
    switched: bool = False
    others: float | None = None
    chosen: dict[str, str] = field(default_factory=dict)
    given: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """As in `environment.json`."""
        return asdict(self)

    def __str__(self) -> str:
        limits = {"affinity": " (by its affinity)", "quota": " (the quota of its control group)"}
        said = [f"{self.processors} processor{'s' * (self.processors != 1)}{limits.get(self.limited_by, '')}"]
        if self.switched and self.processors > 1:
            said.append("threads spin while they wait, and sleep while other work takes their processors")
        if self.others is not None:
            how = "sleep" if WAITING in self.chosen else "spin"
            said.append(f"other work uses {self.others:.1f}, so threads {how} while they wait")
        if self.given:
            said.append("set in the environment: " + ", ".join(f"{name}={value}" for name, value in self.given.items()))
        return "; ".join(said)


@lru_cache(maxsize=1)
def choose_cpu_threads() -> CpuThreads:
    """Set the environment variables of OpenMP, once, for this process and those it starts; those of a person stay.

    Returns:
        What was found and set.
    """
    processors, limited_by = available_processors()
    given = {name: os.environ[name] for name in (*OF_THREADS, *OWN_SETTINGS) if name in os.environ}
    switched = can_switch_waiting()
    found = CpuThreads(processors=processors, limited_by=limited_by, switched=switched, given=given)
    if "torch" in sys.modules:
        return found
    if limited_by == "quota" and not set(given) & set(OF_THREADS):
        found.chosen[THREADS] = str(processors)
    if not switched and not set(given) & set(OWN_SETTINGS):
        others = used_by_others()
        if others > BUSY and processors > 1:
            found.chosen[WAITING] = "PASSIVE"
        found = replace(found, others=round(others, 1))
    os.environ.update(found.chosen)
    return found


@lru_cache
def available_processors(root: Path = Path("/")) -> tuple[int, str]:
    """How many processors this process may use; looked up once, since every piece of work in threads asks.

    Args:
        root: Of the file system.

    Returns:
        The least of the machine's, its affinity's and its control groups' quota (versions 1 and 2, rounded, at least 1), and
        which of these it is: empty for the machine's, `affinity` or `quota`.
    """
    machine = os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else machine
    quota = cpu_quota(root)
    processors = max(1, int(quota + 0.5)) if quota < allowed else allowed
    if processors < allowed:
        return processors, "quota"
    return allowed, "affinity" if allowed < machine else ""


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


def used_by_others(seconds: float = SAMPLE_SECONDS) -> float:
    """How many processors' time other processes took.

    Args:
        seconds: For which this is looked at.

    Returns:
        0 to the machine's number of processors; this process's own time is taken off.
    """
    import time

    import psutil

    before, own, began = psutil.cpu_times(), time.process_time(), time.perf_counter()
    time.sleep(seconds)
    taken = _busy(psutil.cpu_times()._asdict()) - _busy(before._asdict()) - (time.process_time() - own)
    return min(max(0.0, taken / (time.perf_counter() - began)), float(os.cpu_count() or 1))


def _busy(times: Mapping[str, float]) -> float:
    """Seconds of all processors together, guests counted once."""
    return sum(seconds for name, seconds in times.items() if name not in ("idle", "iowait", "guest", "guest_nice"))

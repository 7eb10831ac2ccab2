"""How many threads compute, and how do they wait for each other? Decided before torch is loaded: its OpenMP reads it once.

Threads that share each small piece of work wait for the slowest of them. Beside other work one of them is always kept from its
processor, so fewer threads are faster: on 2 cores beside two busy loops an epoch that takes 0.8 seconds takes 2.0 with one
thread, and 4 to 7 with two, whether they spin or sleep while they wait. Results differ in their last digits with the number, so
only commands that train make room for other work, at their start, and a run that goes on keeps its number.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from darkcovid.core.available_processors import allowed_processors, available_processors
from darkcovid.core.words import counted

THREADS, WAITING = "OMP_NUM_THREADS", "OMP_WAIT_POLICY"
OF_THREADS = (THREADS, "OMP_THREAD_LIMIT", "MKL_NUM_THREADS", "ATEN_NUM_THREADS")  # settings by which a person chooses how many
OF_WAITING = (WAITING, "GOMP_SPINCOUNT", "KMP_BLOCKTIME")  # and how they wait
SAMPLE_SECONDS = 0.25
SAMPLES = 12  # of which each must find other work: what comes and goes within three seconds does not count
BUSY, BUSY_SHARE = 0.5, 0.125  # processors, and share of all, that other work may use without being taken note of


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuThreads:
    """What was found, and what was set.

    Attributes:
        processors: How many this process may use.
        limited_by: `affinity` or `quota`; empty where it may use all of the machine's.
        others: Of the processors that this process may use, how many other work used at the start; None where it was not seen.
        chosen: Environment variables that were set.
        given: Those of OpenMP that were set before, which stay.
    """

    processors: int
    limited_by: str = ""
    others: float | None = None
    chosen: dict[str, str] = field(default_factory=dict)
    given: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """As in `environment.json`."""
        return asdict(self)

    @property
    def makes_room(self) -> bool:
        """Whether fewer threads compute than could, because of other work."""
        return self.limited_by != "quota" and THREADS in self.chosen

    @property
    def computing(self) -> str:
        """How many threads were chosen to compute, in words."""
        return "1 thread computes" if self.chosen[THREADS] == "1" else f"{self.chosen[THREADS]} threads compute"

    def notice(self) -> str:
        """One line for a person whose command makes room for other work; empty where it does not."""
        if not self.makes_room:
            return ""
        use = f"other work uses {self.others:.1f} of {self.processors} processors, so {self.computing}"
        return f"{use}, which is faster while that work lasts (to use all: {THREADS}={self.processors} before the command)"

    def __str__(self) -> str:
        limits = {"affinity": " (by its affinity)", "quota": " (the quota of its control group)"}
        said = [f"{self.processors} processor{'s' * (self.processors != 1)}{limits.get(self.limited_by, '')}"]
        if self.others is not None:
            so = f", so {self.computing}" if self.makes_room else ""
            how = ", and threads sleep while they wait" if WAITING in self.chosen else ""
            said.append(f"other work uses {self.others:.1f}{so}{how}")
        if self.given:
            said.append("set in the environment: " + ", ".join(f"{name}={value}" for name, value in self.given.items()))
        return "; ".join(said)


_chosen: list[CpuThreads] = []


def choose_cpu_threads(make_room: bool = False) -> CpuThreads:
    """Set the environment variables of OpenMP, once, for this process and those it starts; those of a person stay.

    Args:
        make_room: Whether fewer threads compute where other work uses the processors for three seconds; of the first call.

    Returns:
        What was found and set.
    """
    if not _chosen:
        _chosen.append(_choose(make_room))
    return _chosen[0]


def _choose(make_room: bool) -> CpuThreads:
    processors, limited_by = available_processors()
    given = {name: os.environ[name] for name in (*OF_THREADS, *OF_WAITING) if name in os.environ}
    found = CpuThreads(processors=processors, limited_by=limited_by, given=given)
    if "torch" in sys.modules:
        return found
    free_count, waits = not set(given) & set(OF_THREADS), not set(given) & set(OF_WAITING)
    if free_count and limited_by == "quota":
        found.chosen[THREADS] = str(processors)
    make_room = make_room and free_count and limited_by != "quota" and sys.platform == "linux"
    if processors > 1 and (make_room or waits):
        others = used_by_others(samples=SAMPLES if make_room else 1)
        found = replace(found, others=round(others, 1))
        busy, free = others > ignored_use(), max(1, round(processors - others))
        if busy and make_room and free < min(processors, _cores()):
            found.chosen[THREADS] = str(free)
        if busy and waits and (given | found.chosen).get(THREADS) != "1":
            found.chosen[WAITING] = "PASSIVE"
    os.environ.update(found.chosen)
    return found


def _cores() -> int:
    """Physical ones, of which torch uses each once."""
    import psutil

    return psutil.cpu_count(logical=False) or os.cpu_count() or 1


@contextmanager
def computing_with(count: int | None) -> Iterator[None]:
    """A context that computes with as many threads as a run began with, so that it ends with the same numbers.

    Args:
        count: As `environment.json` has it; None, or where a person chose how many: nothing is changed.
    """
    import torch

    from darkcovid.core.log import logger

    before = torch.get_num_threads()
    kept = min(count or before, available_processors()[0])
    if not count or kept == before or set(choose_cpu_threads().given) & set(OF_THREADS):
        yield
        return
    logger.info(f"computing with {counted(kept, 'thread')}: the run began with {count}")
    torch.set_num_threads(kept)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def used_by_others(seconds: float = SAMPLE_SECONDS, samples: int = SAMPLES) -> float:
    """How many of the processors that this process may use other processes keep busy, those of low priority left out.

    Args:
        seconds: Of one look.
        samples: Looks at most; one that finds the processors free is the last.

    Returns:
        The least of what was found, 0 to the number of these processors; this process's own time is taken off.
    """
    least = float(len(allowed_processors()))
    for _ in range(samples):
        least = min(least, _used_by_others(seconds))
        if least <= ignored_use():
            break
    return least


def ignored_use() -> float:
    """Processors that other work may use without being taken note of."""
    return max(BUSY, BUSY_SHARE * available_processors()[0])


def _used_by_others(seconds: float) -> float:
    import time

    before, own, began = _busy_seconds(), time.process_time(), time.perf_counter()
    time.sleep(seconds)
    taken = _busy_seconds() - before - (time.process_time() - own)
    return max(0.0, taken / (time.perf_counter() - began))


def _busy_seconds() -> float:
    """Of the processors that this process may use, since the machine started, guests counted once; of all of the machine, where
    the system's list has another numbering than the affinity."""
    import psutil

    each, allowed = psutil.cpu_times(percpu=True), allowed_processors()
    if len(each) > max(allowed):
        each = [each[number] for number in allowed]
    left_out = ("idle", "iowait", "guest", "guest_nice", "nice")
    return sum(seconds for times in each for name, seconds in times._asdict().items() if name not in left_out)

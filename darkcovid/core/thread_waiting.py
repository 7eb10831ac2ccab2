"""How OpenMP's threads wait for each other, while a process runs: spinning where it has its processors to itself, which is
fastest; sleeping while other work takes them, where threads that spin starve each other.

GNU's OpenMP, which torch's wheels for Linux bring, reads its waiting policy once, but threads spin only for a moment as soon as
there are more of them than processors. Idle teams of threads, started and ended here, switch that on and off. What is computed
stays the same.
"""

import os
import threading
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

OWN_SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")  # by which a person chooses how threads wait
TASKS = Path("/proc/self/task")
SECONDS_BETWEEN_LOOKS = 0.5
CONTENDED = 0.2  # seconds per second that threads are kept from a processor: 0.02 alone, 0.65 and more beside one busy loop
QUIET_LOOKS = 8  # in a row, before threads spin again
PARALLEL_FROM = 32768  # elements per thread from which torch shares work among threads


def can_switch_waiting() -> bool:
    """Whether this system tells how long threads are kept waiting, and nobody has chosen how they wait."""
    return (TASKS / str(os.getpid()) / "schedstat").exists() and not set(OWN_SETTINGS) & set(os.environ)


@lru_cache(maxsize=1)
def switch_waiting_by_contention() -> None:
    """From now on, threads sleep while this process is kept from its processors, and spin otherwise. Once per process."""
    import torch

    if can_switch_waiting() and torch.get_num_threads() > 1:
        threading.Thread(target=_watch, name="thread_waiting", daemon=True).start()


def _watch() -> None:
    idle, quiet = IdleTeams(), 0
    for share in _contention():
        quiet = 0 if share > CONTENDED else quiet + 1
        if quiet == 0:
            idle.start()
        elif quiet >= QUIET_LOOKS:
            idle.end()


def _contention() -> Iterator[float]:
    """Again and again, the seconds per second for which threads of this process were ready to run and did not."""
    before, began = seconds_kept_waiting(), time.monotonic()
    while True:
        time.sleep(SECONDS_BETWEEN_LOOKS)
        now, at = seconds_kept_waiting(), time.monotonic()
        yield sum(max(0.0, waited - before.get(task, 0.0)) for task, waited in now.items()) / (at - began)
        before, began = now, at


def seconds_kept_waiting() -> dict[str, float]:
    """For each thread of this process, by its number, the seconds for which it was ready to run and had no processor; empty where
    the system does not tell."""
    waited = {}
    for task in TASKS.iterdir() if TASKS.is_dir() else ():
        try:
            waited[task.name] = int((task / "schedstat").read_text().split()[1]) / 1e9
        except (OSError, IndexError, ValueError):  # ended just now
            continue
    return waited


class IdleTeams:
    """Threads that only exist: so many that OpenMP has more threads than processors."""

    def __init__(self) -> None:
        self._over: threading.Event | None = None

    def start(self) -> None:
        """Start them, unless they are there."""
        import torch

        if self._over is not None:
            return
        self._over = threading.Event()
        size, processors = torch.get_num_threads(), len(os.sched_getaffinity(0))
        for _ in range(max(1, -(-(processors - size + 1) // (size - 1)))):
            ready = threading.Event()
            threading.Thread(target=_hold_a_team, args=(size, ready, self._over), name="idle_team", daemon=True).start()
            ready.wait()

    def end(self) -> None:
        """End them, if they are there."""
        if self._over is not None:
            self._over.set()
        self._over = None


def _hold_a_team(size: int, ready: threading.Event, over: threading.Event) -> None:
    import torch

    torch.zeros(2 * size * PARALLEL_FROM).add_(
        1
    )  # OpenMP starts a team for each thread that shares work, and ends it with that thread
    ready.set()
    over.wait()

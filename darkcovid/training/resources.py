"""What a fit cost beside time: peak memory of host and device, and energy where the machine counts it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import torch

from darkcovid.core.device import trim_malloc

SAMPLE_SECONDS = 0.05
RAPL = Path("/sys/class/powercap")


@dataclass(frozen=True, slots=True)
class ResourceUsage:
    """Memory and energy of some work.

    Attributes:
        peak_host_bytes: Peak resident memory of this process.
        peak_device_bytes: Peak allocated device memory.
        host_joules: Of the whole processor, by its counter; None where none can be read.
        device_joules: Of the whole card, by its counter; None where none can be read.
    """

    peak_host_bytes: int = 0
    peak_device_bytes: int = 0
    host_joules: float | None = None
    device_joules: float | None = None

    def as_dict(self) -> dict:
        """The attributes by name."""
        return asdict(self)


class ResourceMonitor:
    """Samples the process's resident memory from a thread, and adds up what the energy counters say, each turn around from its
    greatest value to 0 included: on many processors that is every quarter of an hour at full load."""

    def __init__(self, device: torch.device, before: ResourceUsage):
        self.device, self.before, self.peak = device, before, before.peak_host_bytes
        self.stopped = threading.Event()
        self.process = psutil.Process()
        self.host, self.device_start = RaplCounters(), nvml_joules(device)
        self.lock = threading.Lock()

    def watch(self) -> None:
        """Sample until `stopped` is set; runs in a thread of its own."""
        while True:
            self.peak = max(self.peak, self.process.memory_info().rss)
            with self.lock:
                self.host.read()
            if self.stopped.wait(SAMPLE_SECONDS):
                return

    def cost(self) -> ResourceUsage:
        """What was spent up to now, with what was spent before."""
        with self.lock:
            host = self.host.read()
        device_peak = torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else 0
        return ResourceUsage(
            peak_host_bytes=max(self.peak, self.process.memory_info().rss),
            peak_device_bytes=max(self.before.peak_device_bytes, device_peak),
            host_joules=self.before.host_joules if host is None else (self.before.host_joules or 0.0) + host,
            device_joules=_spent(self.before.device_joules, self.device_start, nvml_joules(self.device)),
        )


@contextmanager
def track_resources(device: torch.device, before: ResourceUsage | None = None) -> Iterator[ResourceMonitor]:
    """A context that watches memory and energy, beginning without what earlier work has freed.

    Args:
        device: Whose memory and energy are watched.
        before: What earlier sessions of the same work spent; None: nothing.

    Yields:
        The monitor, whose `cost()` says what was spent up to now.
    """
    trim_malloc()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    meter = ResourceMonitor(device, before or ResourceUsage())
    thread = threading.Thread(target=meter.watch, daemon=True)
    thread.start()
    try:
        yield meter
    finally:
        meter.stopped.set()
        thread.join()


class RaplCounters:
    """The energy counters of the processor packages (Linux RAPL), in microjoules, which begin again from 0 beyond
    `max_energy_range_uj`. They must be read more often than they turn around."""

    def __init__(self, folder: Path = RAPL):
        self.packages = [path.parent for path in folder.glob("intel-rapl:*/energy_uj") if path.parent.name.count(":") == 1]
        self.last, self.spent = self._counters(), 0

    def read(self) -> float | None:
        """Joules of all packages since the beginning; None where they cannot be read."""
        now = self._counters()
        if now is None or self.last is None:
            self.last = None
            return None
        for package, count in now.items():
            before, greatest = self.last[package], self._number(package / "max_energy_range_uj")
            if count >= before:
                self.spent += count - before
            elif greatest is not None:
                self.spent += greatest - before + count
            else:
                self.last = None
                return None
        self.last = now
        return self.spent / 1e6

    def _counters(self) -> dict[Path, int] | None:
        counts = {package: self._number(package / "energy_uj") for package in self.packages}
        known = {package: count for package, count in counts.items() if count is not None}
        return known if known and len(known) == len(counts) else None

    @staticmethod
    def _number(path: Path) -> int | None:
        try:
            return int(path.read_text())
        except (OSError, ValueError):
            return None


def nvml_joules(device: torch.device) -> float | None:
    """The card's total energy counter (NVML, Volta and later); None for other devices."""
    if device.type != "cuda":
        return None
    try:
        import pynvml

        pynvml.nvmlInit()
        uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        return pynvml.nvmlDeviceGetTotalEnergyConsumption(pynvml.nvmlDeviceGetHandleByUUID(uuid)) / 1e3
    except (ImportError, AttributeError, pynvml.NVMLError):
        return None


def _spent(before: float | None, start: float | None, now: float | None) -> float | None:
    if start is None or now is None or now < start:
        return before
    return (before or 0.0) + now - start

"""What a fit cost beside time: peak memory of host and device, and energy where the machine counts it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import torch

from darkcovid.compute import release_memory

SAMPLE_SECONDS = 0.05
RAPL = Path("/sys/class/powercap")


@dataclass(frozen=True, slots=True)
class Cost:
    """Peak resident memory of this process and peak allocated device memory, in bytes; joules by counter, or None
    where none can be read. Host energy is the whole processor's, device energy the whole card's."""

    peak_host_bytes: int = 0
    peak_device_bytes: int = 0
    host_joules: float | None = None
    device_joules: float | None = None

    def as_dict(self) -> dict:
        return asdict(self)


class Meter:
    """Samples the process's resident memory from a thread, and reads the energy counters at both ends."""

    def __init__(self, device: torch.device, before: Cost):
        self.device, self.before, self.peak = device, before, before.peak_host_bytes
        self.stopped = threading.Event()
        self.process = psutil.Process()
        self.energy = (rapl_joules(), nvml_joules(device))

    def watch(self) -> None:
        while True:
            self.peak = max(self.peak, self.process.memory_info().rss)
            if self.stopped.wait(SAMPLE_SECONDS):
                return

    def cost(self) -> Cost:
        """What was spent up to now, with what was spent before."""
        device_peak = torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else 0
        return Cost(
            peak_host_bytes=max(self.peak, self.process.memory_info().rss),
            peak_device_bytes=max(self.before.peak_device_bytes, device_peak),
            host_joules=_spent(self.before.host_joules, self.energy[0], rapl_joules()),
            device_joules=_spent(self.before.device_joules, self.energy[1], nvml_joules(self.device)),
        )


@contextmanager
def measured(device: torch.device, before: Cost | None = None) -> Iterator[Meter]:
    """Watch memory and energy for the length of the block, beginning without what earlier work has freed."""
    release_memory()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    meter = Meter(device, before or Cost())
    thread = threading.Thread(target=meter.watch, daemon=True)
    thread.start()
    try:
        yield meter
    finally:
        meter.stopped.set()
        thread.join()


def rapl_joules(folder: Path = RAPL) -> float | None:
    """Energy counters of the processor packages, summed (Linux RAPL); None where they cannot be read."""
    try:
        packages = [file for file in folder.glob("intel-rapl:*/energy_uj") if file.parent.name.count(":") == 1]
        return sum(int(file.read_text()) for file in packages) / 1e6 if packages else None
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

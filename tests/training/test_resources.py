import mmap
import sys
import time

import psutil
import pytest
import torch

from darkcovid.core.device import tune_malloc
from darkcovid.training.resources import RaplCounters, ResourceMonitor, ResourceUsage, track_resources

CPU = torch.device("cpu")


def test_peak_memory_sees_a_block_that_was_freed_again():
    with track_resources(CPU) as meter:
        before = meter.cost().peak_host_bytes
        with mmap.mmap(-1, 300_000_000) as block:  # not the C library's memory, which is kept when freed
            block.write(b"1" * 300_000_000)
            until = time.monotonic() + 60
            while meter.cost().peak_host_bytes <= before + 200_000_000 and time.monotonic() < until:
                time.sleep(0.02)
    assert meter.cost().peak_host_bytes > before + 200_000_000
    assert meter.cost().peak_device_bytes == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc keeps memory so")
def test_a_fit_is_not_charged_for_memory_that_an_earlier_one_freed():
    tune_malloc()
    block = torch.ones(75_000_000)
    del block
    kept = psutil.Process().memory_info().rss
    with track_resources(CPU) as meter:
        pass
    assert meter.cost().peak_host_bytes < kept - 200_000_000


def packages(folder, **microjoules):
    for name, count in microjoules.items():
        package = folder / name.replace("_", ":").replace("rapl", "intel-rapl")
        package.mkdir(exist_ok=True)
        (package / "energy_uj").write_text(str(count))
        (package / "max_energy_range_uj").write_text("10000000")


def test_energy_of_the_packages_is_summed_without_their_parts_and_none_where_not_counted(tmp_path):
    assert RaplCounters(tmp_path).read() is None
    packages(tmp_path, rapl_0=3_000_000, rapl_1=4_000_000, rapl_0_0=9_000_000)
    counters = RaplCounters(tmp_path)
    packages(tmp_path, rapl_0=5_000_000, rapl_1=9_000_000, rapl_0_0=9_900_000)
    assert counters.read() == 7.0


def test_a_counter_that_begins_anew_is_followed_around(tmp_path):
    """From 9 of at most 10 J: to 2 J (3 spent), to 8 J (6), to 1 J (3)."""
    packages(tmp_path, rapl_0=9_000_000)
    counters, spent = RaplCounters(tmp_path), []
    for count in (2_000_000, 8_000_000, 1_000_000):
        packages(tmp_path, rapl_0=count)
        spent.append(counters.read())
    assert spent == [3.0, 9.0, 12.0]
    (tmp_path / "intel-rapl:0" / "max_energy_range_uj").unlink()
    packages_without_range = tmp_path / "intel-rapl:0" / "energy_uj"
    packages_without_range.write_text("500000")
    assert counters.read() is counters.read() is None


def test_a_resumed_fit_adds_to_what_was_spent_before(monkeypatch, tmp_path):
    packages(tmp_path, rapl_0=1_000_000)
    monkeypatch.setattr("darkcovid.training.resources.RaplCounters", lambda: RaplCounters(tmp_path))
    meter = ResourceMonitor(CPU, ResourceUsage(peak_host_bytes=10**15, host_joules=5.0))
    packages(tmp_path, rapl_0=9_000_000)
    cost = meter.cost()
    assert cost.host_joules == 13.0
    assert cost.peak_host_bytes == 10**15

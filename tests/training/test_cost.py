import mmap
import sys
import time

import psutil
import pytest
import torch

from darkcovid.compute import keep_memory
from darkcovid.training.cost import Cost, Meter, measured, rapl_joules

CPU = torch.device("cpu")


def test_peak_memory_sees_a_block_that_was_freed_again():
    with measured(CPU) as meter:
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
    keep_memory()
    block = torch.ones(75_000_000)
    del block
    kept = psutil.Process().memory_info().rss
    with measured(CPU) as meter:
        pass
    assert meter.cost().peak_host_bytes < kept - 200_000_000


def test_energy_of_the_packages_is_summed_without_their_parts_and_none_where_not_counted(tmp_path):
    assert rapl_joules(tmp_path) is None
    for name, microjoules in (("intel-rapl:0", 3_000_000), ("intel-rapl:1", 4_000_000), ("intel-rapl:0:0", 9_000_000)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(str(microjoules))
    assert rapl_joules(tmp_path) == 7.0


def test_a_resumed_fit_adds_to_what_was_spent_before(monkeypatch):
    readings = iter([10.0, 25.0])
    monkeypatch.setattr("darkcovid.training.cost.rapl_joules", lambda: next(readings))
    meter = Meter(CPU, Cost(peak_host_bytes=10**15, host_joules=5.0))
    cost = meter.cost()
    assert cost.host_joules == 20.0
    assert cost.peak_host_bytes == 10**15

"""How many processors, by drawn file systems; how many threads, beside drawn work; and other work, by real busy loops."""

import json
import os
import subprocess
import sys

import pytest

from darkcovid.core import cpu_threads
from darkcovid.core.cpu_threads import CpuThreads, available_processors, cpu_quota, used_by_others

ALLOWED = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
CHOOSE = """
import json, sys
from darkcovid.core import cpu_threads
cpu_threads.used_by_others = lambda: {others}
cpu_threads.available_processors = lambda: {processors}
cpu_threads.allowed_processors = lambda: range({allowed})
print(json.dumps(cpu_threads.choose_cpu_threads().as_dict()))
assert "torch" not in sys.modules
"""


def files(root, contents):
    for name, text in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("contents", "quota"),
    [
        ({}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "50000 100000", "sys/fs/cgroup/a/b/cpu.max": "max"}, 0.5),
        ({"proc/self/cgroup": "0::/on/the/host\n", "sys/fs/cgroup/cpu.max": "200000 100000"}, 2.0),
        ({"proc/self/cgroup": "0::/../outside\n", "sys/fs/cgroup/cpu.max": "200000 100000"}, 2.0),
        (
            {
                "proc/self/cgroup": "7:memory:/x\n3:cpu,cpuacct:/x\n0::/\n",
                "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us": "300000",
                "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us": "100000",
            },
            3.0,
        ),
        (
            {
                "proc/self/cgroup": "1:cpu:/docker/77\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "100000",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            1.0,
        ),
        (
            {
                "proc/self/cgroup": "1:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            None,
        ),
        ({"proc/self/cgroup": "nonsense\n\n::\n", "sys/fs/cgroup/cpu.max": "a b c"}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "100000 0"}, None),
    ],
)
def test_quotas_of_both_versions_and_all_levels_are_read(tmp_path, contents, quota):
    assert cpu_quota(files(tmp_path, contents)) == (float("inf") if quota is None else quota)


@pytest.mark.parametrize(("quota", "processors"), [("20000", 1), ("100000", 1), ("149000", 1), ("151000", 2), ("9999999", 99)])
def test_a_quota_below_the_affinity_decides(tmp_path, quota, processors):
    root = files(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": f"{quota} 100000"})
    found, limited_by = available_processors(root)
    assert found == min(processors, ALLOWED) and (limited_by == "quota") == (found < ALLOWED)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity") or ALLOWED < 2, reason="needs two processors")
def test_the_affinity_decides():
    code = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\nfrom darkcovid.core.cpu_threads import *\n"
    said = subprocess.run(
        [sys.executable, "-c", code + "print(available_processors())"], capture_output=True, text=True, check=True
    )
    assert said.stdout == "(1, 'affinity')\n"


def cleared():
    """The environment without anybody's settings of threads."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_", "MKL_"))}


def choose(others, processors=(2, ""), allowed=2, **environment):
    said = subprocess.run(
        [sys.executable, "-c", CHOOSE.format(others=others, processors=processors, allowed=allowed)],
        capture_output=True,
        text=True,
        check=True,
        env=cleared() | environment,
    )
    return CpuThreads(**json.loads(said.stdout))


@pytest.mark.parametrize(
    ("processors", "limited_by", "others", "threads"),
    [
        (2, "", 0.1, None),
        (2, "", 0.5, None),
        (2, "", 0.6, "1"),
        (2, "", 2.0, "1"),
        (16, "", 2.2, "14"),
        (16, "affinity", 15.9, "1"),
        (2, "quota", 0.0, "2"),
        (2, "quota", 9.0, "2"),
        (2, "quota", 15.4, "1"),
        (1, "", 1.0, "1"),
    ],
)
def test_as_many_threads_as_processors_are_free(processors, limited_by, others, threads):
    found = choose(others, processors=(processors, limited_by), allowed=16 if limited_by == "quota" else processors)
    assert found.chosen.get("OMP_NUM_THREADS") == threads
    assert found.chosen.get("OMP_WAIT_POLICY") == ("PASSIVE" if others > 0.5 and threads != "1" else None)
    assert f"other work uses {others:.1f}" in str(found)
    assert (f", so {threads} thread" in str(found)) == (others > 0.5)


@pytest.mark.parametrize("own", [{"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "7"}, {"KMP_BLOCKTIME": "0"}])
def test_a_person_s_way_of_waiting_stays(own):
    found = choose(2.0, processors=(8, ""), allowed=8, **own)
    assert found.chosen == {"OMP_NUM_THREADS": "6"} and found.given == own


@pytest.mark.parametrize("own", [{"OMP_NUM_THREADS": "3"}, {"MKL_NUM_THREADS": "1"}])
def test_a_person_s_number_of_threads_stays(own):
    found = choose(2.0, processors=(8, ""), allowed=8, **own)
    assert found.chosen == {"OMP_WAIT_POLICY": "PASSIVE"} and found.given == own
    assert next(f"{name}={value}" for name, value in own.items()) in str(found)


@pytest.mark.skipif(ALLOWED < 2, reason="needs two processors")
@pytest.mark.parametrize(("own", "begun", "threads"), [({}, 1, 1), ({}, None, 2), ({}, 99, 2), ({"OMP_NUM_THREADS": "2"}, 1, 2)])
def test_a_run_keeps_the_number_of_threads_that_it_began_with(own, begun, threads):
    code = "import torch\nfrom darkcovid.core import cpu_threads\ncpu_threads.available_processors = lambda: (2, '')\n"
    code += f"torch.set_num_threads(2)\ncpu_threads.keep_threads({begun})\nprint(torch.get_num_threads())"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=cleared() | own)
    assert said.stdout == f"{threads}\n"


def test_room_for_other_work_is_said_in_one_line():
    found = CpuThreads(processors=2, others=1.2, chosen={"OMP_NUM_THREADS": "1"})
    assert found.notice() == "other work uses 1.2 of 2 processors, so 1 thread computes; OMP_NUM_THREADS=2 takes all"
    assert CpuThreads(processors=2, others=0.1).notice() == ""
    assert CpuThreads(processors=1, limited_by="quota", others=0.1, chosen={"OMP_NUM_THREADS": "1"}).notice() == ""


def test_settings_of_other_matters_change_nothing():
    assert choose(1.9, KMP_DUPLICATE_LIB_OK="TRUE", OMP_PLACES="cores") == choose(1.9)


def test_other_work_is_seen_and_own_is_not():
    loop = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        assert max(used_by_others(0.3) for _ in range(5)) > 0.4
        assert used_by_others(0.1, samples=1) <= ALLOWED + 0.5
    finally:
        loop.kill()
        loop.wait()


def test_work_that_comes_and_goes_does_not_count(monkeypatch):
    seen = iter([1.9, 1.8, 0.2, 1.9])
    monkeypatch.setattr(cpu_threads, "_used_by_others", lambda seconds: next(seen))
    assert used_by_others() == min(0.2, ALLOWED) and next(seen) == 1.9
    monkeypatch.setattr(cpu_threads, "_used_by_others", lambda seconds: 1.9)
    assert used_by_others() == min(1.9, ALLOWED)

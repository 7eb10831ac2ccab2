"""How many processors, by drawn file systems; and how threads wait, beside real busy loops."""

import json
import os
import subprocess
import sys

import pytest

from darkcovid.core.cpu_threads import CpuThreads, available_processors, cpu_quota, used_by_others

ALLOWED = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
CHOOSE = """
import json, sys
from darkcovid.core import cpu_threads
cpu_threads.used_by_others = lambda: {others}
cpu_threads.can_switch_waiting = lambda: {switched}
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


def choose(others, switched=False, **environment):
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_", "MKL_"))}
    said = subprocess.run(
        [sys.executable, "-c", CHOOSE.format(others=others, switched=switched)],
        capture_output=True,
        text=True,
        check=True,
        env=clean | environment,
    )
    return CpuThreads(**json.loads(said.stdout))


def test_nothing_is_chosen_where_waiting_is_switched_later():
    found = choose(1.9, switched=True)
    assert found.chosen == {} and found.others is None
    assert ("sleep while other work takes their processors" in str(found)) == (ALLOWED > 1)


@pytest.mark.skipif(ALLOWED < 2, reason="one thread waits for nobody")
def test_elsewhere_threads_sleep_beside_other_work_and_spin_alone():
    quiet, busy = choose(0.1), choose(1.9)
    assert quiet.chosen.get("OMP_WAIT_POLICY") is None and "spin while they wait" in str(quiet)
    assert busy.chosen["OMP_WAIT_POLICY"] == "PASSIVE" and "other work uses 1.9, so threads sleep" in str(busy)


@pytest.mark.parametrize("own", [{"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "7"}, {"KMP_BLOCKTIME": "0"}])
def test_a_person_s_way_of_waiting_stays(own):
    found = choose(1.9, **own)
    assert "OMP_WAIT_POLICY" not in found.chosen and found.given == own and found.others is None


@pytest.mark.skipif(ALLOWED < 2, reason="one thread waits for nobody")
@pytest.mark.parametrize("own", [{"OMP_NUM_THREADS": "3"}, {"MKL_NUM_THREADS": "1"}])
def test_a_person_s_number_of_threads_stays_and_they_may_sleep(own):
    found = choose(1.9, **own)
    assert found.chosen == {"OMP_WAIT_POLICY": "PASSIVE"} and found.given == own
    assert next(f"{name}={value}" for name, value in own.items()) in str(found)


def test_settings_of_other_matters_change_nothing():
    assert choose(1.9, KMP_DUPLICATE_LIB_OK="TRUE", OMP_PLACES="cores") == choose(1.9)


def test_other_work_is_seen_and_own_is_not():
    loop = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        assert max(used_by_others(0.3) for _ in range(5)) > 0.4
    finally:
        loop.kill()
        loop.wait()

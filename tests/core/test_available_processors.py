"""How many processors a process may use, by drawn file systems and by the affinity."""

import os
import subprocess
import sys

import pytest

from darkcovid.core.available_processors import available_processors, cpu_quota

ALLOWED = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


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
    code = (
        "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\nfrom darkcovid.core.available_processors import *\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", code + "print(available_processors())"], capture_output=True, text=True, check=True
    )
    assert said.stdout == "(1, 'affinity')\n"

"""Threads spin alone and sleep beside other work, while a process runs."""

import json
import os
import subprocess
import sys

import pytest

from darkcovid.core import thread_waiting
from darkcovid.core.thread_waiting import CONTENDED, OWN_SETTINGS, QUIET_LOOKS, can_switch_waiting, seconds_kept_waiting

ALLOWED = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
LINUX = pytest.mark.skipif(not seconds_kept_waiting(), reason="this system does not tell how long threads are kept waiting")
SPINNING = """
import json, threading, time, torch
from darkcovid.core.thread_waiting import IdleTeams

def seconds():
    began = time.process_time()
    for _ in range(100):
        values.add_(1)
        time.sleep(0.005)
    return time.process_time() - began

values, idle = torch.zeros(1 << 17), IdleTeams()
kernel = torch.randn(8, 8, 3, 3)
image = torch.randn(2, 8, 64, 64)
spins, plain = seconds(), torch.conv2d(image, kernel)
idle.start()
idle.start()
teams = threading.active_count()
sleeps, same = seconds(), torch.equal(torch.conv2d(image, kernel), plain)
idle.end()
time.sleep(0.2)
print(json.dumps([spins, sleeps, seconds(), teams - 1, threading.active_count() - 1, same]))
"""


class Switch:
    """What `IdleTeams` is asked for."""

    def __init__(self):
        self.asked = []

    def start(self):
        self.asked.append("sleep")

    def end(self):
        self.asked.append("spin")


def test_threads_sleep_at_once_and_spin_again_after_a_while(monkeypatch):
    switch, looks = Switch(), [0.0, CONTENDED + 0.1, *[0.0] * (QUIET_LOOKS - 1), 0.9, *[0.0] * QUIET_LOOKS]
    monkeypatch.setattr(thread_waiting, "IdleTeams", lambda: switch)
    monkeypatch.setattr(thread_waiting, "_contention", lambda: iter(looks))
    thread_waiting._watch()
    assert switch.asked == ["sleep", "sleep", "spin"]


@LINUX
@pytest.mark.skipif(ALLOWED < 2, reason="one thread waits for nobody")
def test_idle_teams_end_the_spinning_and_change_no_number():
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_", "MKL_"))}
    said = subprocess.run([sys.executable, "-c", SPINNING], capture_output=True, text=True, check=True, env=clean)
    spins, sleeps, spins_again, teams, left, same = json.loads(said.stdout)
    assert sleeps < 0.6 * spins and sleeps < 0.6 * spins_again
    assert teams >= 1 and left == 0 and same


@LINUX
def test_waiting_for_a_processor_is_seen():
    on_one = f"import os, time\nos.sched_setaffinity(0, [{min(os.sched_getaffinity(0))}])\n"
    on_one += "end = time.time() + {}\nwhile time.time() < end: pass\n"
    seen = "from darkcovid.core.thread_waiting import seconds_kept_waiting\nprint(sum(seconds_kept_waiting().values()))"
    other = subprocess.Popen([sys.executable, "-c", on_one.format(60)])
    try:
        said = subprocess.run([sys.executable, "-c", on_one.format(1) + seen], capture_output=True, text=True, check=True)
    finally:
        other.kill()
        other.wait()
    assert float(said.stdout) > CONTENDED


@pytest.mark.parametrize("own", OWN_SETTINGS)
def test_a_person_s_way_of_waiting_stays(monkeypatch, own):
    for name in OWN_SETTINGS:
        monkeypatch.delenv(name, raising=False)
    alone = can_switch_waiting()
    monkeypatch.setenv(own, "7")
    assert alone == bool(seconds_kept_waiting()) and not can_switch_waiting()

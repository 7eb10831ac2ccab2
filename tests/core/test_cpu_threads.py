"""How many threads, beside drawn work; and other work, by real busy loops."""

import json
import os
import subprocess
import sys
from collections import namedtuple

import pytest

from darkcovid.cli.helpers import run_heavy
from darkcovid.core import cpu_threads
from darkcovid.core.cpu_threads import CpuThreads, used_by_others

ALLOWED = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
CHOOSE = """
import json, sys
from darkcovid.cli.helpers import run_heavy
from darkcovid.core import cpu_threads
looks = []
def used_by_others(samples):
    looks.append(samples)
    return {others}
cpu_threads.used_by_others = used_by_others
cpu_threads.available_processors = lambda: {processors}
cpu_threads._cores = lambda: {cores}
found = cpu_threads.choose_cpu_threads({make_room})
assert cpu_threads.choose_cpu_threads(not {make_room}) is found
print(json.dumps([looks, found.notice(), found.as_dict()]))
assert "torch" not in sys.modules
"""
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="room is made on Linux alone")


def cleared():
    """The environment without anybody's settings of threads."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_", "MKL_"))}


def choose(others, processors=(2, ""), cores=None, make_room=True, **environment):
    """The looks at other work, the notice, and what was found."""
    code = CHOOSE.format(others=others, processors=processors, cores=cores or processors[0], make_room=make_room)
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=cleared() | environment)
    looks, notice, found = json.loads(said.stdout)
    return looks, notice, CpuThreads(**found)


@LINUX
@pytest.mark.parametrize(
    ("processors", "cores", "others", "threads"),
    [
        (2, 2, 0.1, None),
        (2, 2, 0.5, None),
        (2, 2, 0.6, "1"),
        (2, 2, 2.0, "1"),
        (16, 16, 2.0, None),  # an eighth
        (16, 16, 3.2, "13"),
        (16, 8, 3.2, None),  # torch itself takes as many threads as cores
        (16, 8, 9.2, "7"),
        (16, 8, 16.0, "1"),
    ],
)
def test_a_command_that_trains_computes_with_as_many_threads_as_processors_are_free(processors, cores, others, threads):
    looks, notice, found = choose(others, (processors, ""), cores)
    busy = others > max(0.5, processors / 8)
    assert found.chosen.get("OMP_NUM_THREADS") == threads and looks == [12]
    assert found.chosen.get("OMP_WAIT_POLICY") == ("PASSIVE" if busy and threads != "1" else None)
    assert f"other work uses {others:.1f}" in str(found) and (", so " in str(found)) == (threads is not None)
    assert notice.startswith(f"other work uses {others:.1f} of {processors} processors, so {threads} thread" if threads else "")
    assert (f"to use all: OMP_NUM_THREADS={processors} " in notice) == (threads is not None)


@pytest.mark.parametrize(("processors", "others"), [((2, ""), 1.9), ((16, ""), 15.0), ((16, "affinity"), 15.0)])
def test_other_commands_keep_their_threads_which_sleep_beside_other_work(processors, others):
    looks, notice, found = choose(others, processors, make_room=False)
    assert found.chosen == {"OMP_WAIT_POLICY": "PASSIVE"} and looks == [1] and notice == ""
    assert "threads sleep while they wait" in str(found)


@pytest.mark.parametrize(("processors", "others"), [(2, 1.0), (2, 15.0), (16, 15.0), (1, 0.0)])
def test_a_quota_is_a_promise_whatever_the_host_does(processors, others):
    _, notice, found = choose(others, (processors, "quota"), cores=64)
    assert found.chosen.pop("OMP_NUM_THREADS") == str(processors) and notice == ""
    assert found.chosen == ({"OMP_WAIT_POLICY": "PASSIVE"} if processors > 1 and others > max(0.5, processors / 8) else {})


def test_one_processor_needs_no_look():
    looks, notice, found = choose(1.0, (1, ""))
    assert looks == [] and notice == "" and found.chosen == {} and found.others is None


@pytest.mark.parametrize("own", [{"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "7"}, {"KMP_BLOCKTIME": "0"}])
def test_a_person_s_way_of_waiting_stays(own):
    found = choose(2.0, (8, ""), **own)[2]
    assert found.chosen == ({"OMP_NUM_THREADS": "6"} if sys.platform == "linux" else {}) and found.given == own
    assert choose(2.0, (8, ""), make_room=False, **own)[0] == []


@pytest.mark.parametrize("own", [{"OMP_NUM_THREADS": "2"}, {"MKL_NUM_THREADS": "1"}])
def test_a_person_s_number_of_threads_stays_and_they_sleep(own):
    looks, notice, found = choose(2.0, (2, ""), **own)
    assert found.chosen == {"OMP_WAIT_POLICY": "PASSIVE"} and found.given == own and looks == [1] and notice == ""
    assert next(f"{name}={value}" for name, value in own.items()) in str(found)


def test_commands_say_so(monkeypatch, caplog):
    found = CpuThreads(processors=2, others=1.9, chosen={"OMP_NUM_THREADS": "1"})
    monkeypatch.setattr(cpu_threads, "_chosen", [found])
    caplog.set_level("INFO", "darkcovid")
    assert run_heavy(lambda: 7) == 7
    assert found.notice() in caplog.messages


def test_one_thread_waits_for_nobody():
    assert choose(2.0, OMP_NUM_THREADS="1")[2].chosen == {}


@pytest.mark.skipif(ALLOWED < 2, reason="needs two processors")
@pytest.mark.parametrize(
    ("own", "begun", "threads"), [({}, 1, 1), ({}, 2, 2), ({}, None, 2), ({}, 99, 2), ({"OMP_NUM_THREADS": "2"}, 1, 2)]
)
def test_a_run_that_goes_on_keeps_the_number_of_threads_that_it_began_with(own, begun, threads):
    code = "import torch\nfrom darkcovid.core import cpu_threads\ncpu_threads.available_processors = lambda: (2, '')\n"
    code += f"torch.set_num_threads(2)\nwith cpu_threads.computing_with({begun}):\n    inside = torch.get_num_threads()\n"
    said = subprocess.run(
        [sys.executable, "-c", f"{code}print(inside, torch.get_num_threads())"],
        capture_output=True,
        text=True,
        check=True,
        env=cleared() | own,
    )
    assert said.stdout == f"{threads} 2\n"


def test_settings_of_other_matters_change_nothing():
    assert choose(1.9, KMP_DUPLICATE_LIB_OK="TRUE", OMP_PLACES="cores") == choose(1.9)


def test_other_work_is_seen():
    loop = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        assert max(used_by_others(0.3, samples=1) for _ in range(5)) > 0.4
    finally:
        loop.kill()
        loop.wait()


@pytest.mark.parametrize(("listed", "allowed", "used"), [(4, {1, 3}, 2.0), (3, {0, 2, 3}, 3.0), (4, {32, 33}, 4.0)])
def test_processors_are_those_of_the_affinity_where_the_system_numbers_them_so(monkeypatch, listed, allowed, used):
    import psutil

    Times = namedtuple("Times", "user nice system idle")
    monkeypatch.setattr(psutil, "cpu_times", lambda percpu: [Times(0.75, 5.0, 0.25, 9.0)] * listed)
    monkeypatch.setattr(cpu_threads, "allowed_processors", lambda: allowed)
    assert cpu_threads._busy_seconds() == used


def test_work_that_comes_and_goes_does_not_count(monkeypatch):
    seen = iter([1.9, 1.8, 0.2, 1.9])
    monkeypatch.setattr(cpu_threads, "_used_by_others", lambda seconds: next(seen))
    assert used_by_others() == min(0.2, ALLOWED) and next(seen) == 1.9
    monkeypatch.setattr(cpu_threads, "_used_by_others", lambda seconds: 1.9)
    assert used_by_others() == min(1.9, ALLOWED)

"""What an epoch takes beside other work: beside 0, 2 and 6 busy loops, and under a quota of one processor.

`python docs/results/busy.py FOLDER [WORDS]` prints one JSON line per condition and way: `torch`, as it finds OpenMP; `darkcovid`,
as many threads as processors are free. Each is the median epoch of one run without its first, of one arm and one fit.
WORDS are those of `darkcovid run`, by default of the demo's arm `unsegmented`. The quota needs root and control groups of
version 1 or 2. Run it on a machine with nothing else to do.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
OWN = ("OMP_", "GOMP_", "KMP_", "MKL_")
SPINS = {"GOMP_SPINCOUNT": "300000"}  # OpenMP's default
WAYS = {
    "torch": {"OMP_NUM_THREADS": str(os.cpu_count()), **SPINS},
    "darkcovid": {},
}
DEMO = ["recipes/demo.yaml", "--arm", "unsegmented"]
EPOCHS = 4


def main(folder: Path, run: list[str]) -> None:
    for loops in (0, 2, 6):
        with busy_loops(loops):
            report(folder, run, {"loops": loops})
    if os.geteuid() == 0:
        with one_processor() as join:
            report(folder, run, {"quota": 1.0}, join)


def report(folder: Path, run: list[str], condition: dict, join=None) -> None:
    for way, settings in WAYS.items():
        words = [sys.executable, "-m", "darkcovid", "run", *run, "--runs-dir", str(folder), "--json"]
        words += ["--cache-dir", str(folder / "cache"), "--set", f"training.epochs={EPOCHS}", "--set", "audit=none"]
        clean = {name: value for name, value in os.environ.items() if not name.startswith(OWN)}
        done = subprocess.run(words, capture_output=True, text=True, env=clean | settings, preexec_fn=join)
        if done.returncode:
            raise SystemExit(done.stderr)
        (history,) = Path(json.loads(done.stdout)["run_dir"]).glob("*/history.csv")
        rows = history.read_text().splitlines()
        column = rows[0].split(",").index("seconds")
        seconds = statistics.median(float(row.split(",")[column]) for row in rows[2:])
        print(json.dumps(condition | {"way": way, "epoch_seconds": round(seconds, 2)}), flush=True)


@contextmanager
def busy_loops(count: int) -> Iterator[None]:
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


@contextmanager
def one_processor() -> Iterator:
    """A control group with the quota of one processor, and what a new process calls to join it."""
    two = (GROUPS / "cgroup.controllers").is_file()
    group = (GROUPS if two else GROUPS / "cpu") / "darkcovid_busy"
    group.mkdir()
    try:
        if two:
            (group / "cpu.max").write_text("100000 100000")
        else:
            (group / "cpu.cfs_period_us").write_text("100000")
            (group / "cpu.cfs_quota_us").write_text("100000")
        yield lambda: (group / "cgroup.procs").write_text(str(os.getpid()))
    finally:
        group.rmdir()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or DEMO)

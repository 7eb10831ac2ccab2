"""What an epoch takes beside other work: beside 0, 2 and 6 busy loops, beside 2 that begin after the first epoch, and under a
quota of one processor.

`python docs/results/busy.py FOLDER [REPEATS]` prints one JSON line per condition and way of waiting: `torch`, as it finds OpenMP;
`darkcovid`, threads that sleep while other work takes their processors; `passive`, threads that always sleep while they wait.
Each number is the median epoch of `recipes/demo.yaml`, arm `unsegmented`, without the first two; ways take turns within a
condition. The quota needs root and control groups of version 1 or 2. Run it on a machine with nothing else to do.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
OWN = ("OMP_", "GOMP_", "KMP_", "MKL_")
AS_TORCH = "import torch; from darkcovid.cli import main; main()"  # torch is loaded before anything is chosen
WAYS = {
    "torch": ([sys.executable, "-c", AS_TORCH], {}),
    "darkcovid": ([sys.executable, "-m", "darkcovid"], {}),
    "passive": ([sys.executable, "-m", "darkcovid"], {"OMP_WAIT_POLICY": "PASSIVE"}),
}
EPOCHS = 5
UNCOUNTED = 2


def main(folder: Path, repeats: int) -> None:
    for turn in range(repeats):
        for loops in (0, 2, 6):
            with busy_loops(loops):
                report(folder, {"loops": loops, "turn": turn})
        report(folder, {"loops": 2, "after_epoch": 1, "turn": turn})
        if os.geteuid() == 0:
            with one_processor() as join:
                report(folder, {"quota": 1.0, "turn": turn}, join)


def report(folder: Path, condition: dict, join=None) -> None:
    for way, (command, settings) in WAYS.items():
        words = [*command, "run", "recipes/demo.yaml", "--arm", "unsegmented", "--runs-dir", str(folder), "--json"]
        words += ["--set", f"training.epochs={EPOCHS}", "--set", "audit=none", "--cache-dir", str(folder / "cache")]
        clean = {name: value for name, value in os.environ.items() if not name.startswith(OWN)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with ExitStack() as loops, subprocess.Popen(words, env=clean | settings, preexec_fn=join, **pipes) as process:
            said = []
            for line in process.stderr:
                said.append(line)
                if "after_epoch" in condition and f" epoch {condition['after_epoch']}/" in line:
                    loops.enter_context(busy_loops(condition["loops"]))
            answer = process.stdout.read()
        if process.returncode:
            raise SystemExit("".join(said))
        run = Path(json.loads(answer)["run_dir"])
        rows = (run / "unsegmented" / "history.csv").read_text().splitlines()
        column = rows[0].split(",").index("seconds")
        seconds = statistics.median(float(row.split(",")[column]) for row in rows[1 + UNCOUNTED :])
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
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 3)

"""What a cohort's size costs: `darkcovid run` on phantom cohorts of several sizes, with an empty cache, then a warm one.

`python docs/results/scaling.py FOLDER IMAGES...` prints one JSON line a run; FOLDER takes the cache, the logs and the runs.
Memory is what the process and its children held resident, pages of files included, sampled ten times per second.
"""

import json
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import psutil

from darkcovid.data.phantom import phantom_manifest
from darkcovid.recipe import Phantom

IMAGE_SIZE, EPOCHS = 64, 3
IMAGES_PER_PATIENT = 2


def main(folder: Path, sizes: list[int]) -> None:
    for images in sizes:
        patients = images // IMAGES_PER_PATIENT
        drawn = phantom_manifest(Phantom(patients=patients, image_size=IMAGE_SIZE), folder / "cache")
        for cache in ("cold", "warm"):
            print(json.dumps({"images": len(drawn.rows), "cache": cache} | measured_run(folder, patients, cache)), flush=True)


def measured_run(folder: Path, patients: int, cache: str) -> dict[str, float]:
    """Seconds from the command to the first epoch, of an epoch, and from the last to the end; the most memory in each (MB)."""
    runs = folder / f"runs-{patients}-{cache}"
    settings = {
        "data.dataset": "null",
        "data.allow_leaks": "true",  # among many phantoms of this size, some look the same
        "data.phantom.patients": patients,
        "data.phantom.image_size": IMAGE_SIZE,
        "data.image_size": IMAGE_SIZE,
        "training.epochs": EPOCHS,
        "audit": "data",  # lungs are found at so many images per second, whatever the cohort
    }
    words = [sys.executable, "-m", "darkcovid", "run", "recipes/base.yaml", "--data", "phantom"]
    words += ["--cache-dir", str(folder / "cache"), "--runs-dir", str(runs)]
    words += [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    samples, began = [], time.time()
    with (folder / f"{runs.name}.log").open("w") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log)
        while process.poll() is None:
            samples.append((time.time(), resident(process.pid)))
            time.sleep(0.1)
    ended = time.time()
    if process.returncode:
        sys.exit(f"the run failed, see {log.name}")
    (run,) = runs.iterdir()
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    first = next(seconds(event) for event in events if event["event"] == "arm")
    epochs = [event for event in events if event["event"] == "epoch"]
    last = seconds(epochs[-1])
    timing = json.loads((run / "base" / "timing.json").read_text())

    def most(since: float, until: float) -> int:
        return max(memory for when, memory in samples if since <= when <= until) >> 20

    return {
        "start_seconds": round(first - began, 1),
        "decode_seconds": round(timing["prepare_seconds"], 1),
        "epoch_seconds": round(sorted(event["seconds"] for event in epochs)[len(epochs) // 2], 2),
        "end_seconds": round(ended - last, 1),
        "start_mb": most(began, first),
        "training_mb": most(first, last),
        "end_mb": most(last, ended),
    }


def seconds(event: dict) -> float:
    return datetime.fromisoformat(event["time"]).timestamp()


def resident(pid: int) -> int:
    try:
        root = psutil.Process(pid)
        return sum(one.memory_info().rss for one in (root, *root.children(recursive=True)))
    except psutil.Error:
        return 0


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(word) for word in sys.argv[2:]])

"""Images per second of `darkcovid predict` on a folder, decoding included, and how many times those of another checkout.

`python docs/results/predicting.py RUN FOLDER [CHECKOUT] [IMAGES]` asks a run about a folder's first images (384), three times
by this checkout and by the other one in turn, each in a process of its own and after a first batch. It prints one JSON line: the
medians, their ratio, and the load that the machine had.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]
TIMES, WARM = 3, 32


def main(run: str, folder: str, checkout: str | None = None, images: str = "384") -> None:
    checkouts = {"here": str(HERE)} | ({"other": checkout} if checkout else {})
    rates: dict[str, list[float]] = {name: [] for name in checkouts}
    for _ in range(TIMES):
        for name, path in checkouts.items():
            words = [sys.executable, __file__, "--measure", run, folder, images]
            done = subprocess.run(words, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=True)
            rates[name].append(float(done.stdout.splitlines()[-1]))
    found = {name: round(statistics.median(values), 1) for name, values in rates.items()}
    ratio = {"ratio": round(found["here"] / found["other"], 2)} if checkout else {}
    print(json.dumps({"images_per_second": found, **ratio, "load": [round(load, 1) for load in os.getloadavg()]}))


def measure(run: str, folder: str, images: str) -> None:
    from darkcovid.core.cpu_threads import choose_cpu_threads

    choose_cpu_threads()
    from darkcovid.inference.image_files import find_images
    from darkcovid.inference.predict_files import predict_images
    from darkcovid.inference.predictor import load_pipeline

    pipeline, found = load_pipeline(Path(run)), find_images(Path(folder))[: int(images)]
    predict_images(pipeline, found[:WARM])
    began = time.perf_counter()
    predict_images(pipeline, found)
    print(len(found) / (time.perf_counter() - began))


if __name__ == "__main__":
    measure(*sys.argv[2:]) if sys.argv[1] == "--measure" else main(*sys.argv[1:])

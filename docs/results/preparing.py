"""What Spark costs and saves beside the local engine: `darkcovid data prepare` of the same phantoms by both, on all cores here.

`python docs/results/preparing.py FOLDER IMAGES` prints one JSON line an engine; FOLDER takes the caches. Memory is what the
process and its children held resident, Java included, sampled twice per second; it is given for each tenth of the time.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from scaling import resident

from darkcovid.data.phantom import phantom_manifest
from darkcovid.recipe import Phantom

IMAGE_SIZE = 128
SETS = {
    "data.manifest": "phantom",
    "data.dataset": "null",
    "data.phantom.image_size": IMAGE_SIZE,
    "data.image_size": IMAGE_SIZE,
    "lungs.crop_size": IMAGE_SIZE,
}


def main(folder: Path, images: int) -> None:
    patients = images // 2
    phantom_manifest(Phantom(patients=patients, image_size=IMAGE_SIZE), folder / "drawn")
    for engine in ("local", "spark"):
        cache = folder / engine
        shutil.copytree(folder / "drawn", cache, copy_function=os.link)
        print(json.dumps({"engine": engine} | measured(cache, patients, engine)), flush=True)
    made = [sorted(path.name for path in (folder / engine / "pixels").glob("*.npy")) for engine in ("local", "spark")]
    print(json.dumps({"shards": len(made[0]), "same_names": made[0] == made[1]}))


def measured(cache: Path, patients: int, engine: str) -> dict:
    words = [sys.executable, "-m", "darkcovid", "data", "prepare", "recipes/segmented.yaml", "--cache-dir", str(cache)]
    words += ["--engine", engine, "--json"]
    for key, value in (SETS | {"data.phantom.patients": patients}).items():
        words += ["--set", f"{key}={value}"]
    samples, began = [], time.perf_counter()
    with cache.with_suffix(".log").open("w") as log:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=log, text=True)
        while process.poll() is None:
            samples.append(resident(process.pid) >> 20)
            time.sleep(0.5)
    found = json.loads(process.stdout.read())
    tenths = [max(samples[len(samples) * part // 10 : len(samples) * (part + 1) // 10]) for part in range(10)]
    stages = {name: round(stage["seconds"], 1) for name, stage in found["stages"].items()}
    return {"images": found["images"], "seconds": round(time.perf_counter() - began, 1), "stages": stages, "tenths_mb": tenths}


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

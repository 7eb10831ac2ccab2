"""Seconds of `darkcovid audit`: of 10,000 predictions, and of a model with all controls beside one pass of it over the images.

`python docs/results/auditing.py predictions [COUNT]` makes predictions of COUNT (10,000) images of half as many patients with
three classes, and audits them. `python docs/results/auditing.py model FILE MANIFEST` audits a model twice, so that images and
lung masks are read from the cache the second time, and times one pass over the same images. Controls are the scores, the five
views of `audits.occlusion`, the maps of some images and their deletion curves: eight in all. It prints one JSON line.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).resolve().parents[2]
CLASSES = ("covid", "no_finding", "pneumonia")
CONTROLS = 8


def audit_seconds(*words: str) -> float:
    """Of the whole command, its start included."""
    with tempfile.TemporaryDirectory() as runs:
        command = [sys.executable, "-m", "darkcovid", "audit", *words, "--runs-dir", runs, "--json"]
        started = time.perf_counter()
        subprocess.run(command, env=os.environ | {"PYTHONPATH": str(HERE)}, stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - started


def predictions(count: int) -> dict[str, float]:
    """`count` made-up predictions of a fair classifier."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, count)
    logits = random.normal(size=(count, 3)) + 2 * np.eye(3)[labels]
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    names = [f"{number}.png" for number in range(count)]
    about = {"label": np.array(CLASSES)[labels], "patient_id": [f"p{number // 2}" for number in range(count)]}
    about |= {"sex": random.choice(["F", "M"], count), "view": random.choice(["PA", "AP"], count)}
    about |= {"age": random.integers(18, 90, count), "source": random.choice(["a", "b", "c"], count)}
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{name}.csv" for name in ("predictions", "manifest")]
        pd.DataFrame(shares, columns=list(CLASSES)).assign(path=names).to_csv(files[0], index=False)
        pd.DataFrame({"path": names, **about}).to_csv(files[1], index=False)
        seconds = audit_seconds("--predictions", str(files[0]), "--manifest", str(files[1]))
    return {"predictions": count, "seconds": round(seconds, 1)}


def model(file: str, manifest: str) -> dict[str, float]:
    """A file that says its input by itself, as `darkcovid export` writes it."""
    words = ("--model", file, "--manifest", manifest)
    first, again = audit_seconds(*words), audit_seconds(*words)
    images, one_pass = pass_seconds(file, manifest)
    return {
        "images": images,
        "first_seconds": round(first, 1),
        "seconds": round(again, 1),
        "pass_seconds": round(one_pass, 2),
        "passes_per_control": round(again / one_pass / CONTROLS, 2),
    }


def pass_seconds(file: str, manifest: str) -> tuple[int, float]:
    """How many images, and seconds of one pass over them from the cache."""
    from darkcovid.core.device import get_device
    from darkcovid.core.io import user_cache_dir
    from darkcovid.data.check_files import validate_files
    from darkcovid.data.manifest import read_manifest
    from darkcovid.experiment.model_answers import ask_for_scores
    from darkcovid.experiment.model_inputs import ModelInputs
    from darkcovid.inference.foreign.client import ProcessModel, kind_of_model
    from darkcovid.inference.foreign.inputs import DeclaredInput, resolve_input

    listed, cache = read_manifest(Path(manifest)), user_cache_dir()
    with ProcessModel(kind_of_model(file), file) as opened:
        policy = resolve_input(kind_of_model(file), file, opened.shape, DeclaredInput(), {})
        inputs = ModelInputs.of(listed.rows, validate_files(listed, cache), policy, get_device("auto", "fp32"), cache)
        ask_for_scores(opened, policy, inputs.pixels[:32])
        started = time.perf_counter()
        ask_for_scores(opened, policy, inputs.pixels)
        return len(inputs.cohort), time.perf_counter() - started


if __name__ == "__main__":
    kind, *rest = sys.argv[1:]
    found = predictions(int(rest[0]) if rest else 10_000) if kind == "predictions" else model(*rest)
    print(json.dumps(found | {"load": [round(load, 1) for load in os.getloadavg()]}))

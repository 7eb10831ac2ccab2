"""The speed of a GPU: epochs of whole images and crops, and seconds until as accurate as asked, beside stock fastai.

`python docs/results/gpu.py FOLDER MANIFEST` prints one JSON line per measurement and a table; FOLDER takes caches and runs.
Run it on a machine with nothing else to do.
"""

import csv
import json
import subprocess
import sys
from pathlib import Path

RECIPE = Path(__file__).parents[2] / "recipes" / "segmented.yaml"
ARMS = ("unsegmented", "segmented")
REPEATS, EPOCHS, RACE_EPOCHS, TARGET = 5, 100, 15, 0.8


def main(folder: Path, manifest: Path) -> None:
    common = ["--manifest", str(manifest), "--cache-dir", str(folder / "cache"), "--json"]
    plots = ["--output", str(folder / "race.png")]
    epochs = darkcovid("bench", str(RECIPE), "--repeats", str(REPEATS), *common)
    race = darkcovid(
        "bench", str(RECIPE), "--to-accuracy", str(TARGET), *plots, "--set", f"training.epochs={RACE_EPOCHS}", *common
    )
    training = ["--set", f"training.epochs={EPOCHS}", "--set", "audit=none", *(word for arm in ARMS for word in ("--arm", arm))]
    run = Path(darkcovid("run", str(RECIPE), *training, "--runs-dir", str(folder / "runs"), *common)["run_dir"])
    long = {name: seconds_of_training(run / arm) for name, arm in zip(("whole", "crop"), ARMS, strict=True)}
    print(json.dumps({"seconds_of_100_epochs": long}))

    print(f"\n{epochs['machine']['device']}, {epochs['machine']['precision']}\n")
    print(f"| | s per epoch | images per s | times stock | s for {EPOCHS} epochs | s to accuracy {TARGET} | times stock |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name in ("stock", "whole", "crop"):
        one, ratio = epochs[name], epochs.get(f"ratio_{name}", 1.0)
        cells = [f"{one['epoch_seconds']:.3f}", f"{one['images_per_second']:,.0f}", f"{ratio:.1f}"]
        cells += [number(long.get(name)), number(race[name]["seconds_to_target"]), number(race.get(f"ratio_{name}"))]
        print(f"| {name} | {' | '.join(cells)} |")


def darkcovid(*words: str) -> dict:
    done = subprocess.run([sys.executable, "-m", "darkcovid", *words], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(done.returncode)
    print(json.dumps({"command": words[0]} | json.loads(done.stdout)), flush=True)
    return json.loads(done.stdout)


def seconds_of_training(arm: Path) -> float:
    with (arm / "history.csv").open() as file:
        return sum(float(row["seconds"]) for row in csv.DictReader(file))


def number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

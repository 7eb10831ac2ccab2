"""A run that is killed at random moments, again and again, ends as one that never was."""

import json
import random
import time

import pandas as pd
import pytest
from safetensors import safe_open

from ..commands import processes
from .attempts import SETS, attempt

KILLS, IN_A_ROW = 12, 12
TRAINED = [*SETS, "audit=none", "training.epochs=2"]  # most of a run is then training and writing
TIMELESS = ["epoch", "train_loss", "valid_loss", "accuracy", "lr", "train_images"]


def only(folder):
    (run,) = (folder / "runs").iterdir()
    return run


def done(folder):
    return any(json.loads(path.read_text())["state"] == "done" for path in (folder / "runs").glob("*/status.json"))


def whole_files(folder):
    """Every file under its own name can be read from its first to its last byte."""
    for path in folder.rglob("*"):
        if path.name.startswith(".") or not path.is_file():
            continue
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.name == "events.jsonl":
            [json.loads(line) for line in path.read_text().splitlines()]
        elif path.suffix == ".csv":
            assert path.read_bytes().endswith(b"\n") and len(pd.read_csv(path))
        elif path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                assert [file.get_tensor(name) for name in file.keys()]  # noqa: SIM118 (not a mapping)


@pytest.mark.slow
def test_kills_at_random_moments_change_nothing(tmp_path):
    context, chance = processes(), random.Random(1)
    began = time.monotonic()
    process = context.Process(target=attempt, args=(tmp_path / "whole", TRAINED))
    process.start()
    process.join()
    assert process.exitcode == 0
    seconds = time.monotonic() - began
    whole = only(tmp_path / "whole")
    kills = series = 0
    while kills < KILLS:
        series += 1
        folder = tmp_path / f"killed{series}"
        for number in range(IN_A_ROW + 1):
            process = context.Process(target=attempt, args=(folder, TRAINED))
            process.start()
            process.join(chance.uniform(0, seconds) if number < IN_A_ROW else None)
            if process.exitcode is not None:
                assert process.exitcode == 0
                break
            process.kill()
            process.join()
            kills += 1
            whole_files(folder)
            if done(folder):  # it was killed after its last word
                break
        assert done(folder)
        killed = only(folder)
        first, second = (pd.read_csv(run / "base" / "history.csv")[TIMELESS] for run in (whole, killed))
        pd.testing.assert_frame_equal(first, second, check_exact=True)
        for name in ("predictions.csv", "split.csv", "weights.safetensors", "metrics.json"):
            assert (killed / "base" / name).read_bytes() == (whole / "base" / name).read_bytes()
        everything = [{path.name for path in run.rglob("*") if path.is_file()} for run in (whole, killed)]
        assert everything[1] >= everything[0]
        assert json.loads((killed / "status.json").read_text())["state"] == "done"
    assert kills >= KILLS


@pytest.mark.slow
def test_two_runs_on_one_empty_cache_give_what_one_gives(tmp_path):
    context = processes()
    pair = [context.Process(target=attempt, args=(tmp_path / name,)) for name in ("first", "second")]
    (tmp_path / "cache").mkdir()
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cache").symlink_to(tmp_path / "cache")
    for process in pair:
        process.start()
    for process in pair:
        process.join()
        assert process.exitcode == 0
    texts = [(only(tmp_path / name) / "base" / "predictions.csv").read_text() for name in ("first", "second")]
    assert texts[0] == texts[1]
    assert not list((tmp_path / "cache").rglob("*.part"))

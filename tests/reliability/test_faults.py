"""What goes wrong on a real machine, and what is said and kept then."""

import errno
import json
import os
import pickle
import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from darkcovid.core.array_cache import cached_array, cached_json, is_corrupt
from darkcovid.core.errors import DarkCovidError, DataError
from darkcovid.core.io import read_checksummed_json, write_checksummed_json, write_json
from darkcovid.core.safetensors_io import write_safetensors
from darkcovid.data.check_files import validate_files
from darkcovid.data.cohort import load_classification_cohort
from darkcovid.data.manifest import read_manifest
from darkcovid.data.resize import cached_whole_images
from darkcovid.experiment.runner import RunPaths, run
from darkcovid.recipe import load_recipe
from darkcovid.report.progress import null_progress
from darkcovid.training.fit import fit
from darkcovid.training.interrupt import explain_oom
from darkcovid.vision.learner import classifier_learner

from ..commands import command
from ..conftest import RECIPES
from .attempts import SETS


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 MB of its own, where the system lets us have one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk, leave=0):
    free = shutil.disk_usage(disk).free
    (disk / "filler").write_bytes(b"\0" * max(0, free - leave))


def call(*words):
    done = command(words, Path.cwd())
    assert "Traceback" not in done.stderr
    return done, [line for line in done.stderr.splitlines() if line.startswith("error: ")]


def run_words(folder, cache, *more):
    sets = [word for key in SETS for word in ("--set", key)]
    return ["run", RECIPES / "base.yaml", *sets, "--runs-dir", folder, "--cache-dir", cache, *more]


# a full disk


@pytest.mark.slow
def test_a_disk_that_fills_during_a_run_is_one_line_and_the_run_goes_on_later(small_disk, tmp_path):
    words = run_words(small_disk / "runs", tmp_path / "cache")
    call("data", "prepare", *words[1:-4], *words[-2:])
    fill(small_disk, leave=200_000)  # room for the folder's small files, none for weights
    done, errors = call(*words)
    assert done.returncode == 1
    assert len(errors) == 1 and "the disk is full; make room" in errors[0] and str(small_disk) in errors[0]
    (unfinished,) = (small_disk / "runs").iterdir()
    assert not list(unfinished.rglob("*.part"))
    (small_disk / "filler").unlink()
    done, errors = call(*words, "--resume")
    assert (done.returncode, errors) == (0, [])
    assert json.loads((unfinished / "status.json").read_text())["state"] == "done"


def test_a_cache_on_a_full_disk_is_an_error_and_no_crash(small_disk):
    fill(small_disk, leave=100_000)
    with pytest.raises(OSError, match="No space left") as caught:
        cached_array(small_disk, "k", (1000, 1000), lambda array: array.fill(1))
    assert caught.value.errno == errno.ENOSPC and "k.npy" in caught.value.filename
    assert not [path for path in small_disk.iterdir() if path.suffix in (".npy", ".part")]


def test_weights_and_texts_on_a_full_disk_name_the_file(small_disk):
    fill(small_disk)
    for write in (
        lambda path: write_safetensors(path, {"x": torch.ones(500_000)}, {}),
        lambda path: write_json(path, list(range(100_000))),
    ):
        with pytest.raises(OSError) as caught:
            write(small_disk / "file")
        assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(small_disk / "file"))
    assert [path.name for path in small_disk.iterdir()] == ["filler"]


# a folder that must not be written


@pytest.mark.slow
def test_read_only_folders_are_one_line(small_disk, tmp_path):
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    done, errors = call(*run_words(small_disk / "runs", tmp_path / "cache"))
    assert (done.returncode, len(errors)) == (2, 1) and "--runs-dir" in errors[0]
    done, errors = call(*run_words(tmp_path / "runs", small_disk / "cache"))
    assert (done.returncode, len(errors)) == (1, 1) and "not allowed" in errors[0] and str(small_disk) in errors[0]
    assert not (tmp_path / "runs").exists()


# a cache that went bad


@pytest.mark.parametrize("file", ["k.npy", "k.json"])
def test_no_flipped_bit_of_a_cached_array_goes_unnoticed(tmp_path, file):
    def make():
        return cached_array(tmp_path, "k", (4, 6), lambda array: [array.fill(7), {"boxes": [1, 2]}][1])

    make()
    content = (tmp_path / file).read_bytes()
    for place in range(len(content)):
        for bit in (1, 16):
            (tmp_path / file).write_bytes(content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :])
            before = is_corrupt(tmp_path / "k.npy")
            again = make()
            assert (again.array == 7).all() and again.array.shape == (4, 6) and again.notes == {"boxes": [1, 2]}
            assert again.fresh or not before
            (tmp_path / file).write_bytes(content)
            make()


def test_what_is_remembered_is_sealed(tmp_path):
    write_checksummed_json(tmp_path / "f.json", {"pairs": [[1, 2]]})
    assert read_checksummed_json(tmp_path / "f.json") == {"pairs": [[1, 2]]}
    (tmp_path / "f.json").write_text((tmp_path / "f.json").read_text().replace("[1, 2]", "[1, 3]"))
    with pytest.raises(ValueError, match="not what was written"):
        read_checksummed_json(tmp_path / "f.json")
    assert cached_json(tmp_path, "f", lambda: "anew") == "anew"


# images that changed


def test_images_that_went_away_or_changed_are_noticed(phantom_data, tmp_path):
    cohort = load_classification_cohort(phantom_data, tmp_path)
    first, second, third = cohort.files[:3]
    assert not [one for one in validate_files(cohort.manifest, tmp_path) if one.fault]
    first.unlink()
    second.write_bytes(second.read_bytes()[:-20])
    third.write_bytes(cohort.files[3].read_bytes())
    faults = {one.file: one.fault for one in validate_files(cohort.manifest, tmp_path) if one.fault}
    manifest = cohort.manifest.rows.path.tolist()
    assert len(faults) == 3 and None in faults
    assert {str(fault) for fault in faults.values()} == {"missing", "its checksum is not the manifest's"}
    with pytest.raises(DataError, match=rf"3 of {len(manifest)} images cannot be used \(1 missing\)"):
        load_classification_cohort(phantom_data, tmp_path)


def test_an_image_that_goes_away_between_looking_and_reading_is_one_line(cohort, tmp_path):
    gone = replace(cohort, files=(tmp_path / "gone.png", *cohort.files[1:]), sha256=("0" * 64, *cohort.sha256[1:]))
    with pytest.raises(DataError, match=r"gone\.png: no such file"):
        cached_whole_images(gone.files, gone.sha256, (64, 64), tmp_path)
    assert not list((tmp_path / "pixels").glob("*.npy"))


# time


@pytest.mark.slow
def test_a_clock_that_jumps_changes_no_duration(tmp_path, cache_dir, monkeypatch):
    jumping = iter(range(10**9, 0, -10_000))
    monkeypatch.setattr(time, "time", lambda: float(next(jumping)))
    recipe = load_recipe(RECIPES / "base.yaml", [*SETS, "training.epochs=2"])
    found = run(recipe, RunPaths(tmp_path, cache_dir), null_progress())
    arm = found["arms"]["base"]
    assert 0 < arm["epoch_seconds"] < 60 and 0 <= arm["prepare_seconds"] < 60
    history = pd.read_csv(next(tmp_path.iterdir()) / "base" / "history.csv")
    assert (history.seconds > 0).all() and (history.data_seconds >= 0).all()


# numbers and memory


def test_a_loss_that_is_no_number_is_told_with_step_rate_and_images(tiny_recipe, cohort, pixels, cpu):
    learner = classifier_learner(tiny_recipe, cohort, pixels, cpu)
    batches = len(learner.dls.train)
    calls = []

    def breaking(logits, labels):
        calls.append(learner.dls.train.batches[-1] if learner.training else None)
        return learner.objective.loss(logits, labels) * (float("nan") if len(calls) > 3 else 1.0)

    learner.loss_func = breaking
    names = cohort.rows.path.tolist()
    with pytest.raises(DarkCovidError) as caught:
        fit(learner, tiny_recipe.training, cpu, metric="accuracy", score=learner.objective.correct, image_paths=names)
    said = str(caught.value)
    assert said.startswith(f"the training loss became nan in epoch 1, step 4 of {batches}, at the learning rate ")
    assert "lower training.lr" in said
    assert said.endswith(f"(its images: {', '.join(names[row] for row in calls[3])})") and "\n" not in said


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory."), MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")],
)
def test_exhausted_memory_comes_with_a_batch_size_to_try(tiny_recipe, cohort, pixels, cpu, error):
    def exhausted(*_):
        raise error

    learner = classifier_learner(tiny_recipe, cohort, pixels, cpu)
    learner.loss_func = exhausted
    with pytest.raises(DarkCovidError, match=r"out of memory on cpu with batches of 8; try --set training\.batch_size=4$"):
        fit(learner, tiny_recipe.training, cpu, metric="accuracy", score=learner.objective.correct)


def test_other_errors_stay_what_they_are(cpu):
    with pytest.raises(RuntimeError, match="shapes"), explain_oom(cpu, 8):
        raise RuntimeError("shapes cannot be multiplied")


# files with code in them


class Payload:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.slow
def test_no_pickle_is_ever_run(tmp_path, cohort, cache_dir):
    """Every place that takes a file which could hold code: network and lung weights, a checkpoint, a served model, a cache."""
    marker = tmp_path / "it ran"
    bad = tmp_path / "bad.pth"
    bad.write_bytes(pickle.dumps(Payload(marker)))
    torch.save(Payload(marker), tmp_path / "zip.pth")
    for name in ("bad.pth", "zip.pth"):
        for suffix in (".pth", ".safetensors"):
            path = (tmp_path / f"copy{suffix}").with_stem(f"copy-{name.split('.')[0]}")
            shutil.copy(tmp_path / name, path)
            for key in ("model.weights", "lungs.weights"):
                sets = [*SETS, f"{key}={path}", "model.arch=resnet18" if key == "model.weights" else "lungs.crop_size=32"]
                with pytest.raises(DarkCovidError):
                    run(load_recipe(RECIPES / "base.yaml", sets), RunPaths(tmp_path / "runs", cache_dir), null_progress())
    recipe = load_recipe(RECIPES / "base.yaml", [*SETS, "training.epochs=1"])
    directory = tmp_path / "served"
    run(recipe, RunPaths(directory, cache_dir), null_progress())
    (fitted,) = directory.iterdir()
    shutil.copy(bad, fitted / "base" / "weights.safetensors")
    done, errors = call("predict", fitted, cohort.files[0])
    assert done.returncode == 3 and len(errors) == 1
    (fitted / "base" / "metrics.json").unlink()
    shutil.copy(bad, fitted / "base" / "checkpoint.safetensors")
    (fitted / "status.json").write_text("{}")
    with pytest.raises(DataError, match="not a usable checkpoint"):
        run(recipe, RunPaths(directory, cache_dir), null_progress(), resume=True)
    np.save(tmp_path / "object.npy", np.array([Payload(marker)], dtype=object), allow_pickle=True)
    stored = cached_array(tmp_path / "store", "k", (1,), lambda array: array.fill(1))
    shutil.copy(tmp_path / "object.npy", tmp_path / "store" / "k.npy")
    assert cached_array(tmp_path / "store", "k", (1,), lambda array: array.fill(2)).array[0] == 2 and stored.fresh
    assert not marker.exists()
    pickle.loads(bad.read_bytes())  # noqa: S301 (the payload does what it says, or this test would prove nothing)
    assert marker.exists()


def test_a_recipe_cannot_make_objects(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("name: !!python/object/apply:os.system ['touch gone']\n")
    with pytest.raises(DarkCovidError, match="not a valid recipe"):
        load_recipe(path)


def test_a_manifest_s_formula_stays_text(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("path,label,patient_id\nx.png,\"=cmd|' /C calc'!A0\",1\n")
    assert read_manifest(path).rows.label[0] == "=cmd|' /C calc'!A0"

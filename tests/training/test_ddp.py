"""Two real processes fit one network (gloo, on the CPU), as `accelerate launch` and `torchrun` start them."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from darkcovid.core.distributed import Distributed
from darkcovid.core.errors import UsageError
from darkcovid.data.loaders import array_loaders
from darkcovid.data.normalize import Normalize
from darkcovid.training.ddp import check_batch_divisible, check_one_gpu_per_process

from ..conftest import RECIPES
from ..experiment.test_runner import SETS

# no BatchNorm, no dropout, no augmentation: then two processes' averaged gradients are one process's, but for rounding
ALIKE = [*SETS, "model.arch=basic_cnn_1", "training.precision=fp32", "training.device=cpu", "audit=none", "training.epochs=3"]
ALIKE += ["data.image_size=180", "data.augment=none", "training.lr=3e-4"]  # so low that rounding stays rounding
ACCELERATE = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]


def start(launcher, folder, sets, *more, script=("-m", "darkcovid"), **options):
    words = ["run", str(RECIPES / "base.yaml"), "--runs-dir", str(folder), *more]
    words += [word for key in sets for word in ("--set", key)]
    port = ["--standalone"] if launcher is TORCHRUN else ["--main_process_port", "0"]
    command = [*launcher, *port, *script, *words] if launcher else [sys.executable, *script, *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **options)


def finished(process):
    out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error[-3000:]
    return out


def history(folder):
    (run,) = Path(folder).iterdir()
    return pd.read_csv(run / "base" / "history.csv"), run


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(tmp_path):
    finished(start(None, tmp_path / "one", ALIKE))
    out = finished(start(ACCELERATE, tmp_path / "two", ALIKE, "--json"))
    alone, _ = history(tmp_path / "one")
    together, run = history(tmp_path / "two")
    for column in ("train_loss", "valid_loss", "accuracy"):
        np.testing.assert_allclose(together[column], alone[column], atol=2e-3)
    assert together.train_images.tolist() == alone.train_images.tolist()
    assert json.loads(out)["run_dir"] == str(run)  # one folder, one answer
    assert len(pd.read_csv(run / "base" / "predictions.csv")) == len(pd.read_csv(run / "base" / "split.csv"))


@pytest.mark.slow
def test_killed_processes_go_on_with_the_numbers_they_would_have_had(tmp_path):
    sets = [*SETS, "training.precision=fp32", "training.device=cpu", "audit=none", "training.epochs=4"]
    finished(start(TORCHRUN, tmp_path / "whole", sets))
    process = start(TORCHRUN, tmp_path / "killed", sets)
    for line in process.stderr:
        if "epoch 2/4" in line:
            break
    for pid in [process.pid, *left_over(tmp_path / "killed")]:  # torchrun's workers are in sessions of their own
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.communicate(timeout=60)
    finished(start(TORCHRUN, tmp_path / "killed", sets, "--resume"))
    whole, killed = history(tmp_path / "whole")[0], history(tmp_path / "killed")[0]
    timeless = ["epoch", "train_loss", "valid_loss", "accuracy", "lr", "train_images"]
    pd.testing.assert_frame_equal(killed[timeless], whole[timeless])


def left_over(folder):
    import psutil

    return [one.pid for one in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(one.info["cmdline"] or ())]


@pytest.mark.slow
def test_processes_that_were_given_different_things_are_told_so(tmp_path):
    script = tmp_path / "different.py"
    script.write_text(
        "import os, sys\n"
        "sys.argv += ['--set', 'training.lr=0.00' + str(1 + int(os.environ['RANK']))]\n"
        "from darkcovid.cli import main\n"
        "main()\n"
    )
    process = start(TORCHRUN, tmp_path / "runs", ALIKE, script=(str(script),))
    error = process.communicate(timeout=120)[1]
    assert process.returncode != 0
    assert "process 1 has another recipe than process 0" in error
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("size", [2, 3, 4])
def test_every_image_is_seen_once_an_epoch(cohort, pixels, cpu, size):
    seen = []
    for rank in range(size):
        compute = replace(cpu, distributed=Distributed(rank, size))
        dls = array_loaders(cohort, pixels, normalizer=Normalize(), augmentation=None, batch_size=12, compute=compute)
        dls.train.rng.seed(5)
        dls.train.randomize()  # as every epoch begins
        rows = np.asarray(dls.train.dataset.items)
        batches = [rows[list(chosen)[rank::size]] for chosen in dls.train.chunkify(dls.train.get_idxs())]
        dls.train.rng.seed(5)
        given = [labels for _, labels in dls.train]
        assert [len(labels) for labels in given] == [len(batch) for batch in batches]
        assert {len(batch) for batch in batches} == {12 // size}
        for labels, batch in zip(given, batches, strict=True):
            assert labels.tolist() == cohort.labels[batch].tolist()
        seen += np.concatenate(batches).tolist()
        valid = sum(len(labels) for _, labels in dls.valid)
        assert abs(valid - cohort.valid.sum() / size) <= len(dls.valid)
    assert len(seen) == len(set(seen)) == cohort.train.sum() // 12 * 12


def test_uneven_batches_and_shared_gpus_are_refused(monkeypatch):
    with pytest.raises(UsageError, match="32 cannot be dealt out evenly to 3 processes"):
        check_batch_divisible(32, Distributed(0, 3))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    check_one_gpu_per_process(torch.device("cpu"))
    with pytest.raises(UsageError, match=r"training\.device: 2 processes for 1 GPU; start 1 here, or train on CPUs"):
        check_one_gpu_per_process(torch.device("cuda"))


def test_one_process_alone_is_left_as_it_was():
    alone = Distributed()
    tensor = torch.ones(3)
    assert (
        alone.is_main
        and alone.all_gather("a") == ["a"]
        and alone.broadcast_object("a") == "a"
        and alone.all_reduce(tensor) is tensor
    )
    alone.broadcast([tensor])
    alone.barrier()


@pytest.mark.parametrize("turn", range(5))
def test_gradients_of_several_types_are_sent_in_one_order(monkeypatch, turn):
    """Processes that sum different tensors in one call get nonsense or wait for ever."""
    types = [torch.float32, torch.bfloat16, torch.float64, torch.float16, torch.complex64]
    parameters = [torch.nn.Parameter(torch.zeros(2, dtype=kind)) for kind in [*types[turn:], *types[:turn]] * 2]
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter) * 3
    sent = []
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda flat: sent.append((flat.dtype, len(flat))))
    Distributed(0, 3).average_gradients(parameters)
    assert sent == [(kind, 4) for kind in sorted(types, key=str)]
    assert all((parameter.grad == 1).all() for parameter in parameters)

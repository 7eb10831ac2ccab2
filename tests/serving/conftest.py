"""A run of three small arms on phantoms, fitted once for every test of its use; and servers on real sockets."""

import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest
import requests
import uvicorn

from darkcovid.data.cohort import load_classification_cohort
from darkcovid.experiment.runner import RunPaths, run
from darkcovid.recipe import load_recipe
from darkcovid.report.progress import Progress
from darkcovid.serving.socket_server import HeaderTimeoutProtocol

from ..conftest import RECIPES

SETS = ["data.manifest=phantom", "data.dataset=null", "data.phantom.patients=24", "data.phantom.image_size=96"]
SETS += ["data.image_size=96", "training.epochs=2", "training.batch_size=8", "data.split.valid=0.25", "audit=none"]
SETS += ["lungs.crop_size=64", "training.precision=fp32", "training.device=cpu"]


@pytest.fixture(scope="session")
def fitted_run(tmp_path_factory, cache_dir):
    recipe = load_recipe(RECIPES / "segmented.yaml", SETS)
    run(recipe, RunPaths(tmp_path_factory.mktemp("runs"), cache_dir), Progress())
    (folder,) = (tmp_path_factory.getbasetemp() / "runs0").iterdir()
    return folder


@pytest.fixture(scope="session")
def fitted_cohort(fitted_run, cache_dir):
    """The images that `fitted_run` was fitted to."""
    return load_classification_cohort(load_recipe(RECIPES / "segmented.yaml", SETS).data, cache_dir)


@pytest.fixture(scope="session")
def phantom_files(fitted_run, fitted_cohort):
    """The validation set's image files, by the name that predictions.csv gives them."""
    import pandas as pd

    table = pd.read_csv(fitted_run / "small" / "predictions.csv")
    files = dict(zip(fitted_cohort.rows.path, fitted_cohort.files, strict=True))
    return {name: files[name] for name in table[table.side == "valid"].image}


@contextmanager
def serving(app):
    """An application on a real socket, in a thread of its own; yields its address."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=HeaderTimeoutProtocol, ws="none", log_level="critical", timeout_graceful_shutdown=10)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: server.run(sockets=[listening]), daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    wait_until_it_answers(address)
    try:
        yield address
    finally:
        server.should_exit = True
        thread.join(15)
        assert not thread.is_alive()


def wait_until_it_answers(address, seconds=60):
    until = time.monotonic() + seconds
    while True:
        try:
            return requests.get(f"{address}/healthz", timeout=5).raise_for_status()
        except requests.ConnectionError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


@contextmanager
def served(*words, **environment):
    """`darkcovid serve` as a person starts it, on a free port; yields the process and its address."""
    import os

    command = [sys.executable, "-m", "darkcovid", "serve", *map(str, words), "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | environment)
    try:
        for line in process.stderr:
            if line.startswith("http://"):
                yield process, line.split("/ is ready")[0]
                break
        else:
            raise AssertionError("the server did not start")
    finally:
        process.terminate()
        process.wait(30)
        process.stderr.close()


@pytest.fixture(scope="session")
def server(fitted_run):
    with served(fitted_run / "segmented", f"whole={fitted_run / 'unsegmented'}") as (_, address):
        yield address

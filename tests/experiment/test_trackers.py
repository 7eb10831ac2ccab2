"""What is read back from TensorBoard's files and from MLflow's database is what the run wrote."""

import json
import time
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from darkcovid.core.errors import DarkCovidError, UsageError
from darkcovid.data.cohort import load_classification_cohort
from darkcovid.data.decode import load_grayscale
from darkcovid.experiment.runner import run
from darkcovid.experiment.trackers.tracker import LiveTracking, final_results, make_tracker, track_finished
from darkcovid.inference.predictor import load_pipeline
from darkcovid.metrics.calibration import apply_temperature
from darkcovid.recipe import load_recipe

from ..commands import error_of
from ..conftest import RECIPES
from .test_run_list import make_run
from .test_runner import Watched

SETS = ["data.manifest=phantom", "data.dataset=null", "data.phantom.patients=24", "data.phantom.image_size=64", "audit=data"]
SETS += ["data.image_size=64", "training.epochs=2", "training.batch_size=8", "data.split.valid=0.3", "training.precision=fp32"]
pytestmark = [pytest.mark.usefixtures("quick_plots"), pytest.mark.filterwarnings("ignore")]  # of MLflow and protobuf


def with_epochs(folder):
    """A finished run's folder with two epochs of one arm."""
    rows = [{"event": "epoch", "arm": "whole", "epoch": epoch, "valid_loss": 1 / epoch, "time": "x"} for epoch in (1, 2)]
    (folder / "events.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [{"event": "running"}, *rows]))
    return folder


def mlflow_runs(uri, experiment):
    client = MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return client, {run.info.run_name: run for run in runs}


def test_a_finished_run_in_mlflow(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder, uri = with_epochs(make_run(tmp_path / "runs", accuracy=0.875)), f"sqlite:///{tmp_path / 'books.db'}"
    track_finished(folder, make_tracker("mlflow", uri))
    client, runs = mlflow_runs(uri, "tiny")
    whole, fit = runs[folder.name], runs[f"{folder.name}/whole"]
    assert (whole.info.status, fit.info.status) == ("FINISHED", "FINISHED")
    assert whole.data.params["training.epochs"] == "100" and whole.data.params["data.classes"].startswith('["covid"')
    assert whole.data.metrics["whole/accuracy"] == 0.875
    history = client.get_metric_history(fit.info.run_id, "valid_loss")
    assert [(metric.step, metric.value) for metric in history] == [(1, 1.0), (2, 0.5)]
    with pytest.raises(UsageError, match="already, as run"):
        track_finished(folder, make_tracker("mlflow", uri))
    with pytest.raises(UsageError, match="not a finished run"):
        track_finished(make_run(tmp_path / "runs", number=5, state="failed"), make_tracker("mlflow", uri))


def test_fits_of_before_an_interruption_are_finished_with_the_run(tmp_path, monkeypatch):
    """The process that resumes is told only of the fits that it makes."""
    monkeypatch.chdir(tmp_path)
    folder, uri = make_run(tmp_path / "runs"), f"sqlite:///{tmp_path / 'books.db'}"
    for failed, fit in ((True, "first"), (False, "second")):
        tracker = make_tracker("mlflow", uri)
        tracker.begin(folder, {"name": "tiny"})
        tracker.epoch(fit, 1, {"valid_loss": 0.5})
        tracker.close(failed)
        _, runs = mlflow_runs(uri, "tiny")
        assert {run.info.status for run in runs.values()} == {"FAILED" if failed else "FINISHED"}
    assert len(runs) == 3


def test_a_server_that_is_gone_is_said_in_one_line_without_its_password(tmp_path, monkeypatch, caplog):
    from darkcovid.experiment.trackers import mlflow

    uri = "http://ann:secret@127.0.0.1:9"
    folder = with_epochs(make_run(tmp_path / "runs"))

    def gone(*_, **__):
        raise ConnectionError(f"no answer\nof {uri}/api")

    monkeypatch.setattr(mlflow.MlflowClient, "get_experiment_by_name", gone)
    with pytest.raises(DarkCovidError) as caught:
        track_finished(folder, make_tracker("mlflow", uri))
    said = str(caught.value)
    assert "no answer of http://***@127.0.0.1:9/api; see that the tracker's server runs" in said and "\n" not in said
    LiveTracking(make_tracker("mlflow", uri), "mlflow").write_finished(folder)  # as `run --jobs` does: no error
    assert "the run goes on without it; afterwards: darkcovid track" in caplog.text and "secret" not in caplog.text + said
    with pytest.raises(DarkCovidError, match="correct --tracking-uri"):
        make_tracker("mlflow", "nonsense://ann:secret@host")


def test_what_is_sent_has_no_password(tmp_path):
    folder = with_epochs(make_run(tmp_path / "runs"))
    told = {"darkcovid": "0.1.0", "libraries": {}, "command": ["--tracking-uri", "http://ann:secret@host"]}
    (folder / "environment.json").write_text(json.dumps(told))  # of a run that wrote it down
    _, _, texts = final_results(folder, images=False)
    assert "http://***@host" in texts["environment.json"] and "secret" not in "".join(texts.values())


def wandb_records(folder):
    """What an offline run of Weights & Biases holds: protocol buffers in a log of blocks (LevelDB's format, after 7 bytes)."""
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    data, block, at, parts = file.read_bytes(), 32768, 7, b""
    while at + 7 <= len(data):
        left = block - at % block
        if left < 7:
            at += left
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(parts)
            yield record
            parts = b""


def test_a_finished_run_in_weights_and_biases_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    folder = with_epochs(make_run(tmp_path / "runs", accuracy=0.875))
    track_finished(folder, make_tracker("wandb", None))
    deadline = time.monotonic() + 30
    while not (records := list(wandb_records(folder))) and time.monotonic() < deadline:
        time.sleep(0.2)  # its writer is a process of its own
    (run,) = {record.run.display_name for record in records if record.HasField("run")}
    assert run == folder.name
    history = [
        {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        for record in records
        if record.HasField("history")
    ]
    assert [row["whole/valid_loss"] for row in history if "whole/valid_loss" in row] == [1.0, 0.5]
    summary = {item.key: item.value_json for record in records if record.HasField("summary") for item in record.summary.update}
    assert json.loads(summary["whole/accuracy"]) == 0.875
    (files,) = folder.glob("wandb/offline-run-*/files")
    assert (files / "recipe.yaml").read_text() and not (files / "requirements.txt").exists()
    assert not any(Path.home().name in str(record.environment) for record in records if record.HasField("environment"))


def test_a_recipe_names_its_tracker_without_being_another_recipe(tmp_path):
    plain, tracked = (load_recipe(RECIPES / "base.yaml", sets) for sets in ([], ["tracker=wandb"]))
    assert plain.digest() == tracked.digest() and tracked.tracker == "wandb"
    with pytest.raises(UsageError, match=r"arms\.one\.tracker"):
        load_recipe(RECIPES / "base.yaml", ["arms.one.tracker=mlflow"])


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_finished_run_in_tensorboard(tmp_path, elsewhere):
    folder = with_epochs(make_run(tmp_path / "runs", accuracy=0.875))
    track_finished(folder, make_tracker("tensorboard", str(tmp_path / "logs") if elsewhere else None))
    root = tmp_path / "logs" / folder.name if elsewhere else folder / "tensorboard"
    events = EventAccumulator(str(root / "whole")).Reload()
    assert [(scalar.step, scalar.value) for scalar in events.Scalars("valid_loss")] == [(1, 1.0), (2, 0.5)]
    assert events.Scalars("final/accuracy")[0].value == 0.875
    assert "recipe/text_summary" in EventAccumulator(str(root)).Reload().Tags()["tensors"]


@pytest.mark.slow
def test_a_run_is_tracked_live_and_no_radiograph_leaves_it(folders, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe, uri = load_recipe(RECIPES / "base.yaml", SETS), f"sqlite:///{tmp_path / 'books.db'}"
    comparison = run(recipe, folders, Watched(), watch=LiveTracking(make_tracker("mlflow", uri), "mlflow").watch)
    folder = folders.runs / comparison["run_dir"].split("/")[-1]
    client, runs = mlflow_runs(uri, "base")
    logged = client.get_metric_history(runs[f"{folder.name}/base"].info.run_id, "train_loss")
    history = pd.read_csv(folder / "base" / "history.csv")
    assert [metric.value for metric in logged] == pytest.approx(history.train_loss.tolist())
    assert runs[folder.name].data.metrics["base/accuracy"] == comparison["arms"]["base"]["accuracy"]
    page = client.download_artifacts(runs[folder.name].info.run_id, "report.html", str(tmp_path))
    page = Path(page).read_text()
    assert "Can this result be believed?" in page and "<h2>Pictures</h2>" not in page
    assert runs[folder.name].data.tags["mlflow.note.content"] == json.loads((folder / "summary.json").read_text())["verdict"]
    (model,) = client.search_logged_models([runs[folder.name].info.experiment_id])
    assert model.source_run_id == runs[f"{folder.name}/base"].info.run_id
    mlflow.set_tracking_uri(uri)
    loaded = mlflow.pyfunc.load_model(f"models:/{model.model_id}")
    pipeline = load_pipeline(folder, "base", "cpu")
    cohort = load_classification_cohort(recipe.data, folders.cache)
    files = {name: file for name, file, valid in zip(cohort.rows.path, cohort.files, cohort.valid, strict=True) if valid}
    pixels = pipeline.inputs([load_grayscale(file) for file in files.values()])[:, None].astype(np.float32) / 255
    answer = loaded.predict({"pixels": pixels})["probabilities"]
    own = pd.read_csv(folder / "base" / "predictions.csv").set_index("image").loc[list(files)]
    own = own[[f"probability_{name}" for name in cohort.classes]].to_numpy()
    np.testing.assert_allclose(answer, apply_temperature(own, pipeline.model.temperature), atol=1e-4)
    assert loaded.metadata.metadata["classes"] == list(cohort.classes)
    assert loaded.metadata.signature.inputs.input_dict()["pixels"].shape == (-1, *pixels.shape[1:])
    assert loaded.input_example["pixels"].shape == (1, *pixels.shape[1:])
    plots = [file.path for file in client.list_artifacts(runs[folder.name].info.run_id, "plots/base")]
    assert "plots/base/loss.png" in plots and not [path for path in plots if "gradcam" in path or "lungs" in path]


@pytest.mark.slow
def test_a_tracker_that_fails_does_not_end_the_run(folders, caplog):
    class Broken:
        def begin(self, run, params):
            raise OSError("the server is gone")

    comparison = run(load_recipe(RECIPES / "base.yaml", SETS), folders, Watched(), watch=LiveTracking(Broken(), "mlflow").watch)
    assert comparison["arms"]["base"]["epochs"] == 2
    assert "the server is gone; the run goes on without it; afterwards: darkcovid track" in caplog.text


def test_the_command(darkcovid, tmp_path):
    folder = with_epochs(make_run(tmp_path / "runs"))
    done = json.loads(darkcovid("track", folder, "--to", "tensorboard", "--json").stdout)
    assert done == {"run_dir": str(folder), "to": "tensorboard"}
    assert "writes into a folder" in error_of(
        darkcovid("track", folder, "--to", "tensorboard", "--tracking-uri", "http://127.0.0.1", code=2)
    )
    words = ["run", RECIPES / "base.yaml", "--tracker", "mlflow", "--run-dir", tmp_path / "shared"]
    assert "a part of a run is not tracked" in error_of(darkcovid(*words, code=2))

"""Anybody's model, asked in a process of its own: the same answers in any form, a shortcut found, a hostile file one line."""

import http.server
import json
import os
import resource
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from sklearn.linear_model import LogisticRegression

from darkcovid.core.device import get_device
from darkcovid.core.errors import DarkCovidError, DataError, UsageError
from darkcovid.data.manifest import Manifest, read_manifest
from darkcovid.data.phantom import phantom_manifest
from darkcovid.data.predictions.join import JoinRule
from darkcovid.data.predictions.options import PredictionOptions
from darkcovid.data.predictions.table import read_text_table
from darkcovid.data.predictions.training_list import read_training_list
from darkcovid.experiment.audit_model import audit_model
from darkcovid.experiment.audit_model_run import AuditedModel, audit_and_write
from darkcovid.experiment.audit_predictions import audit_predictions
from darkcovid.inference.foreign.client import HttpModel, ProcessModel, kind_of_model
from darkcovid.inference.foreign.inputs import DeclaredInput, InputPolicy, resolve_input
from darkcovid.metrics.classification import probability_columns
from darkcovid.recipe import Phantom

SIZE = 64
NAMES = {"no_finding": "rest", "pneumonia": "rest"}
GRAY = DeclaredInput(size=(SIZE, SIZE), channels=1, layout="nchw", normalize="0..1")


def weights_of(corner: bool, rows=None, pixels=None) -> tuple[np.ndarray, np.ndarray]:
    """(pixels, 2) weights and (2,) bias of covid and the rest, of the marker's corner alone or of where lungs are."""
    if corner:
        kernel = np.zeros((SIZE, SIZE))
        kernel[2:5, 2:5] = 3.0
        return np.stack([kernel.ravel(), -kernel.ravel()], 1).astype(np.float32), np.array([-19, 19], np.float32)
    middle = np.zeros((SIZE, SIZE), bool)
    middle[14:50, 10:54] = True
    model = LogisticRegression(C=0.003, max_iter=500).fit(pixels[:, middle], rows.label == "covid")
    kernel = np.zeros((SIZE, SIZE))
    kernel[middle] = model.coef_[0] / 2
    bias = model.intercept_[0] / 2
    return np.stack([kernel.ravel(), -kernel.ravel()], 1).astype(np.float32), np.array([bias, -bias], np.float32)


def write_onnx(path, kernel, bias, outputs=("probabilities",)):
    nodes = [
        helper.make_node("Flatten", ["pixels"], ["flat"]),
        helper.make_node("Gemm", ["flat", "kernel", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    shapes = {"probabilities": ["n", 2], "logits": ["n", 2]}
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 1, SIZE, SIZE])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[name]) for name in outputs],
        [numpy_helper.from_array(kernel, "kernel"), numpy_helper.from_array(bias, "bias")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def write_torchscript(path, kernel, bias):
    linear = torch.nn.Linear(SIZE * SIZE, 2)
    linear.load_state_dict({"weight": torch.from_numpy(kernel.T.copy()), "bias": torch.from_numpy(bias)})
    network = torch.nn.Sequential(torch.nn.Flatten(), linear, torch.nn.Softmax(1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated by torch, and what many people have
        torch.jit.save(torch.jit.trace(network, torch.zeros(2, 1, SIZE, SIZE)), path)
    return path


@pytest.fixture(scope="module")
def cohorts(cache_dir):
    """Of each cohort its manifest, the list of its training images, and the rows and pixels of both halves."""
    found = {}
    for name, shortcut in (("clean", 0.0), ("planted", 1.0)):
        manifest = phantom_manifest(Phantom(patients=90, image_size=SIZE, signal=1.0, shortcut=shortcut), cache_dir)
        train = (manifest.rows.patient_id.str.rpartition("-")[2].astype(int) % 5 > 1).to_numpy()
        rows = manifest.rows
        pixels = np.stack([np.asarray(Image.open(manifest.roots[0] / path)) for path in rows.path]).astype(np.float32) / 255
        found[name] = (manifest, rows, pixels, train)
    return found


@pytest.fixture
def audited(cohorts, tmp_path, cache_dir, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(cohort, source, declared=GRAY, controls=False, **options):
        manifest, rows, _, train = cohorts[cohort]
        rows[train][["path", "patient_id"]].to_csv(tmp_path / "train.csv", index=False)
        listed = read_training_list(tmp_path / "train.csv", manifest, JoinRule())
        given = PredictionOptions(class_names={"0": "covid", "1": "rest", **NAMES}, **options)
        asked = AuditedModel(str(source), declared, seconds=60)
        return audit_and_write(asked, manifest, given, listed, "cpu", cache_dir, tmp_path / "runs", controls)

    return run


def answers(kernel, bias, pixels):
    logits = pixels.reshape(len(pixels), -1) @ kernel + bias
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


@pytest.fixture
def endpoint(request):
    """An endpoint in TensorFlow Serving's form of a function of (n, h, w, 1) arrays."""
    servers = []

    def serve(function):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, reply = function(np.array(body["instances"], np.float32))
                content = json.dumps(reply).encode()
                self.send_response(status)
                self.end_headers()
                self.wfile.write(content)

            def do_GET(self):
                self.send_error(404)

            def log_message(self, *words):
                """Nothing."""

        server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/v1/models/linear:predict"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.slow
def test_every_form_of_a_model_gives_the_same_answers(cohorts, tmp_path, endpoint, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, rows, pixels, train = cohorts["clean"]
    kernel, bias = weights_of(False, rows[train], pixels[train])
    gray = np.rint(pixels[~train][:20] * 255).astype(np.uint8)
    expected = answers(kernel, bias, pixels[~train][:20])
    np.savez(tmp_path / "weights.npz", kernel=kernel, bias=bias)
    (tmp_path / "mine.py").write_text(
        "import numpy as np\nloaded = np.load('weights.npz')\nprint('hello')\n"
        "def ask(batch):\n    print('asked')\n    scores = batch.reshape(len(batch), -1) @ loaded['kernel'] + loaded['bias']\n"
        "    return np.exp(scores) / np.exp(scores).sum(1, keepdims=True)\n"
    )
    shaped, said = DeclaredInput(normalize="0..1"), DeclaredInput((SIZE, SIZE), 1, None, "0..1")
    forms = {
        "onnx": (write_onnx(tmp_path / "linear.onnx", kernel, bias), shaped),
        "torchscript": (write_torchscript(tmp_path / "linear.pt", kernel, bias), said),
        "callable": ("mine:ask", GRAY),
        "http": (endpoint(lambda images: (200, {"predictions": answers(kernel, bias, images).tolist()})), said),
    }
    for kind, (source, declared) in forms.items():
        assert kind_of_model(str(source)) == kind
        opened = HttpModel(source) if kind == "http" else ProcessModel(kind, str(source), seconds=120)
        with opened as model:
            policy = resolve_input(kind, str(source), model.shape, declared, {})
            assert (policy.size, policy.channels) == ((SIZE, SIZE), 1)
            np.testing.assert_allclose(model.predict(policy.batch(gray)), expected, atol=1e-5, err_msg=kind)


@pytest.mark.slow
def test_a_shortcut_of_a_model_is_found_and_a_clean_one_passes(cohorts, audited, tmp_path):
    _, rows, pixels, train = cohorts["clean"]
    clean = audited(
        "clean",
        write_onnx(tmp_path / "clean.onnx", *weights_of(False, rows[train], pixels[train])),
        DeclaredInput(normalize="0..1"),
        True,
    )
    status = {row.number: row.status for row in clean.checks}
    assert "fail" not in status.values() and status[19] == "pass" and status[21] == "pass"

    planted = audited("planted", write_torchscript(tmp_path / "planted.pt", *weights_of(True)), controls=True)
    status = {row.number: row.status for row in planted.checks}
    assert status[19] == status[21] == status[6] == "fail" and status[20] == "stated" and status[16] == "not run"
    assert status[25] == "warn"  # the map is in the corner
    (arm,) = planted.audit.evidence.arms.values()
    assert arm.metrics.valid.accuracy > 0.95 and arm.metrics.attention["covid"].inside_lungs < 0.1
    plots = planted.path / "planted" / "plots"
    assert (plots / "gradients.png").is_file() and (plots / "deletion.png").is_file()
    assert (clean.path / "clean" / "plots" / "occlusion.png").is_file() and (
        clean.path / "clean" / "occlusion_maps.csv"
    ).is_file()
    page = (planted.path / "report.html").read_text()
    assert (
        "Lungs erased" in planted.verdict[-2] + planted.verdict[-1] + planted.verdict[3]
        and "images: integrated gradients" in page
    )
    shown = pd.read_csv(planted.path / "planted" / "shortcut_predictions.csv")
    assert set(shown.shown) == {"plain", "lungs_erased", "lungs_only", "border_only", "thumbnail"}


class Bands:
    """Three classes by which of three bands of an image is the brightest for its place, most often the second."""

    source, shape = "bands", [1, SIZE, SIZE]

    def __init__(self, form, turned=False):
        self.form, self.turned = form, turned

    def predict(self, batch):
        logits = 20 * (np.stack([band.mean((1, 2, 3)) for band in np.array_split(batch, 3, 2)], 1) - [0.49, 0.415, 0.57])
        if self.turned:
            logits, self.turned = logits[:, ::-1], False
        powers = np.exp(logits)
        return logits if self.form == "logits" else powers / powers.sum(1, keepdims=True) * (0.9 if self.form == "largest" else 1)

    def __enter__(self):
        return self

    def __exit__(self, *words):
        """Nothing."""


THREE = ("covid", "no_finding", "pneumonia")


@pytest.fixture(scope="module")
def without_no_finding(cache_dir):
    """A cohort of covid and pneumonia."""
    manifest = phantom_manifest(Phantom(patients=12, image_size=SIZE), cache_dir)
    return Manifest(manifest.rows[manifest.rows.label != "no_finding"].reset_index(drop=True), manifest.roots)


def ask(model, manifest, classes, cache_dir, **options):
    policy = InputPolicy((SIZE, SIZE), 1, "nchw", "0..1", classes=classes)
    given = PredictionOptions(**options)
    return audit_model(model, "bands", policy, manifest, given, get_device("cpu", "fp32"), cache_dir)


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("probabilities", "by_file"),
        ("largest", "by_number"),
        ("logits", "other_words"),
        ("per-finding", "other_words"),
    ],
)
def test_views_have_the_classes_of_the_audit(without_no_finding, cache_dir, form, said):
    """Where the manifest lacks the second of three classes, it stays the second, and its answers are wrong."""
    manifest, classes = without_no_finding, {"by_file": THREE, "other_words": ("COVID-19", "Normal", "Pneumonia")}.get(said, ())
    numbered = {"0": "covid", "1": "no_finding", "2": "pneumonia"} if said == "by_number" else {}
    asked = form if form in ("largest", "per-finding") else "auto"
    found = ask(Bands(form), manifest, classes, cache_dir, class_names=numbered, scores=asked)
    assert set(found.views) == set(found.audit.predictions)
    pixels = np.stack([np.asarray(Image.open(manifest.roots[0] / path)) for path in manifest.rows.path])
    scores = Bands(form).predict(pixels[:, None].astype(np.float32) / 255)
    for arm, table in found.audit.predictions.items():
        names = found.audit.evidence.arms[arm].summary.classes
        columns = probability_columns(names)
        plain = found.views[arm].query("shown == 'plain'").set_index("image")[columns]
        assert len(plain) > 3
        np.testing.assert_allclose(plain, table.set_index("image")[columns].loc[plain.index], atol=1e-6)
        if form != "per-finding":
            assert [names[0], names[2]] == ["covid", "pneumonia"]
            best = pd.Series(scores.argmax(1), manifest.rows.path).loc[table.image]
            assert (table.predicted == np.array(names)[best]).all() and (best == 1).any()
            right = (np.array(THREE)[best] == table.label).mean()
            assert found.audit.evidence.arms[arm].metrics.valid.accuracy == pytest.approx(right)


def test_a_model_that_answers_otherwise_when_asked_again_is_refused(without_no_finding, cache_dir):
    with pytest.raises(DataError, match=r"bands: asked about the same images again, .* differ by up to"):
        ask(Bands("probabilities", turned=True), without_no_finding, THREE, cache_dir)


HOSTILE = {
    "exits": "import os\ndef ask(batch): os._exit(0)",
    "raises": "def ask(batch): raise RuntimeError('one\\ntwo')",
    "hangs": "import time\ndef ask(batch): time.sleep(60)",
    "memory": "import numpy as np\ndef ask(batch): return np.ones((len(batch), 2)) * np.zeros(10**11).sum()",
    "shape": "def ask(batch): return batch.ravel()[:3]",
    "nan": "import numpy as np\ndef ask(batch): return np.full((len(batch), 2), np.nan)",
    "text": "def ask(batch): return ['a'] * len(batch)",
    "import": "import no_such_module",
    "closes": "import os\nos.closerange(3, 64)\ndef ask(batch): return batch[:, 0, 0, :2]",
}


HANGS = {
    "loading": "import time\ntime.sleep(60)",
    "reading": "import os, signal, threading\nthreading.Timer(0.3, os.kill, (os.getpid(), signal.SIGSTOP)).start()",
}


@pytest.mark.parametrize("name", HANGS)
def test_a_model_that_hangs_is_left_after_its_seconds(tmp_path, monkeypatch, name):
    """As it loads, or before it takes a batch that no pipe holds at once."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"m_{name}.py").write_text(f"def ask(batch): return batch[:, 0, 0, :2]\n{HANGS[name]}")
    began = time.monotonic()
    with pytest.raises(DataError, match="no answer within 4 s"), ProcessModel("callable", f"m_{name}:ask", seconds=4) as model:
        time.sleep(1 if name == "reading" else 0)
        model.predict(np.zeros((32, 3, 224, 224), np.float32))
    assert time.monotonic() - began < 20


def test_a_model_may_compute_for_longer_than_one_answer_may_take(tmp_path, monkeypatch):
    """The seconds are those of one answer on the clock: threads and answers do not add up."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "limits.py").write_text(
        "import resource, numpy as np\n"
        "def ask(batch): return np.full((len(batch), 2), float(resource.getrlimit(resource.RLIMIT_CPU)[0]))"
    )
    mine = float(resource.getrlimit(resource.RLIMIT_CPU)[0])
    with ProcessModel("callable", "limits:ask", seconds=60) as model:
        assert model.predict(np.zeros((1, 1, 2, 2), np.float32)).tolist() == [[mine, mine]]


@pytest.mark.parametrize("name", HOSTILE)
def test_code_that_fails_ends_in_one_line(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"m_{name}.py").write_text(HOSTILE[name])
    with pytest.raises(DarkCovidError) as refused, ProcessModel("callable", f"m_{name}:ask", memory_gb=4, seconds=3) as model:
        model.predict(np.zeros((2, 1, 8, 8), np.float32))
    assert "\n" not in str(refused.value) and str(refused.value).startswith(f"m_{name}:ask: ")


def test_files_that_are_no_models_end_in_one_line(tmp_path):
    good = write_onnx(tmp_path / "good.onnx", *weights_of(True)).read_bytes()
    huge = helper.make_graph(
        [helper.make_node("Expand", ["pixels", "shape"], ["out"])], "huge",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 1, 1, 1])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array([1, 1, 10**6, 10**6]), "shape")],
    )  # fmt: skip
    outside = helper.make_tensor("kernel", TensorProto.FLOAT, [4], np.zeros(4, np.float32))
    outside.ClearField("float_data")
    outside.data_location = TensorProto.EXTERNAL
    outside.external_data.add(key="location", value="/etc/passwd")
    reads = helper.make_graph(
        [helper.make_node("Add", ["pixels", "kernel"], ["out"])], "reads",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 4])], [outside],
    )  # fmt: skip
    files = {
        "empty.onnx": b"",
        "noise.onnx": np.random.default_rng(0).bytes(4096),
        "cut.onnx": good[: len(good) // 2],
        "outside.onnx": helper.make_model(reads, ir_version=9).SerializeToString(),
        "noise.pt": np.random.default_rng(0).bytes(4096),
        "noise.keras": np.random.default_rng(0).bytes(4096),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    torch.save({"a": torch.zeros(2)}, tmp_path / "pickle.pt")
    for name in [*files, "pickle.pt"]:
        with pytest.raises(DarkCovidError) as refused:
            ProcessModel(kind_of_model(str(tmp_path / name)), str(tmp_path / name), seconds=60)
        assert "\n" not in str(refused.value) and name in str(refused.value)
        assert refused.value.exit_code in (1, 3)
    onnx.save(helper.make_model(huge, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), tmp_path / "huge.onnx")
    with (
        pytest.raises(DataError, match=r"huge.onnx: the model cannot be used"),
        ProcessModel("onnx", str(tmp_path / "huge.onnx"), memory_gb=4, seconds=60) as model,
    ):
        model.predict(np.zeros((1, 1, 1, 1), np.float32))


def test_an_endpoint_that_fails_ends_in_one_line(endpoint):
    batch = np.zeros((2, 8, 8, 1), np.float32)
    for reply, message in (
        ((500, {"error": "no\nGPU"}), "answered 500 (no GPU)"),
        ((200, {"outputs": []}), "answered 200"),
        ((200, {"predictions": [[1, 2], [3]]}), "no numbers of one length"),
        ((200, {"predictions": [["a"], ["b"]]}), "no numbers of one length"),
        ((200, {"predictions": [[0.5, 0.5]]}), "answered an array of 1x2 to 2 images"),
        ((200, [1]), "answered 200"),
    ):
        with pytest.raises(DataError) as refused, HttpModel(endpoint(lambda images, reply=reply: reply)) as model:
            model.predict(batch)
        assert message in str(refused.value) and "\n" not in str(refused.value)
    with pytest.raises(DataError, match="no answer"):
        HttpModel("http://127.0.0.1:9/v1/models/x", 2).predict(batch)


def test_what_a_model_does_not_say_of_its_input_is_asked_for():
    none = DeclaredInput()
    with pytest.raises(UsageError, match=r"give --size and --channels 1 or 3 and --normalize"):
        resolve_input("torchscript", "m.pt", [], none, {})
    with pytest.raises(UsageError, match=r"give --layout nchw or nhwc and --size and --channels"):
        resolve_input("callable", "m:f", [], none, {})
    policy = resolve_input("onnx", "m.onnx", [None, 224, 3], DeclaredInput((256, 224), normalize="imagenet"), {})
    assert (policy.size, policy.channels, policy.layout) == ((256, 224), 3, "nhwc")
    with pytest.raises(UsageError, match=r"--size: m.onnx takes 224x224, not 256x256"):
        resolve_input("onnx", "m.onnx", [3, 224, 224], DeclaredInput((256, 256), normalize="0..1"), {})
    with pytest.raises(UsageError, match="--normalize 0-1: choose one of"):
        resolve_input("onnx", "m.onnx", [3, 224, 224], DeclaredInput(normalize="0-1"), {})
    for source in ("model.h5", "model.pkl", "absent.onnx", "model", "os.system"):
        with pytest.raises(UsageError):
            kind_of_model(source)


@pytest.mark.parametrize(
    ("normalize", "expected"),
    [("0..1", [0, 1]), ("0..255", [0, 255]), ("-1..1", [-1, 1]), ("0.5,0.25", [-2, 2]), ("per-image", [-1, 1])],
)
def test_pixels_are_normalized_as_declared(normalize, expected):
    pixels = np.array([[[0, 255]]], np.uint8)
    batch = InputPolicy((1, 2), 3, "nhwc", normalize).batch(pixels)
    assert batch.shape == (1, 1, 2, 3) and batch.dtype == np.float32
    np.testing.assert_allclose(batch[0, 0], np.repeat(np.array(expected)[:, None], 3, 1), atol=1e-5)
    if normalize == "0..1":
        imagenet = InputPolicy((1, 2), 3, "nchw", "imagenet").batch(pixels)
        np.testing.assert_allclose(imagenet[0, :, 0, 1], (1 - np.array([0.485, 0.456, 0.406])) / [0.229, 0.224, 0.225], rtol=1e-5)


KERAS = """
import os
os.environ["KERAS_BACKEND"] = "torch"
import keras, numpy as np, pandas as pd
keras.utils.set_random_seed(0)
loaded = np.load("images.npz", allow_pickle=False)
pixels, labels, train, names = (loaded[name] for name in ("pixels", "labels", "train", "names"))
layers = [keras.layers.Conv2D(8, 5, 2, activation="relu"), keras.layers.Conv2D(16, 3, 2, activation="relu"),
          keras.layers.Conv2D(16, 3, 2, activation="relu"), keras.layers.Flatten(), keras.layers.Dense(2, "softmax")]
model = keras.Sequential([keras.Input((64, 64, 1)), *layers])
model.compile("adam", "sparse_categorical_crossentropy")
model.optimizer.learning_rate = 0.002
model.fit(pixels[train], labels[train], batch_size=8, epochs=8, verbose=0)
model.save("cnn.keras")
table = pd.DataFrame(model.predict(pixels[~train], verbose=0), columns=["prob_0", "prob_1"])
table.insert(0, "filename", names[~train])
table.assign(y_true=labels[~train]).to_csv("cnn.csv", index=False)
unsafe = keras.Sequential([keras.Input((64, 64, 1)), keras.layers.Flatten(), keras.layers.Lambda(lambda x: x[:, :2])])
unsafe.save("unsafe.keras")
"""


def check_maps_by_keras(path, batch):
    """Grad-CAM of a file is mean gradient times output, before bias and softmax, as done here by hand."""
    code = f"""
import numpy as np, keras
model = keras.saving.load_model({str(path)!r}, compile=False)
import torch
batch = np.load("batch.npy")
last = max(place for place, layer in enumerate(model.layers) if isinstance(layer, keras.layers.Conv2D))
hidden = torch.from_numpy(batch)
for place, layer in enumerate(model.layers):
    if place == last:
        layer.activation = keras.activations.linear
    if isinstance(layer, keras.layers.Dense) and layer is model.layers[-1]:
        layer.activation = keras.activations.linear
    hidden = layer(hidden)
    if place == last:
        output = (hidden - layer.bias.value).detach().requires_grad_()
        hidden = torch.relu(output + layer.bias.value)
(gradient,) = torch.autograd.grad(hidden[:, 1].sum(), [output])
np.save("map.npy", torch.relu((gradient.mean((1, 2), keepdim=True) * output).sum(-1)).detach().numpy())
"""
    np.save(path.parent / "batch.npy", batch)
    environment = os.environ | {"KERAS_BACKEND": "torch"}
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=path.parent, env=environment)
    by_hand = torch.from_numpy(np.load(path.parent / "map.npy"))[:, None]
    expected = torch.nn.functional.interpolate(by_hand, batch.shape[1:3], mode="bilinear")[:, 0].numpy()
    with ProcessModel("keras", str(path), seconds=120) as model:
        found, method = model.explain(batch, np.zeros_like(batch[:1]), np.ones(3, int), np.ones(3, int), channels_first=False)
    assert method == "Grad-CAM"
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6 * max(1, expected.max()))


@pytest.mark.slow
def test_a_network_trained_by_keras_is_audited_by_its_file_and_by_its_predictions(cohorts, audited, darkcovid, tmp_path):
    manifest, rows, pixels, train = cohorts["planted"]
    names = rows.path.str.removeprefix("images/").to_numpy(str)
    labels = np.where(rows.label == "covid", 0, 1)
    np.savez(tmp_path / "images.npz", pixels=pixels[..., None], labels=labels, train=train, names=names)
    subprocess.run([sys.executable, "-c", KERAS], check=True, capture_output=True, cwd=tmp_path)
    run = audited("planted", "cnn.keras", DeclaredInput(normalize="0..1"))
    (of_file,) = (arm.metrics.valid for arm in run.audit.evidence.arms.values())
    words = ("--predictions", "cnn.csv", "--manifest", manifest.roots[0] / "manifest.csv", "--train", "train.csv", "--no-pixels")
    of_table = json.loads(darkcovid("audit", *words, "--classes", "no_finding=rest,pneumonia=rest", "--json").stdout)
    (arm,) = of_table["arms"].values()
    assert of_file.accuracy == arm["accuracy"] > 0.8
    assert of_file.per_class["covid"].roc_auc == pytest.approx(arm["per_class"]["covid"]["roc_auc"], abs=1e-6)
    assert of_table["status"] == "fail"
    check_maps_by_keras(tmp_path / "cnn.keras", pixels[:3, ..., None])
    with pytest.raises(DataError, match=r"unsafe.keras: the model cannot be used: .*safe"):
        ProcessModel("keras", str(tmp_path / "unsafe.keras"), seconds=120)


@pytest.mark.slow
def test_an_exported_network_has_the_figures_of_its_run(darkcovid, tmp_path, cache_dir):
    small = ["--phantom", *(f"--set=data.phantom.{key}" for key in ("patients=60", "image_size=64", "shortcut=1.0"))]
    small += [
        "--set=data.image_size=64",
        "--set=training.epochs=6",
        "--set=training.batch_size=8",
        "--set=training.device=cpu",
        "--set=training.precision=fp32",
    ]
    done = json.loads(darkcovid("run", "segmented", *small, "--arm", "unsegmented", "--json").stdout)
    theirs = done["arms"]["unsegmented"]
    run = tmp_path / done["run_dir"]
    exported = json.loads(darkcovid("export", run, "--json").stdout)
    manifest = phantom_manifest(Phantom(patients=60, image_size=64, shortcut=1.0), cache_dir).roots[0] / "manifest.csv"
    model = Path(exported["sidecar"].removesuffix(".json"))
    train = run / "unsegmented" / "split.csv"
    words = ("audit", "--model", model, "--manifest", manifest, "--train", train, "--no-controls", "--json")
    ours = json.loads(darkcovid(*words).stdout)
    (arm,) = ours["arms"].values()
    names = "accuracy balanced_accuracy macro kappa mcc brier log_loss ece per_class confusion_matrix intervals calibration"
    figures = [*numbers(theirs, arm, [*names.split(), "operating_points"])]
    assert len(figures) > 100
    for name, expected, found in figures:
        assert found == pytest.approx(expected, abs=1e-6), name
    predictions = run / "unsegmented" / "predictions.csv"
    found = audit_predictions({"own": read_text_table(predictions)}, read_manifest(manifest), PredictionOptions())
    (own,) = found.evidence.arms.values()
    assert own.metrics.valid.accuracy == theirs["accuracy"] and own.summary.images == theirs["images"]


def numbers(one, other, names):
    """The numbers of two nested mappings that have the same place."""
    for name in names if isinstance(one, dict) else range(len(one)):
        first, second = one[name], other[name]
        if isinstance(first, dict | list):
            yield from ((f"{name}.{place}", *pair) for place, *pair in numbers(first, second, list(first)))
        elif isinstance(first, int | float):
            yield str(name), first, second

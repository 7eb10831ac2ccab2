"""The service over real sockets: what it answers, what it refuses, and that it goes on after both."""

import base64
import contextlib
import email
import io
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest
import requests
from PIL import Image
from pydicom.uid import JPEG2000Lossless

from darkcovid.inference.predictor import Prediction
from darkcovid.serving.app import create_app
from darkcovid.serving.dicom_answers import asked_for_dicom
from darkcovid.serving.service import Limits

from ..commands import error_of
from ..data.test_dicom import dataset, written
from ..dicom_files import write_radiograph
from .conftest import served, serving

TIMEOUT = 60


@pytest.fixture(scope="module")
def radiographs(phantom_files):
    return [path.read_bytes() for path in list(phantom_files.values())[:4]]


def ask(server, model="segmented", verb="predict", **options):
    return requests.post(f"{server}/v1/models/{model}:{verb}", timeout=TIMEOUT, **options)


def b64(content):
    return {"b64": base64.b64encode(content).decode()}


def pixels_of(content):
    return np.asarray(Image.open(io.BytesIO(content)))


def test_the_reference_s_client_works_unchanged(server, radiographs):
    test_images = np.stack([np.repeat(pixels_of(one)[..., None], 3, 2) for one in radiographs]) / 255.0
    data = json.dumps({"signature_name": "serving_default", "instances": test_images.tolist()})
    headers = {"content-type": "application/json"}
    json_response = requests.post(f"{server}/v1/models/segmented:predict", data=data, headers=headers, timeout=TIMEOUT)
    r = json.loads(json_response.text)
    classes = np.array(r["predictions"]).argmax(1)
    assert classes.shape == (4,)
    np.testing.assert_allclose(np.array(r["predictions"]).sum(1), 1, atol=1e-5)


def test_every_form_of_an_image_gets_the_same_answer(server, radiographs):
    content, gray = radiographs[0], pixels_of(radiographs[0])
    wanted = ask(server, data=content, headers={"Content-Type": "image/png"}).json()["predictions"]
    color = np.repeat(gray[..., None], 3, 2)
    jsons = [
        {"instances": [b64(content)]},
        {"instances": [{"image_bytes": b64(content)}]},
        {"instances": [b64(written(dataset(gray, bits=8, WindowCenter=128, WindowWidth=256)))]},
        *({"instances": [array.tolist()]} for array in (gray, gray[..., None], color, color / 255)),
        {"inputs": [gray.tolist()]},
        {"inputs": {"images": [gray.tolist()]}},
    ]
    for body in jsons:
        answer = ask(server, json=body)
        assert answer.status_code == 200, answer.text
        found = answer.json()["outputs" if "inputs" in body else "predictions"]
        np.testing.assert_allclose(found, wanted, atol=2e-3)
    form = ask(server, files=[("file", ("a.png", content)), ("file", ("b.png", radiographs[1]))]).json()["predictions"]
    np.testing.assert_allclose(form[0], wanted[0], atol=1e-4)
    assert len(form) == 2


def test_models_status_card_health_metrics_and_description(server, radiographs):
    models = requests.get(f"{server}/v1/models", timeout=TIMEOUT).json()["models"]
    assert [(one["name"], one["image_size"]) for one in models] == [("segmented", [64, 64]), ("whole", [96, 96])]
    assert models[0]["classes"] == ["covid", "no_finding", "pneumonia"]
    status = requests.get(f"{server}/v1/models/whole", timeout=TIMEOUT).json()
    assert status["model_version_status"][0]["state"] == "AVAILABLE"
    card = requests.get(f"{server}/v1/models/whole/card", timeout=TIMEOUT).json()
    assert "never a diagnosis" in card["not_for"] and card["trained_on"]["images"]["train"] > 0
    assert requests.get(f"{server}/healthz", timeout=TIMEOUT).json() == {"status": "ok"}
    ask(server, "whole", data=radiographs[0], headers={"Content-Type": "image/png"})
    metrics = requests.get(f"{server}/metrics", timeout=TIMEOUT).text
    assert float(re.search(r'darkcovid_images_total\{model="whole"\} (\S+)', metrics)[1]) >= 1
    assert "/v1/models/{name}:predict" in requests.get(f"{server}/openapi.json", timeout=TIMEOUT).json()["paths"]
    docs = requests.get(f"{server}/docs", timeout=TIMEOUT).text
    assert "POST" in docs and "/v1/models/{name}:explain" in docs


def test_an_explanation_has_layers_of_one_size(server, radiographs):
    (found,) = ask(server, verb="explain", files={"file": radiographs[0]}).json()["explanations"]
    layers = [Image.open(io.BytesIO(base64.b64decode(found[key].split(",")[1]))) for key in ("picture", "lungs", "heat")]
    assert {layer.size for layer in layers} == {(96, 96)} and [layer.mode for layer in layers] == ["L", "RGBA", "RGBA"]
    assert found["label"] in found["probabilities"]


@pytest.fixture
def dicom_file(phantom_files, tmp_path):
    """A phantom as an archive has it: its content and its data set."""
    with Image.open(next(iter(phantom_files.values()))) as image:
        made = write_radiograph(tmp_path / "x.dcm", np.asarray(image.convert("L")))
    return (tmp_path / "x.dcm").read_bytes(), made


def test_a_dicom_is_answered_by_a_report_of_its_own_patient(server, dicom_file):
    content, source = dicom_file
    sent = {"Content-Type": "application/dicom"}
    answer = ask(server, verb="explain", data=content, headers=sent | {"Accept": "application/dicom"})
    report = pydicom.dcmread(io.BytesIO(answer.content))
    assert answer.headers["Content-Type"] == "application/dicom" and report.Modality == "SR"
    assert (report.StudyInstanceUID, report.PatientID) == (source.StudyInstanceUID, source.PatientID)
    expected = ask(server, verb="explain", data=content, headers=sent).json()["explanations"][0]
    shown = [float(element.value) for element in report.iterall() if element.keyword == "NumericValue"]
    assert all(min(abs(value - share) for value in shown) < 0.001 for share in expected["probabilities"].values())


def test_an_explanation_and_its_report_say_first_what_the_network_was_trained_on(server, fitted_cohort, dicom_file, radiographs):
    trained = fitted_cohort.files[np.flatnonzero(fitted_cohort.train)[0]].read_bytes()
    files = [("file", trained), ("file", radiographs[0])]
    of_trained, of_other = (each["warnings"] for each in ask(server, verb="explain", files=files).json()["explanations"])
    assert "in the training set" in of_trained[0] and "trained on phantoms" in of_trained[1]
    assert "trained on phantoms" in of_other[0] and not any("training set" in warning for warning in of_other)
    (of_json,) = ask(server, verb="explain", json={"instances": [b64(trained)]}).json()["explanations"]
    assert "in the training set" in of_json["warnings"][0]
    sent = {"Content-Type": "application/dicom", "Accept": "application/dicom"}
    report = pydicom.dcmread(io.BytesIO(ask(server, verb="explain", data=dicom_file[0], headers=sent).content))
    assert any("trained on phantoms" in element.value for element in report.iterall() if element.keyword == "TextValue")


def test_several_dicoms_are_answered_by_every_object_in_parts(server, dicom_file):
    content, source = dicom_file
    files, every = [("file", content), ("file", content)], {"Accept": 'multipart/related; type="application/dicom"'}
    answer = ask(server, verb="explain", files=files, headers=every)
    head = f"Content-Type: {answer.headers['Content-Type']}\r\n\r\n".encode()
    parts = [part.get_payload(decode=True) for part in email.message_from_bytes(head + answer.content).get_payload()]
    objects = [pydicom.dcmread(io.BytesIO(part)) for part in parts]
    assert [each.Modality for each in objects] in (["OT", "SEG", "SR"] * 2, ["OT", "SR"] * 2)
    assert {each.StudyInstanceUID for each in objects} == {source.StudyInstanceUID}


EVERY = 'multipart/related; type="application/dicom"'


@pytest.mark.parametrize(
    ("accept", "answer"),
    [
        ("", None),
        ("*/*", None),
        ("text/html", None),
        ("application/dicom", "report"),
        ("application/dicom, */*", "report"),
        ("*/*, application/dicom", "report"),
        ("application/json, application/dicom;q=0.1", None),
        ("application/json;q=0.5, application/dicom;q=0.6", "report"),
        ("application/dicom; q=0", None),
        ("application/json, application/dicom", None),
        (f"{EVERY}, application/dicom;q=0.9", "all"),
        (f"application/dicom;q=0.2, {EVERY};q=0.3, application/*;q=0.1", "all"),
        ("application/dicom;q=nan", "report"),
    ],
)
def test_a_client_gets_what_it_prefers(accept, answer):
    assert asked_for_dicom(accept) == answer


def test_one_report_of_several_images_is_refused_before_they_are_explained(dicom_file):
    gated = Gated()
    with serving(create_app({"gated": gated})) as address:
        files = [("file", dicom_file[0])] * 2
        answer = ask(address, "gated", "explain", files=files, headers={"Accept": "application/dicom"})
    assert answer.status_code == 400 and "one DICOM answers one image" in answer.json()["error"] and not gated.batches


def test_what_is_no_dicom_gets_no_dicom(server, dicom_file, radiographs):
    one = {"Accept": "application/dicom"}
    for options, said in (
        ({"files": {"file": radiographs[0]}}, "file 1: a DICOM answer belongs to the study of a DICOM file"),
        ({"json": {"instances": [b64(dicom_file[0])]}}, "send one as application/dicom"),
        ({"files": [("file", dicom_file[0])] * 2}, "one DICOM answers one image"),
    ):
        answer = ask(server, verb="explain", headers=one, **options)
        assert answer.status_code == 400 and said in answer.json()["error"]


def test_explanations_are_compared_of_one_image_at_a_time(server, radiographs):
    found = ask(server, verb="compare", files={"file": radiographs[0]}).json()["comparison"]
    assert list(found["maps"]) == ["Grad-CAM", "occlusion", "RISE", "integrated gradients"]
    layers = [Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))) for url in (found["picture"], *found["maps"].values())]
    assert {layer.size for layer in layers} == {(96, 96)} and all(layer.mode == "RGBA" for layer in layers[1:])
    assert "rank correlation" in found["words"] or "not known" in found["words"]
    assert len(found["agreement"]) == 7
    files = [("file", radiographs[0]), ("file", radiographs[1])]
    assert ask(server, verb="compare", files=files).status_code == 400


def test_a_comparison_keeps_nobody_waiting_and_ends_with_its_client():
    comparing = Comparing()
    with (
        serving(create_app({"comparing": comparing}, Limits(body_seconds=0.5, answer_seconds=0.5))) as address,
        ThreadPoolExecutor(1) as pool,
    ):
        first = pool.submit(ask, address, "comparing", "compare", json=gray(2))
        wait_until(comparing.gate.is_set)
        answer = ask(address, "comparing", json=gray(51))
        assert answer.ok and answer.json()["predictions"][0][0] == 0.2 and comparing.batches == [1]
        assert first.result().status_code == 504
        wait_until(lambda: comparing.batches == [1, "ended"])
        assert ask(address, "comparing", json=gray(51)).ok


def test_a_second_comparison_is_refused_while_one_is_made():
    gated = Gated()
    with serving(create_app({"gated": gated})) as address, ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, address, "gated", "compare", json=gray(2))
        wait_until(lambda: gated.batches == [1])
        assert ask(address, "gated", "compare", json=gray(3)).status_code == 429
        gated.gate.set()
        assert first.result().status_code == 500  # the stand-in has no explanations


def bomb(width, height):
    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, "PNG")
    content = bytearray(file.getvalue())
    content[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


def zipped():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.png", b"0" * 1_000_000)
    return file.getvalue()


def no_pixels():
    made = dataset()
    del made.PixelData
    return written(made)


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
BYTES = np.random.RandomState(0).bytes(5000)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a PNG, JPEG or DICOM"),
        (BYTES, "not a PNG, JPEG or DICOM"),
        (bomb(100_000, 100_000), "100000x100000 pixels, more than|exceeds limit"),
        (bomb(64, 90), "cannot be decoded"),
        (zipped(), "not a PNG, JPEG or DICOM"),
        (SVG, "not a PNG, JPEG or DICOM"),
        (no_pixels(), "a DICOM without pixels"),
        (written(dataset(NumberOfFrames=2)), "2 frames"),
        (b"\0" * 128 + b"DICM" + BYTES, "cannot be decoded|without pixels"),
    ],
)
def test_files_that_are_no_radiograph_get_one_line(server, content, words):
    for answer in (
        ask(server, files={"file": content}),
        ask(server, data=content, headers={"Content-Type": "application/octet-stream"}),
        ask(server, json={"instances": [b64(content)]}),
    ):
        assert answer.status_code == 400
        assert re.search(words, answer.json()["error"]), answer.text


def test_small_files_of_large_pictures_are_refused_together(server):
    file = io.BytesIO()
    Image.new("L", (7000, 7000)).save(file, "PNG")
    answer = ask(server, files=[("file", file.getvalue())] * 6)
    assert answer.status_code == 413 and "200,000,000 pixels together" in answer.json()["error"]


def test_a_truncated_image_is_refused(server, radiographs):
    answer = ask(server, files={"file": radiographs[0][:-100]})
    assert answer.status_code == 400 and "cannot be decoded" in answer.json()["error"]


GRAY = np.zeros((20, 20)).tolist()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("{", "neither JSON nor an image"),
        ("[" * 100_000 + "]" * 100_000, "neither JSON nor an image"),
        ('{"instances": [' + "[" * 1000 + "]" * 1000 + "]}", "shape|rows differ|neither JSON|image is"),
        ('{"instances": [[[NaN]]]}', "neither JSON"),
        ("[]", "must be an object"),
        ("{}", "either `instances` or `inputs`"),
        ({"instances": []}, "not an empty one"),
        ({"instances": "x"}, "a list of images"),
        ({"instances": [GRAY], "inputs": [GRAY]}, "either"),
        ({"instances": [GRAY], "signature_name": "classify"}, "there is only serving_default"),
        ({"instances": [[1, 2, 3]]}, r"shape \[3\]"),
        ({"instances": [[[1, 2], [3]]]}, "rows differ in length"),
        ({"instances": [np.zeros((20, 20, 4)).tolist()]}, r"shape \[20, 20, 4\]"),
        ({"instances": [[["a"] * 20] * 20]}, "an image is numbers"),
        ({"instances": [[[None] * 20] * 20]}, "an image is numbers"),
        ({"instances": [[[1e400] * 20] * 20]}, "neither JSON|finite"),
        ({"instances": [np.full((20, 20), -1.5).tolist()]}, "not standardized"),
        ({"instances": [np.zeros((4, 4)).tolist()]}, "sides may have 16 to 8192"),
        ({"instances": [{"b64": "***"}]}, "not base64"),
        ({"instances": [{"b64": 3}]}, "base64 is given as"),
        ({"instances": [{"a": GRAY, "b": GRAY}]}, "one value"),
    ],
)
def test_wrong_json_gets_one_line(server, body, words):
    text = body if isinstance(body, str) else json.dumps(body).replace("Infinity", "1e999")
    answer = ask(server, data=text, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert re.search(words, answer.json()["error"]), answer.text


def test_too_many_images_and_unknown_models(server):
    assert ask(server, json={"instances": [GRAY] * 65}).status_code == 413
    for name in ("other", "..%2f..%2fetc%2fpasswd", "a" * 5000, "%00"):
        assert ask(server, name, json={"instances": [GRAY]}).status_code in (404, 405)
    for path in ("/v1/models/../../etc/passwd", "/page.js/../../recipe.yaml", "/static/..%2f..%2fapp.py"):
        assert requests.get(server + path, timeout=TIMEOUT).status_code == 404


def test_a_body_of_a_gigabyte_is_refused_and_not_kept(server):
    def gigabyte():
        for _ in range(1024):
            yield b"\0" * (1 << 20)

    with socket.create_connection(("127.0.0.1", int(server.rsplit(":", 1)[1]))) as client:
        head = f"POST /v1/models/whole:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {1 << 30}\r\n\r\n"
        client.sendall(head.encode())
        assert b" 413 " in client.recv(4096).split(b"\r\n")[0]
    with contextlib.suppress(requests.ConnectionError):  # it may hang up while the rest is still being sent
        assert requests.post(f"{server}/v1/models/whole:predict", data=gigabyte(), timeout=TIMEOUT).status_code == 413
    assert requests.get(f"{server}/healthz", timeout=TIMEOUT).ok


@pytest.mark.slow
def test_a_thousand_idle_connections_keep_nobody_out(server, radiographs):
    port = int(server.rsplit(":", 1)[1])
    idle = []
    try:
        for number in range(1000):
            client = socket.create_connection(("127.0.0.1", port))
            client.sendall(b"POST /v1/models/whole:predict HTTP/1.1\r\n" if number % 2 else b"")
            idle.append(client)
        assert ask(server, "whole", files={"file": radiographs[0]}).status_code == 200
        idle[1].settimeout(30)
        assert idle[1].recv(100) == b""  # it was hung up on
    finally:
        for client in idle:
            client.close()


class Gated:
    """A predictor that answers nothing until its gate is open; `batches`: how many images it got at a time."""

    def __init__(self, gate_is_open=False):
        self.gate, self.batches = threading.Event(), []
        if gate_is_open:
            self.gate.set()
        self.model = SimpleNamespace(classes=("covid", "other"), size=(16, 16))

    def __call__(self, images, explain=False, compare=False, between=None):
        self.batches.append(len(images))
        assert self.gate.wait(TIMEOUT)
        lungs = np.zeros((256, 256), bool)
        shares = [{"covid": image.getpixel((0, 0)) / 255, "other": 0.0} for image in images]
        return [Prediction("covid", share, "covid", ("covid",), 0.5, True, (), lungs) for share in shares]


class Comparing(Gated):
    """One whose comparisons last until their client has gone."""

    def __call__(self, images, explain=False, compare=False, between=None):
        try:
            while compare:
                between()
                self.gate.set()
                time.sleep(0.01)
        finally:
            if compare:
                self.batches.append("ended")
        return super().__call__(images)


def gray(value):
    return {"instances": [np.full((16, 16), value).tolist()]}


def test_a_full_queue_answers_429_and_nothing_accepted_is_lost():
    gated, refusals = Gated(), threading.Semaphore(0)

    def request(value):
        answer = ask(address, "gated", json=gray(value))
        if answer.status_code == 429:
            refusals.release()
        return answer

    with serving(create_app({"gated": gated}, Limits(waiting=4, batch=2))) as address, ThreadPoolExecutor(24) as pool:
        answers = [pool.submit(request, value) for value in range(2, 26)]
        for _ in range(24 - 4 - 2):  # four wait, two are with the predictor at most, and it holds them
            assert refusals.acquire(timeout=TIMEOUT)
        gated.gate.set()
        answers = [answer.result() for answer in answers]
    codes = [answer.status_code for answer in answers]
    assert set(codes) == {200, 429}
    assert all(answer.headers["Retry-After"] == "1" for answer in answers if answer.status_code == 429)
    for value, answer in enumerate(answers, 2):
        if answer.status_code == 200:
            assert answer.json()["predictions"] == [[pytest.approx(value / 255), 0.0]]
    assert sum(gated.batches) == codes.count(200) >= 4


def test_requests_that_come_together_are_answered_together():
    gated = Gated()
    with serving(create_app({"gated": gated}, Limits(batch=16))) as address, ThreadPoolExecutor(16) as pool:
        first = pool.submit(ask, address, "gated", json=gray(2))
        wait_until(lambda: gated.batches == [1])
        others = [pool.submit(ask, address, "gated", json=gray(value)) for value in range(3, 18)]
        wait_until(
            lambda: 'darkcovid_waiting_images{model="gated"} 15.0' in requests.get(f"{address}/metrics", timeout=TIMEOUT).text
        )
        gated.gate.set()
        assert all(answer.result().ok for answer in (first, *others))
    assert gated.batches == [1, 15]


def wait_until(happened):
    until = time.monotonic() + TIMEOUT
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_time_limits():
    limits = Limits(body_seconds=0.5, answer_seconds=0.5)
    gated = Gated()
    with serving(create_app({"gated": gated}, limits)) as address:
        assert ask(address, "gated", json=gray(9)).status_code == 504
        gated.gate.set()
        with socket.create_connection(("127.0.0.1", int(address.rsplit(":", 1)[1]))) as client:
            client.sendall(b"POST /v1/models/gated:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            client.settimeout(10)
            assert b" 408 " in client.recv(4096).split(b"\r\n")[0]


def test_a_client_that_hangs_up_half_way_does_no_harm(capfd):
    with serving(create_app({"gated": Gated(gate_is_open=True)})) as address:
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", int(address.rsplit(":", 1)[1]))) as client:
                client.sendall(b"POST /v1/models/gated:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        assert ask(address, "gated", json=gray(14)).ok
        until = time.monotonic() + 10
        while "{name}:predict" not in (said := requests.get(f"{address}/metrics", timeout=TIMEOUT).text):
            assert time.monotonic() < until
        assert 'status="500"' not in said
    assert "Traceback" not in capfd.readouterr().err


def test_a_failing_model_is_a_500_and_the_next_request_is_answered():
    class Moody(Gated):
        def __call__(self, images, explain=False):
            if images[0].getpixel((0, 0)) == 13:
                raise RuntimeError("no")
            return super().__call__(images, explain)

    with serving(create_app({"gated": Moody(gate_is_open=True)})) as address:
        bad = ask(address, "gated", json=gray(13))
        assert bad.status_code == 500 and bad.json() == {"error": "the service failed on this request; its log says why"}
        assert ask(address, "gated", json=gray(14)).ok


def test_all_bodies_together_are_bounded():
    limits = Limits(all_bodies_bytes=1000)
    with serving(create_app({"gated": Gated(gate_is_open=True)}, limits)) as address:
        assert ask(address, "gated", data=b" " * 2000, headers={"Content-Type": "application/json"}).status_code == 503
        assert ask(address, "gated", json={"instances": [{"b64": ""}]}).status_code == 400


def test_a_token_is_asked_for_and_other_hosts_are_not_answered():
    with serving(create_app({"gated": Gated(gate_is_open=True)}, token="secret", hosts=("127.0.0.1",))) as address:
        assert requests.get(f"{address}/v1/models", timeout=TIMEOUT).status_code == 401
        assert ask(address, "gated", json=gray(3), headers={"Authorization": "Bearer secret"}).ok
        assert ask(address, "gated", json=gray(3), headers={"Authorization": "Bearer secreT"}).status_code == 401
        assert requests.get(f"{address}/metrics", timeout=TIMEOUT).status_code == 401
        for path in ("/", "/healthz", "/page.js"):
            assert requests.get(address + path, timeout=TIMEOUT).ok
        assert requests.get(f"{address}/healthz", headers={"Host": "evil.example"}, timeout=TIMEOUT).status_code == 400


@pytest.mark.slow
def test_what_was_accepted_is_answered_after_sigterm(fitted_run, radiographs):
    with served(fitted_run / "segmented") as (process, address):
        answers = []

        def one():
            answers.append(ask(address, "segmented", files=[("file", content) for content in radiographs * 12]))

        thread = threading.Thread(target=one)
        thread.start()
        until = time.monotonic() + 20
        while not re.search(r"darkcovid_waiting_images\S* [1-9]", requests.get(f"{address}/metrics", timeout=TIMEOUT).text):
            if answers or time.monotonic() > until:
                break
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        thread.join(TIMEOUT)
        assert len(answers[0].json()["predictions"]) == 48
        assert process.wait(TIMEOUT) in (0, -signal.SIGTERM)


def test_wrong_requests_of_the_command(darkcovid, fitted_run, tmp_path):
    arm = fitted_run / "segmented"
    assert "a model called 'segmented' is served already" in error_of(darkcovid("serve", arm, arm, "--port", 0, code=2))
    assert "cannot be a model's name" in error_of(darkcovid("serve", f"a b={arm}", "--port", 0, code=2))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = error_of(darkcovid("serve", arm, "--port", taken.getsockname()[1], code=2))
        assert "cannot listen there" in said
    (tmp_path / "token").write_text("\n")
    assert "it is empty" in error_of(darkcovid("serve", arm, "--token-file", tmp_path / "token", code=2))


@pytest.mark.slow
def test_the_service_keeps_to_its_own_description(server):
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{server}/openapi.json", "--max-examples", "25"]
    command += ["--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"]
    command += ["--seed", "7", "--suppress-health-check", "all", "--generation-database", "none"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert found.returncode == 0, found.stdout[-4000:] + found.stderr[-2000:]


def test_compressed_dicom_is_read_too(server):
    made = dataset()
    made.compress(JPEG2000Lossless)
    assert ask(server, files={"file": written(made)}).ok

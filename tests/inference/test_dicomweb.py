"""DICOMweb against Orthanc (Debian: orthanc, orthanc-dicomweb) where it is installed, and against servers that are none."""

import json
import shutil
import socket
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
import requests
from typer.testing import CliRunner

from darkcovid.cli import app
from darkcovid.core.errors import DarkCovidError, DataError, UsageError
from darkcovid.data.download.fetch import DownloadListener
from darkcovid.data.manifest import read_manifest
from darkcovid.inference import dicomweb_session
from darkcovid.inference.dicomweb import fetched_radiographs, parse_address, store_results
from darkcovid.inference.dicomweb_cohort import fetch_cohort
from darkcovid.inference.image_files import open_image

from ..dicom_files import write_radiograph

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
PASSWORD, QUOTED = "se/cr@t", "se%2Fcr%40t"
PIXELS = np.arange(64 * 48, dtype=np.uint8).reshape(64, 48)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    """`HOST:PORT/dicom-web` of an Orthanc that wants a password."""
    if shutil.which("Orthanc") is None or not PLUGIN.is_file():
        pytest.skip("Orthanc is not installed (Debian: orthanc, orthanc-dicomweb)")
    folder, port = tmp_path_factory.mktemp("orthanc"), free_port()
    settings = {
        "StorageDirectory": str(folder),
        "IndexDirectory": str(folder),
        "HttpPort": port,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {"ann": PASSWORD},
        "Plugins": [str(PLUGIN)],
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    process = subprocess.Popen(["Orthanc", folder / "orthanc.json"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 30
        while True:
            try:
                requests.get(f"http://127.0.0.1:{port}/dicom-web/studies", timeout=5)
                break
            except requests.ConnectionError:
                assert time.monotonic() < until
                time.sleep(0.1)
        yield f"127.0.0.1:{port}/dicom-web"
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def answering():
    """A server whose list is its answer: status, body (None: it comes slowly; or a function of the path) and headers."""
    answer = [200, b"[]", {}]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, body, headers = answer
            if callable(body):
                body, headers = body(self.path)
            self.send_response(status)
            length = "99" if body is None else str(len(body))
            for pair in ({"Content-Type": "application/dicom+json", "Content-Length": length} | headers).items():
                self.send_header(*pair)
            self.end_headers()
            for _ in range(20 if body is None else 0):
                time.sleep(0.05)
                self.wfile.write(b" ")
            self.wfile.write(body or b"")

        do_POST = do_GET

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield answer, f"http://127.0.0.1:{server.server_port}/dicom-web/studies/1.2"
    server.shutdown()
    server.server_close()
    thread.join()


def fetch(address):
    with fetched_radiographs(address) as images:
        return [image.name for image in images]


def test_a_study_goes_there_and_comes_back(orthanc, tmp_path):
    service = f"http://ann:{QUOTED}@{orthanc}"
    source = write_radiograph(tmp_path / "a.dcm", PIXELS)
    same_study = {"StudyInstanceUID": source.StudyInstanceUID}
    capture = write_radiograph(tmp_path / "b.dcm", PIXELS, Modality="OT", **same_study)
    write_radiograph(tmp_path / "c.dcm", PIXELS)  # of another study
    store_results(service, sorted(tmp_path.glob("*.dcm")))
    study = f"{service}/studies/{source.StudyInstanceUID}"
    with fetched_radiographs(study) as images:
        (image,) = images
        assert image.name == f"{source.SOPInstanceUID}.dcm"
        opened, fault = open_image(image)
        np.testing.assert_allclose(np.asarray(opened).astype(int), PIXELS, atol=1)
    assert fault is None and not image.file.exists()
    assert fetch(f"{study}/series/{source.SeriesInstanceUID}") == [image.name]
    named = f"{study}/series/{capture.SeriesInstanceUID}/instances/{capture.SOPInstanceUID}"
    assert fetch(named) == [f"{capture.SOPInstanceUID}.dcm"]


@pytest.mark.parametrize("user", ["", "ann:wrong@", "eve@"])
def test_a_refusal_names_no_password(orthanc, user):
    with pytest.raises(DarkCovidError, match=r"the server refuses access \(401\)") as caught:
        fetch(f"http://{user}{orthanc}/studies/1.2")
    assert "wrong" not in str(caught.value) and "eve" not in str(caught.value)


def test_studies_become_a_folder_with_a_manifest(orthanc, tmp_path):
    service, folder = f"http://ann:{QUOTED}@{orthanc}", tmp_path / "cohort"
    sent = [write_radiograph(tmp_path / f"{n}.dcm", PIXELS + n, PatientID=f"MRN-{n // 2}", PatientAge="044Y") for n in range(3)]
    store_results(service, sorted(tmp_path.glob("*.dcm")))
    studies = tmp_path / "studies.csv"
    studies.write_text("study,label\n" + "".join(f"{each.StudyInstanceUID},covid\n" for each in sent[:2]))

    def fetch_from(address, *words):
        done = CliRunner().invoke(app, ["data", "fetch", address, "-o", str(folder), "--json", *words])
        assert done.exception is None, done.output
        return json.loads(done.stdout)

    fetched = fetch_from(service, "--studies", str(studies))
    rows = read_manifest(folder / "manifest.csv").rows
    assert sorted(rows.path) == sorted(each["path"] for each in fetched) == sorted(path.name for path in folder.glob("*.dcm"))
    assert set(rows.label) == {"covid"} and set(rows.sex) == {"F"} and len(rows) == 2 and rows.patient_id.nunique() == 1
    assert not any("MRN" in text or sent[0].SOPInstanceUID in text for text in rows.astype(str).to_numpy().ravel())
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*.dcm")}
    third = f"{service}/studies/{sent[2].StudyInstanceUID}"
    fetch_from(third)  # a study without a label beside what is there
    again = read_manifest(folder / "manifest.csv").rows
    assert sorted(again.label) == ["", "covid", "covid"] and again.patient_id.nunique() == 2
    fetch_from(service, "--studies", str(studies))
    assert before.items() <= {path: path.stat().st_mtime_ns for path in folder.glob("*.dcm")}.items()
    assert (folder / "manifest.csv").read_text().count("covid") == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("http://127.0.0.1:1/dicom-web", "-o", "x"), "name a study"),
        (("http://127.0.0.1:1/dicom-web/studies/1.2", "-o", "x", "--studies", "studies.csv"), "not both"),
        (("http://127.0.0.1:1/dicom-web/studies/1.2",), "--output"),
        (("http://127.0.0.1:1/dicom-web", "-o", "x", "--studies", "names.csv"), "'../..' is not a DICOM UID"),
        (("http://127.0.0.1:1/dicom-web", "-o", "x", "--studies", "two.csv"), "two labels"),
        (("manifest.csv", "--studies", "studies.csv"), "give its address"),
        (("http://127.0.0.1:1/dicom-web/studies/1.2", "-o", "x", "--dataset", "a"), "--dataset: are of a manifest"),
        (("http://127.0.0.1:1/dicom-web/studies/1.2", "-o", "x", "--data-root", "."), "--dataset: are of a manifest"),
    ],
)
def test_wrong_requests_for_studies_end_in_one_line(words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, rows in (("studies", "1.2,covid"), ("names", "../..,covid"), ("two", "1.2,covid\n1.2,rest")):
        (tmp_path / f"{name}.csv").write_text(f"study,label\n{rows}\n")
    done = CliRunner().invoke(app, ["data", "fetch", *words])
    assert isinstance(done.exception, UsageError) and said in str(done.exception) and "\n" not in str(done.exception)


def test_no_such_study_or_service(orthanc):
    with pytest.raises(DataError, match=r"study 1\.2 has no such radiograph"):
        fetch(f"http://ann:{QUOTED}@{orthanc}/studies/1.2")
    with pytest.raises(DataError, match=r"no such study or service \(404\)"):
        fetch(f"http://ann:{QUOTED}@{orthanc}-not/studies/1.2")


def test_where_no_server_is(tmp_path):
    write_radiograph(tmp_path / "a.dcm", PIXELS)
    service = f"http://ann:pw@127.0.0.1:{free_port()}/dicom-web"
    for ask in (lambda: fetch(f"{service}/studies/1.2"), lambda: store_results(service, [tmp_path / "a.dcm"])):
        with pytest.raises(DarkCovidError, match="no server answers there; check the address") as caught:
            ask()
        assert "pw" not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, b"<html>hello</html>", "is no DICOMweb server"),
        (200, b'{"a": 1}', "is no DICOMweb server|has no such radiograph"),
        (200, b"[17, null]", "is no DICOMweb server"),
        (204, b"", "is no DICOMweb server|has no such radiograph"),
        (400, b"", "status 400"),
    ],
)
def test_what_is_no_dicomweb_server_is_said_to_be_none(answering, status, body, said):
    answer, address = answering
    answer[:2] = [status, body]
    with pytest.raises(DarkCovidError, match=said):
        fetch(address)


def test_names_from_a_server_lead_nowhere(answering):
    answer, address = answering
    uids = {"0020000D": "1.2", "0020000E": "1.3", "00080018": "../../x", "00080060": "CR"}
    listed = [{tag: {"vr": "UI", "Value": [value]} for tag, value in uids.items()}]
    answer[1] = json.dumps(listed).encode()
    with pytest.raises(DataError, match="has no such radiograph"):
        fetch(address)


@pytest.mark.parametrize(
    "address",
    ["http://", "http://host:x/studies/1.2", "http://host/studies/1.2/instances/1", "http://host/studies/1.2?x=1",
     "http://host/studies/1.2/series", "http://host/studies/a", "http://ann:pw@host/studies/1..2", "http://[host/studies/1"],
)  # fmt: skip
def test_what_is_no_address(address):
    with pytest.raises(UsageError) as caught:
        parse_address(address)
    assert "pw" not in str(caught.value)


def test_an_address_without_a_study_is_refused():
    with pytest.raises(UsageError, match="names no study"):
        fetch("http://host/dicom-web")


def list_of(*uids):
    """A QIDO-RS answer of one image."""
    values = dict(zip(("0020000D", "0020000E", "00080018", "00080060"), (*uids, "CR"), strict=True))
    return json.dumps([{tag: {"vr": "UI", "Value": [value]} for tag, value in values.items()}]).encode()


def kept(uid):
    """A STOW-RS answer that one image is kept."""
    return json.dumps({"00081199": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": [uid]}}]}}).encode()


FAILED = json.dumps({"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [272]}}]}}).encode()
CHARSET = {"Content-Type": "application/dicom+json; charset=utf-8"}


@pytest.mark.parametrize(
    ("status", "body", "headers", "said"),
    [
        (302, b"", {"Location": "/login"}, "redirects"),
        (307, b"", {"Location": "/elsewhere"}, "redirects"),
        (200, b"<html>ok</html>", {"Content-Type": "text/html"}, "no DICOMweb server"),
        (200, b"", {}, "no DICOMweb server"),
        (202, FAILED, CHARSET, r"did not keep .*a\.dcm \(failure 0110\)"),
        (200, b"{}", {}, "did not keep"),
        (200, kept("1.2.3"), CHARSET, "did not keep"),
    ],
)
def test_only_what_a_server_says_it_kept_is_stored(answering, tmp_path, status, body, headers, said):
    answer, address = answering
    write_radiograph(tmp_path / "a.dcm", PIXELS)
    answer[:] = [status, body, headers]
    with pytest.raises(DarkCovidError, match=said) as caught:
        store_results(address, [tmp_path / "a.dcm"])
    assert "\n" not in str(caught.value)


def test_what_a_server_says_it_kept_is_stored(answering, tmp_path):
    answer, address = answering
    uid = write_radiograph(tmp_path / "a.dcm", PIXELS).SOPInstanceUID
    asked = []
    answer[1] = lambda path: (asked.append(path), (kept(uid), CHARSET))[1]
    store_results(address, [tmp_path / "a.dcm"])
    assert asked == ["/dicom-web/studies/1.2"]


def test_no_redirect_is_followed(answering):
    answer, address = answering
    answer[:] = [302, b"", {"Location": "/elsewhere"}]
    with pytest.raises(DarkCovidError, match="redirects"):
        fetch(address)


def test_an_answer_ends_in_bytes_and_in_time(answering, monkeypatch):
    answer, address = answering
    monkeypatch.setattr(dicomweb_session, "LIST_BYTES", 1000)
    answer[1] = b"[" + b" " * 2000 + b"]"
    with pytest.raises(DarkCovidError, match="too large"):
        fetch(address)
    monkeypatch.setattr(dicomweb_session, "LIST_SECONDS", 0.3)
    answer[1] = None
    began = time.monotonic()
    with pytest.raises(DarkCovidError, match="does not answer in time"):
        fetch(address)
    assert time.monotonic() - began < 0.9


@pytest.mark.parametrize("other", [None, "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
def test_another_image_than_the_one_asked_for_is_refused(answering, tmp_path, other):
    answer, address = answering
    uids = {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.3", "SOPInstanceUID": "1.4"}
    write_radiograph(tmp_path / "a.dcm", PIXELS, **uids | ({other: "1.9"} if other else {}))
    image = b"\r\n--b\r\nContent-Type: application/dicom\r\n\r\n" + (tmp_path / "a.dcm").read_bytes() + b"\r\n--b--\r\n"
    sent = image, {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'}
    answer[1] = lambda path: sent if path.endswith("/instances/1.4") else (list_of(*uids.values()), {})
    with fetched_radiographs(address) as (image,):
        assert image.name == "1.4.dcm" and (image.file is None) == (other is not None)


def test_a_cohort_of_which_nothing_came_has_no_manifest(answering, tmp_path):
    answer, address = answering
    answer[1] = lambda path: (b"damaged", {}) if path.endswith("/instances/1.4") else (list_of("1.2", "1.3", "1.4"), {})
    done = CliRunner().invoke(app, ["data", "fetch", address, "-o", str(tmp_path / "cohort")])
    assert isinstance(done.exception, DataError) and "resumed" not in str(done.exception)
    assert "manifest" not in done.stdout and not (tmp_path / "cohort" / "manifest.csv").exists()


def test_an_interrupted_cohort_has_a_manifest_of_what_came(answering, tmp_path):
    answer, address = answering
    uids = {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.3", "SOPInstanceUID": "1.4"}
    write_radiograph(tmp_path / "a.dcm", PIXELS, **uids)
    listed = json.dumps([*json.loads(list_of("1.2", "1.3", "1.4")), *json.loads(list_of("1.2", "1.3", "1.5"))]).encode()
    image = b"\r\n--b\r\nContent-Type: application/dicom\r\n\r\n" + (tmp_path / "a.dcm").read_bytes() + b"\r\n--b--\r\n"
    sent = image, {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'}
    answer[1] = lambda path: sent if path.endswith("1.4") else (b"", {"Content-Length": "9"}) if "1.5" in path else (listed, {})
    with pytest.raises(DarkCovidError, match="breaks off"):
        fetch_cohort(address, {}, tmp_path / "cohort", DownloadListener())
    assert len(read_manifest(tmp_path / "cohort" / "manifest.csv").rows) == 1

import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pandas as pd
import pytest

from darkcovid.data.fetch import fetch
from darkcovid.data.manifest import Manifest


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def address(tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "x.png").write_bytes(b"pixels")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path / "site"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def manifest(tmp_path, url, sha256):
    rows = pd.DataFrame([{"path": "a/x.png", "url": url, "sha256": sha256}])
    return Manifest(rows, (tmp_path / "data",))


def test_a_missing_file_is_fetched_to_its_path_and_checked(tmp_path, address):
    said = []
    wanted = manifest(tmp_path, f"{address}/x.png", hashlib.sha256(b"pixels").hexdigest())
    assert fetch(wanted, tmp_path / "data", said.append) == []
    assert (tmp_path / "data" / "a" / "x.png").read_bytes() == b"pixels"
    assert said == ["1/1 a/x.png: fetched"]
    assert fetch(wanted, tmp_path / "data", said.append) == []
    assert len(said) == 1


@pytest.mark.parametrize(
    ("path", "sha256", "words"),
    [("/x.png", "0" * 64, "hash"), ("/absent.png", "", "404"), (None, "", "no address")],
)
def test_what_cannot_be_had_is_named_and_nothing_wrong_is_kept(tmp_path, address, path, sha256, words):
    url = "" if path is None else address + path
    failed = fetch(manifest(tmp_path, url, sha256), tmp_path / "data", lambda text: None)
    assert failed[0][0] == "a/x.png"
    assert words in failed[0][1]
    assert not (tmp_path / "data" / "a" / "x.png").exists()


def test_other_schemes_are_refused(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("s")
    failed = fetch(manifest(tmp_path, f"file://{secret}", ""), tmp_path / "data", lambda text: None)
    assert "neither http nor https" in failed[0][1]

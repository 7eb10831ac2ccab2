"""`darkcovid models weights` and `models fetch`: a package, torchvision's files and timm's hub, from a loopback server."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from safetensors.torch import save
from typer.testing import CliRunner

from darkcovid.cli import app

LITE = "timm/tf_efficientnet_lite0"


def run(*words):
    return CliRunner().invoke(app, ["models", *words], catch_exceptions=False)


@pytest.fixture
def server():
    """A server of `files` (path: bytes), with the headers that a model hub gives."""
    files = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            body = files.get(self.path)
            self.send_response(200 if body is not None else 404)
            self.send_header("Content-Length", str(len(body or b"")))
            self.send_header("ETag", f'"{hashlib.sha256(body or b"").hexdigest()}"')
            self.send_header("X-Repo-Commit", "0" * 40)
            self.end_headers()
            if self.command == "GET" and body:
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{served.server_port}", files
    served.shutdown()
    served.server_close()


def test_weights_of_every_pretrained_network_are_listed():
    result = run("weights", "--json")
    rows = {row["name"]: row for row in json.loads(result.stdout)}
    assert rows[LITE]["source"] == "package"
    assert rows[LITE]["present"]
    assert rows["resnet50"]["source"] == "torchvision"
    assert {"vgg16", "densenet121", "resnet18"} <= set(rows)
    assert "cnn13" not in rows
    assert f"{LITE}  present  package" in run("weights").stdout


def test_a_package_s_weights_are_there():
    row = json.loads(run("fetch", LITE, "--json").stdout)
    assert row["sha256"].startswith("57934424")  # as its file's name says
    assert row["bytes"] == 18_826_032


def resnet18_file():
    """The bytes of a .pth file, and the start of their SHA-256."""
    import io

    from torchvision.models import resnet18

    torch.manual_seed(3)
    buffer = io.BytesIO()
    torch.save(resnet18().state_dict(), buffer)
    return buffer.getvalue(), hashlib.sha256(buffer.getvalue()).hexdigest()


@pytest.mark.parametrize("damaged", [False, True])
def test_torchvision_s_file_is_fetched_and_its_checksum_compared(server, tmp_path, monkeypatch, damaged):
    address, files = server
    body, digest = resnet18_file()
    files[f"/resnet18-{digest[:8]}.pth"] = body[:-1] + b"x" if damaged else body
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("darkcovid.models.pretrained._torchvision_url", lambda name: f"{address}/resnet18-{digest[:8]}.pth")
    result = CliRunner().invoke(app, ["models", "fetch", "resnet18", "--json"])
    left = list((tmp_path / "hub" / "checkpoints").iterdir())
    if damaged:
        assert result.exception.exit_code == 3
        assert "could not be fetched (invalid hash value" in str(result.exception)
        assert not left
    else:
        row = json.loads(result.stdout)
        assert (row["sha256"], row["present"]) == (digest, True)
        assert [str(path) for path in left] == [row["file"]]


def test_timm_s_weights_are_fetched_once_from_a_hub(server, tmp_path):
    import timm

    address, files = server
    torch.manual_seed(4)
    tensors = timm.create_model("mobilenetv3_small_050", pretrained=False).state_dict()
    body = save(tensors)
    hub = timm.get_pretrained_cfg("mobilenetv3_small_050").hf_hub_id
    files[f"/{hub}/resolve/main/model.safetensors"] = body
    own = {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1"}
    command = [sys.executable, "-m", "darkcovid", "models", "fetch", "timm/mobilenetv3_small_050", "--json"]
    fetched = subprocess.run(command, env=os.environ | own, capture_output=True, text=True, timeout=300, check=False)
    assert fetched.returncode == 0, fetched.stderr
    row = json.loads(fetched.stdout)
    assert row["sha256"] == hashlib.sha256(body).hexdigest()
    assert str(tmp_path) in row["file"]
    files.clear()
    again = subprocess.run(command, env=os.environ | own, capture_output=True, text=True, timeout=300, check=False)
    assert json.loads(again.stdout) == row, again.stderr


def test_another_file_under_torchvision_s_name_is_not_taken_for_imagenet_s(tmp_path, monkeypatch):
    body, _ = resnet18_file()
    place = tmp_path / "hub" / "checkpoints" / "resnet18-01234567.pth"
    place.parent.mkdir(parents=True)
    place.write_bytes(body)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("darkcovid.models.pretrained._torchvision_url", lambda name: f"https://nowhere/{place.name}")
    result = CliRunner().invoke(app, ["models", "fetch", "resnet18", "--json"])
    assert result.exception.exit_code == 3
    assert "is not torchvision's file (its SHA-256 does not begin with 01234567)" in str(result.exception)

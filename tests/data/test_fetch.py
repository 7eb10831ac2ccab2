"""Fetching from real servers on this machine: good ones, and ones that drop, stall, lie and redirect."""

import hashlib
import io
import json
import re
import subprocess
import sys
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from urllib.parse import unquote

import filelock
import pandas as pd
import pytest
from rich.console import Console

from darkcovid.core.errors import UsageError
from darkcovid.data.download.fetch import DownloadListener, fetch
from darkcovid.data.download.http import (
    BLOCK_BYTES,
    DownloadError,
    DownloadPolicy,
    RemoteFile,
    check_redirect,
    download,
    is_local,
)
from darkcovid.data.manifest import Manifest
from darkcovid.report.download_progress import FetchProgress

from .conftest import serving

PIXELS = bytes(range(256)) * 2000
SHA = hashlib.sha256(PIXELS).hexdigest()
THIRD = len(PIXELS) // 3 + 1
QUICK = DownloadPolicy(seconds=0.5, pause=0.01)


class Wicked(BaseHTTPRequestHandler):
    """Behaves as the address's first part says; `seen` keeps what was asked for."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.seen.append((self.path, self.headers.get("range")))
        self.close_connection = True
        getattr(self, "do_" + re.split(r"[/?]", self.path)[1])()

    @property
    def start(self):
        asked = self.headers.get("range")
        return int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0

    def times(self):
        return sum(path == self.path for path, _ in self.server.seen)

    def send(self, body, length=None, status=None, **headers):
        status = status or (206 if self.headers.get("range") else 200)
        self.send_response(status)
        if status == 206:
            headers["Content-Range"] = f"bytes {self.start}-{len(PIXELS) - 1}/{len(PIXELS)}"
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def do_good(self):
        self.send(PIXELS[self.start :])

    def do_drops(self):
        """A third of it at a time."""
        rest = PIXELS[self.start :]
        self.send(rest[: len(PIXELS) // 3 + 1], length=len(rest))

    def do_nothing_new(self):
        """Never resumes."""
        if self.times() == 1:
            self.send(PIXELS[:20_000], length=len(PIXELS), status=200)
        else:
            self.send(PIXELS, status=200)

    def do_other_part(self):
        if self.headers.get("range"):
            self.send_response(206)
            self.send_header("Content-Range", f"bytes 7-{len(PIXELS) - 1}/{len(PIXELS)}")
            self.send_header("Content-Length", "10")
            self.end_headers()
            self.wfile.write(b"x" * 10)
        else:
            self.send(PIXELS[:20_000], length=len(PIXELS))

    def do_stalls(self):
        if self.times() < 3:
            self.send(PIXELS[self.start : self.start + 20_000], length=len(PIXELS) - self.start)
            self.wfile.flush()
            time.sleep(1.5)
        else:
            self.good()

    def good(self):
        self.send(PIXELS[self.start :])

    def do_silent(self):
        time.sleep(1.5)

    def do_says_less(self):
        self.send(PIXELS, length=len(PIXELS) // 2)

    def do_endless(self):
        self.send_response(200)
        self.end_headers()
        for _ in range(400):
            self.wfile.write(b"x" * 100_000)

    def do_wrong(self):
        self.send(b"y" * len(PIXELS), status=200)

    def do_busy(self):
        if self.times() < 3:
            self.send(b"", status=503, Retry_After="0")
        else:
            self.good()

    def do_gone(self):
        self.send(b"", status=404)

    def do_broken(self):
        self.send(b"", status=500)

    def do_to(self):
        self.send(b"", status=302, Location=unquote(self.path.split("?", 1)[1]))


@pytest.fixture
def wicked():
    server = serving(Wicked)
    server.seen = []
    server.address = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.shutdown()


@pytest.fixture
def get(wicked, tmp_path):
    def get(way, sha256=SHA, length=None, policy=QUICK):
        came = []
        wanted = RemoteFile(f"{wicked.address}/{way}", tmp_path / "data" / "x.png", sha256, length)
        size = download(wanted, policy, came.append)
        assert size == sum(came) == len(wanted.target.read_bytes())
        assert [path.name for path in wanted.target.parent.iterdir()] == ["x.png"]
        return wanted.target.read_bytes()

    return get


@pytest.mark.parametrize("way", ["good", "drops", "nothing_new", "stalls", "busy"])
def test_it_comes_whole_whatever_the_server_does_on_the_way(get, wicked, way):
    assert get(way) == PIXELS
    starts = [int(asked.removeprefix("bytes=").rstrip("-")) for _, asked in wicked.seen if asked]
    if way == "drops":  # less than a block of each try is lost
        assert all(0 <= (number + 1) * THIRD - start < 2 * (number + 1) * BLOCK_BYTES for number, start in enumerate(starts))
        assert len(starts) in (2, 3)
    if way == "stalls":
        assert 0 < starts[0] < starts[1] <= 40_000


@pytest.mark.parametrize(
    ("way", "words", "requests"),
    [
        ("wrong", "its checksum is not the one recorded", 2),
        ("says_less", "its checksum is not the one recorded", 2),
        ("other_part", "another part of it", 5),
        ("silent", "silent too long", 5),
        ("gone", "404", 1),
        ("broken", r"500 .* \(5 tries\)", 5),
    ],
)
def test_what_cannot_be_had_is_told_and_not_kept(get, wicked, tmp_path, way, words, requests):
    with pytest.raises(DownloadError, match=words):
        get(way)
    assert len(wicked.seen) == requests
    assert not (tmp_path / "data" / "x.png").exists()


def test_a_length_that_is_known_is_held_to(get, tmp_path):
    with pytest.raises(DownloadError, match="longer than 100000 bytes, its length in the manifest"):
        get("good", length=100_000)
    with pytest.raises(DownloadError, match="interrupted after 512000 of 600000 bytes"):
        get("good", sha256="", length=600_000)
    with pytest.raises(DownloadError, match="longer than 1000000 bytes, the most that is taken"):
        get("endless", sha256="", policy=replace(QUICK, most_bytes=1_000_000))
    assert not (tmp_path / "data" / "x.png").exists()


def test_a_later_call_goes_on_where_an_earlier_one_broke_off(get, wicked):
    with pytest.raises(DownloadError):
        get("drops", policy=replace(QUICK, tries=1))
    wicked.seen.clear()
    assert get("good") == PIXELS
    ((path, asked),) = wicked.seen
    assert path == "/good" and THIRD - BLOCK_BYTES < int(asked.removeprefix("bytes=").rstrip("-")) <= THIRD


def test_without_a_checksum_nothing_old_is_gone_on_with(get, wicked):
    with pytest.raises(DownloadError):
        get("drops", sha256="", length=len(PIXELS), policy=replace(QUICK, tries=1))
    wicked.seen.clear()
    assert get("good", sha256="") == PIXELS
    assert wicked.seen == [("/good", None)]


def test_redirects_are_followed_only_to_where_they_may_lead(get, wicked):
    assert get("to?/good") == PIXELS
    assert get(f"to?{wicked.address}/good") == PIXELS
    for target, words in (
        ("file:///etc/passwd", "redirected to file"),
        ("ftp://127.0.0.1/x", "redirected to ftp"),
        ("http://127.0.0.2/x", "127.0.0.2, a local address"),
        ("http://localhost/x", "localhost, a local address"),
        ("http://169.254.169.254/latest", "a local address"),
        ("http://[::1]/x", "a local address"),
        ("http://10.0.0.1/x", "a local address"),
    ):
        with pytest.raises(DownloadError, match=words):
            get(f"to?{target}")
    with pytest.raises(DownloadError, match="more than 5 redirects"):
        get("to?" + "/to?" * 9 + "/good")
    with pytest.raises(DownloadError, match="redirected to http"):
        check_redirect("https://example.org/x", "http://example.org/x")
    assert is_local("0.0.0.0") and is_local("192.168.1.1") and not is_local("1.1.1.1")


def manifest(tmp_path, *rows):
    table = [{"path": path, "url": url, "sha256": sha256, "bytes": length} for path, url, sha256, length in rows]
    return Manifest(pd.DataFrame(table), (tmp_path / "elsewhere",))


def test_a_manifest_s_missing_files_are_fetched_to_their_places_and_the_rest_is_told(tmp_path, wicked):
    files = [(f"a/{i}.png", f"{wicked.address}/good?{i}", SHA, str(len(PIXELS))) for i in range(20)]
    bad = [("b/0.png", "", "", ""), ("b/1.png", f"file://{tmp_path}", "", ""), ("b/2.png", f"{wicked.address}/gone", SHA, "")]
    told, begun = [], []
    watcher = DownloadListener(begin=lambda *what: begun.append(what), file=told.append)
    wanted = manifest(tmp_path, *files, *bad)
    fetched = fetch(wanted, tmp_path / "data", watcher, QUICK)
    assert [one.path for one in fetched] == [path for path, *_ in (*files, *bad)]
    assert [one.length for one in fetched[:20]] == [len(PIXELS)] * 20
    assert [bool(one.fault) for one in fetched] == [False] * 20 + [True] * 3
    assert "no address" in fetched[20].fault and "neither http nor https" in fetched[21].fault and "404" in fetched[22].fault
    assert sorted(one.path for one in told) == sorted(one.path for one in fetched) and begun == [(23, None)]
    assert all((tmp_path / "data" / path).read_bytes() == PIXELS for path, *_ in files)
    wicked.seen.clear()
    again = fetch(wanted, tmp_path / "data", policy=QUICK)
    assert len(again) == 3 and [path for path, _ in wicked.seen] == ["/gone"]


def test_no_link_leads_out_of_the_data_folder(tmp_path, wicked):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "x.png").symlink_to(tmp_path / "elsewhere" / "x.png")
    rows = [(path, f"{wicked.address}/good", SHA, "") for path in ("a/x.png", "a/deeper/x.png", "x.png")]
    for one in fetch(manifest(tmp_path, *rows), tmp_path / "data", policy=QUICK):
        assert "lies outside" in one.fault
    assert not list((tmp_path / "elsewhere").iterdir())


def test_two_fetches_into_one_folder_are_kept_apart(tmp_path, wicked):
    (tmp_path / "data").mkdir()
    wanted = manifest(tmp_path, ("x.png", f"{wicked.address}/good", SHA, ""))
    with filelock.FileLock(tmp_path / "data" / ".fetch.lock"), pytest.raises(UsageError, match="another fetch is at work"):
        fetch(wanted, tmp_path / "data", policy=QUICK)
    assert fetch(wanted, tmp_path / "data", policy=QUICK)[0].fault is None


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, wicked):
    (tmp_path / "data").write_text("a file")
    with pytest.raises(UsageError, match="cannot be written"):
        fetch(manifest(tmp_path, ("x.png", f"{wicked.address}/good", SHA, "")), tmp_path / "data")


def test_a_log_tells_every_file_and_what_is_left_and_needs_no_torch(tmp_path, wicked):
    rows = [(f"{i}.png", f"{wicked.address}/good?{i}", SHA, str(len(PIXELS))) for i in range(3)]
    text = io.StringIO()
    with FetchProgress(Console(file=text, width=200)).watching() as watcher:
        fetch(manifest(tmp_path, *rows, ("x.png", "", "", "1000000")), tmp_path / "data", watcher, QUICK)
    lines = text.getvalue().splitlines()
    assert len(lines) == 4 and any(line.startswith("1/4 ") for line in lines)
    assert any("fetched, 512.0 kB; " in line and " of 2.5 MB, " in line and line.endswith(" left") for line in lines)
    code = "import sys, darkcovid.report.download_progress; assert not {'torch', 'fastai'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_the_command_says_what_came_and_what_did_not(tmp_path, wicked):
    lines = [f"{i}.png,a,{i},{wicked.address}/good?{i},{SHA},{len(PIXELS)}" for i in range(3)]
    text = "path,label,patient_id,url,sha256,bytes\n" + "\n".join([*lines, f"x.png,a,x,{wicked.address}/gone,,"]) + "\n"
    (tmp_path / "m.csv").write_text(text)
    words = [sys.executable, "-m", "darkcovid", "data", "fetch", "m.csv", "--to", "got"]
    first = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert first.returncode == 3
    assert first.stdout.splitlines() == [
        "3 of 4 missing files fetched, 1,536,000 bytes",
        "1 not: the server answered 404 Not Found (the first: x.png)",
        "commands find them with --data-root got",
    ]
    assert first.stderr.splitlines()[-1].startswith("error: 1 of 4 files could not be fetched, the first is x.png (")
    again = subprocess.run([*words, "--json"], cwd=tmp_path, capture_output=True, text=True, check=False)
    (one,) = json.loads(again.stdout)
    assert (again.returncode, one["path"], one["length"]) == (3, "x.png", 0) and "404" in one["fault"]

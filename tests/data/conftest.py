"""Real servers on this machine, from which tests fetch."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    def handle_error(self, *_):  # a client that hangs up on a server that misbehaves
        pass


def serving(handler):
    server = Server(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.fixture
def address(tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "x.png").write_bytes(b"pixels")
    server = serving(partial(Quiet, directory=tmp_path / "site"))
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()

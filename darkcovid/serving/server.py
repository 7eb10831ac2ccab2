"""The service on a socket: uvicorn, with a timeout for slow clients."""

import asyncio
import re
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from darkcovid.core.errors import UsageError, one_line
from darkcovid.core.log import logger
from darkcovid.inference.predictor import InferencePipeline, load_pipeline
from darkcovid.recipe.sections import NAME
from darkcovid.serving.app import create_app

HEADER_TIMEOUT_SECONDS = 10
SHUTDOWN_TIMEOUT_SECONDS = 60
MAX_OPEN_FILES = 65_536
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class HeaderTimeoutProtocol(H11Protocol):
    """Closes a connection whose request line and headers have not arrived after ten seconds."""

    _timeout: asyncio.TimerHandle | None = None

    def connection_made(self, transport) -> None:
        """uvicorn's, and the timeout starts."""
        super().connection_made(transport)
        self._watch_header()

    def data_received(self, data: bytes) -> None:
        """uvicorn's, and the timeout ends with the headers."""
        super().data_received(data)
        self._watch_header()

    def connection_lost(self, exc) -> None:
        """uvicorn's, and the timeout ends."""
        super().connection_lost(exc)
        self._cancel_timeout()

    def _watch_header(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._cancel_timeout()
        elif self._timeout is None:
            self._timeout = self.loop.call_later(HEADER_TIMEOUT_SECONDS, self._close_idle)

    def _cancel_timeout(self) -> None:
        if self._timeout is not None:
            self._timeout.cancel()
            self._timeout = None

    def _close_idle(self) -> None:
        self._timeout = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.close()


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in LOOPBACK


def serve_runs(runs: Sequence[str], arm: str | None, address: Address, token: str | None, device: str) -> None:
    """Serve run folders until SIGINT or SIGTERM.

    Args:
        runs: Each as its path or as NAME=PATH.
        arm: Whose weights; None takes the only arm.
        address: Where to listen.
        token: Bearer token that clients must send; None asks for none.
        device: "auto", "cpu" or "cuda".

    Raises:
        UsageError: Two models of one name, or an address that cannot be had; and as `load_pipeline` does.
    """
    predictors: dict[str, InferencePipeline] = {}
    for name, path in map(_parse_model_spec, runs):
        predictor = load_pipeline(path, arm, device)
        name = name or predictor.model.recipe.name
        if name in predictors:
            raise UsageError(f"{path}: a model called {name!r} is served already; give another name, as in NAME={path}")
        predictors[name] = predictor
    listening = _bind(address)
    port = listening.getsockname()[1]
    for name, predictor in predictors.items():
        logger.info(f"{name}: {predictor.model.fit} of {predictor.model.run}")
    logger.info(f"http://{address.host}:{port}/ is ready; stop it with Ctrl-C. Research software, never a diagnosis.")
    if not address.loopback and token is None:
        logger.warning("other machines can reach it, and no token is asked for; see --token-file")
    hosts = (*LOOPBACK, "[::1]") if address.loopback else ("*",)
    serve_app(create_app(predictors, token=token, hosts=hosts), listening)


def _parse_model_spec(given: str) -> tuple[str | None, Path]:
    name, equals, path = given.partition("=")
    if equals and not Path(given).exists():
        if not re.match(NAME, name):
            raise UsageError(f"{given}: {name!r} cannot be a model's name; use letters, digits, dots, dashes and underscores")
        return name, Path(path)
    return None, Path(given)


def _bind(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        return socket.create_server((address.host, address.port), family=family, backlog=2048)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise UsageError(f"--host {address.host} --port {address.port}: cannot listen there ({reason})") from None


def serve_app(app: FastAPI, listening: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM; what was accepted by then is answered.

    Args:
        app: The ASGI application.
        listening: A bound socket.
    """
    with suppress(ImportError, ValueError, OSError):
        import resource  # not on Windows

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, MAX_OPEN_FILES)), hard))
    config = uvicorn.Config(
        app,
        http=HeaderTimeoutProtocol,
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_SECONDS,
    )
    uvicorn.Server(config).run(sockets=[listening])

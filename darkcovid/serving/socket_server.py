"""An application on a socket: uvicorn, with a timeout for slow clients, on this machine alone unless asked otherwise."""

import asyncio
import socket
from contextlib import suppress
from dataclasses import dataclass

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from darkcovid.core.errors import UsageError, one_line

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

    @property
    def host_headers(self) -> tuple[str, ...]:
        """Host headers that are answered: of this machine alone where only it can reach the address (DNS rebinding)."""
        return (*LOOPBACK, "[::1]") if self.loopback else ("*",)


def bind(address: Address) -> socket.socket:
    """A listening socket.

    Args:
        address: Where to listen.

    Returns:
        The socket.

    Raises:
        UsageError: The address cannot be had.
    """
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

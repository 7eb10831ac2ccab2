"""The board as an ASGI application: read-only routes, and what holds for each of them (token, cookie, headers, errors)."""

import hmac
from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from darkcovid import __version__
from darkcovid.core.errors import DarkCovidError, one_line
from darkcovid.serving.board.routes import PAGE, router
from darkcovid.serving.board.shared import Board
from darkcovid.serving.responses import HEADERS, add_error_responses, has_token, json_response, token_needed

OPEN_TO_ALL = {"/healthz", *(f"/{name}" for name in PAGE)}
COOKIE = "darkcovid_board"


def create_board(runs_dir: Path, token: str | None = None, hosts: tuple[str, ...] = ("*",), images: bool = False) -> FastAPI:
    """The ASGI application of the board.

    Args:
        runs_dir: The folder of all runs.
        token: What a client must send as `Authorization: Bearer ...`, or once to `/session`, for a cookie; None asks for none.
        hosts: Host headers that are answered; `*` means any.
        images: Whether radiographs are shown: thumbnails, and pictures in reports.

    Returns:
        The application.
    """
    app = FastAPI(title="darkcovid board", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.board, app.state.token = Board(runs_dir, images), token
    app.include_router(router)
    app.add_api_route("/session", _open_session, methods=["POST"])
    add_error_responses(app)
    app.add_exception_handler(DarkCovidError, _refusal)
    app.add_middleware(BaseHTTPMiddleware, dispatch=_authorize)
    if "*" not in hosts:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))
    return app


async def _open_session(request: Request) -> Response:
    """A cookie for the browser that sent the token, so that links to reports and thumbnails work."""
    response = Response(status_code=204)
    response.set_cookie(COOKIE, request.app.state.board.session, httponly=True, samesite="strict")
    return response


async def _refusal(request: Request, error: Exception) -> Response:
    """The error in one line, without where the runs are on this machine."""
    folder = str(request.app.state.board.index.runs_dir)
    return json_response({"error": one_line(error).replace(f"{folder}/", "").replace(folder, "the folder of runs")}, 422)


async def _authorize(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Refuse a request without the token or its cookie, and set the headers that every response carries."""
    token = request.app.state.token
    if token and request.url.path not in OPEN_TO_ALL and not (has_token(request, token) or _has_cookie(request)):
        response = token_needed()
    else:
        response = await call_next(request)
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _has_cookie(request: Request) -> bool:
    given = request.cookies.get(COOKIE, "").encode()
    return hmac.compare_digest(given, request.app.state.board.session.encode())

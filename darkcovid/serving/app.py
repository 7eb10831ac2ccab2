"""The HTTP service as an ASGI application: its routes, and what holds for each of them (token, headers, errors, times)."""

import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from darkcovid import __version__
from darkcovid.inference.predictor import InferencePipeline
from darkcovid.serving import openapi
from darkcovid.serving.responses import HEADERS, add_error_responses, has_token, token_needed
from darkcovid.serving.routes import PAGE, router
from darkcovid.serving.service import Limits, Service

OPEN_TO_ALL = {"/healthz", *(f"/{name}" for name in PAGE)}


def create_app(
    predictors: dict[str, InferencePipeline],
    limits: Limits | None = None,
    token: str | None = None,
    hosts: tuple[str, ...] = ("*",),
) -> FastAPI:
    """The ASGI application.

    Args:
        predictors: By the name under which each is served.
        limits: Of sizes, times and queues; None means `Limits()`.
        token: Bearer token that every request but those for health and the page itself must carry; None asks for none.
        hosts: Host headers that are answered; `*` means any.

    Returns:
        The application; `app.state.service` is what its requests share.
    """
    app = FastAPI(
        title="darkcovid",
        version=__version__,
        description=openapi.ABOUT,
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        responses={401: openapi.ERRORS[401]} if token else None,
    )
    app.state.service, app.state.token = Service(predictors, limits or Limits()), token
    described = app.openapi
    app.openapi = lambda: openapi.without_validation(described())
    app.include_router(router)
    add_error_responses(app)
    app.add_middleware(BaseHTTPMiddleware, dispatch=_authorize_and_measure)
    if "*" not in hosts:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI):
    await app.state.service.open()
    yield
    await app.state.service.close()


async def _authorize_and_measure(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Refuse a request without the token, count and time each one, and set the headers that every response carries."""
    service, token, started = request.app.state.service, request.app.state.token, time.perf_counter()
    if token and request.url.path not in OPEN_TO_ALL and not has_token(request, token):
        response = token_needed()
    else:
        response = await call_next(request)
    route = getattr(request.scope.get("route"), "path", "none")
    service.requests.labels(route, response.status_code).inc()
    service.seconds.labels(route).observe(time.perf_counter() - started)
    response.headers.update(HEADERS)
    return response

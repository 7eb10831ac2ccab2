"""The HTTP service: TensorFlow Serving's REST form, uploads, health, metrics, and a page for a person."""

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib.resources import files

import orjson
from fastapi import FastAPI, Request
from fastapi.responses import Response
from jinja2 import Environment, PackageLoader
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect

from darkcovid import __version__
from darkcovid.inference.model_card import model_card
from darkcovid.inference.predictor import Prediction, Predictor
from darkcovid.serving import openapi as description
from darkcovid.serving.batching import DynamicBatcher, QueueFull
from darkcovid.serving.layers import explanation_layers
from darkcovid.serving.requests import HTTPError, PredictRequest, decode_files, decode_json, read_form

BUSY = {"Retry-After": str(QueueFull.retry_after)}
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
PAGE = {"": "text/html", "page.js": "text/javascript", "page.css": "text/css"}
OPEN_TO_ALL = {"/healthz", *(f"/{name}" for name in PAGE)}
DOCS = Environment(loader=PackageLoader("darkcovid.serving", "page"), autoescape=True).get_template("docs.html.j2")
IMAGE_TYPES = ("image/png", "image/jpeg", "application/dicom", "application/octet-stream")


@dataclass(frozen=True)
class Limits:
    """Bytes of one body and of all bodies held at once, seconds in which a body must arrive and an answer must be found,
    images decoded at once, images that wait for a model, images in a batch."""

    body_bytes: int = 32 << 20
    all_bodies_bytes: int = 512 << 20
    body_seconds: float = 20.0
    answer_seconds: float = 30.0
    decoding: int = 2
    waiting: int = 128
    batch: int = 16


class Service:
    """What the requests share: predictors by name, a batcher each, metrics, and how much is held in memory."""

    def __init__(self, predictors: dict[str, Predictor], limits: Limits):
        self.predictors, self.limits = predictors, limits
        self.batchers: dict[str, DynamicBatcher] = {}
        self.held = 0
        self.registry = CollectorRegistry()
        self.requests = Counter("darkcovid_requests", "Requests", ["route", "status"], registry=self.registry)
        self.seconds = Histogram("darkcovid_request_seconds", "Time to answer", ["route"], registry=self.registry)
        self.images = Counter("darkcovid_images", "Images predicted", ["model"], registry=self.registry)
        self.waiting = Gauge("darkcovid_waiting_images", "Images that wait", ["model"], registry=self.registry)

    async def open(self) -> None:
        self.decoding = asyncio.Semaphore(self.limits.decoding)
        for name, predictor in self.predictors.items():
            self.batchers[name] = DynamicBatcher(predictor, self.limits.waiting, self.limits.batch)
            self.waiting.labels(name).set_function(lambda name=name: self.batchers[name].waiting)

    async def close(self) -> None:
        for batcher in self.batchers.values():
            await batcher.close()

    def batcher(self, name: str) -> DynamicBatcher:
        if name not in self.batchers:
            raise HTTPError(404, f"no model is called {name[:64]!r}; there are: {', '.join(self.batchers)}")
        return self.batchers[name]

    async def predict(self, name: str, request: Request, explain: bool) -> tuple[PredictRequest, list[Prediction]]:
        """The images of a request and what the model says of them. Raises Fault."""
        batcher = self.batcher(name)
        try:
            async with asyncio.timeout(self.limits.body_seconds + self.limits.answer_seconds):
                asked = await self._pictures(request)
                predictions = await batcher.ask(asked.images, explain)
        except QueueFull:
            raise HTTPError(429, f"{name} has as much waiting as it can hold; try again in a second", BUSY) from None
        except TimeoutError:
            raise HTTPError(
                504, f"no answer within {self.limits.answer_seconds:g} s; send fewer images, or try later", BUSY
            ) from None
        self.images.labels(name).inc(len(asked.images))
        return asked, predictions

    async def _pictures(self, request: Request) -> PredictRequest:
        kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
        held = _BodyBudget(self)
        try:
            body = await held.read(request)
            if kind == "multipart/form-data":
                read = partial(decode_files, await read_form(request.headers, body))
            elif kind in IMAGE_TYPES:
                read = partial(decode_files, [("body", body)])
            else:
                read = partial(decode_json, body)
            async with self.decoding:
                return await asyncio.to_thread(read)
        finally:
            held.release()


class _BodyBudget:
    """The bytes of one body, counted among all that the service holds."""

    def __init__(self, service: Service):
        self.service, self.bytes = service, 0

    async def read(self, request: Request) -> bytes:
        limits = self.service.limits
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > limits.body_bytes:
            raise self._too_large()
        parts: list[bytes] = []
        try:
            async with asyncio.timeout(limits.body_seconds):
                async for part in request.stream():
                    self._count(len(part))
                    parts.append(part)
        except ClientDisconnect:
            raise HTTPError(400, "the body ended early") from None
        except TimeoutError:
            raise HTTPError(408, f"the body did not arrive within {limits.body_seconds:g} s", {"Connection": "close"}) from None
        return b"".join(parts)

    def release(self) -> None:
        self.service.held -= self.bytes
        self.bytes = 0

    def _count(self, size: int) -> None:
        self.bytes += size
        self.service.held += size
        if self.bytes > self.service.limits.body_bytes:
            raise self._too_large()
        if self.service.held > self.service.limits.all_bodies_bytes:
            raise HTTPError(503, "too many uploads at once; try again in a second", BUSY)

    def _too_large(self) -> HTTPError:
        return HTTPError(413, f"the body is larger than the {self.service.limits.body_bytes >> 20} MB allowed")


def create_app(
    predictors: dict[str, Predictor], limits: Limits | None = None, token: str | None = None, hosts: tuple[str, ...] = ("*",)
) -> FastAPI:
    """The ASGI application. predictors: by the name under which each is served; token: a bearer token that every request but
    those for health and the page itself must carry; hosts: the Host headers that are answered."""
    service = Service(predictors, limits or Limits())

    @asynccontextmanager
    async def lifespan(app: FastAPI):
        await service.open()
        yield
        await service.close()

    app = FastAPI(
        title="darkcovid",
        version=__version__,
        description=description.ABOUT,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        responses={401: description.FAULTS[401]} if token else None,
    )
    app.state.service = service
    described = app.openapi
    app.openapi = lambda: description.without_validation(described())

    @app.get("/v1/models", openapi_extra=description.response_schema(description.MODELS))
    async def models() -> Response:
        """The models served."""
        return _json({"models": [_about(name, item) for name, item in service.predictors.items()]})

    @app.get("/v1/models/{name}", openapi_extra=description.response_schema(description.STATUS, 404))
    async def status(name: str) -> Response:
        """Whether a model is ready, as TensorFlow Serving says it."""
        service.batcher(name)
        ready = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        return _json({"model_version_status": [ready]})

    @app.get("/v1/models/{name}/card", openapi_extra=description.response_schema({"type": "object"}, 404))
    async def card(name: str) -> Response:
        """The model card: what it was trained on, what it scored, and what it must not be used for."""
        service.batcher(name)
        return _json(model_card(service.predictors[name].model))

    @app.post("/v1/models/{name}:predict", openapi_extra=description.request_schema(description.PREDICTIONS))
    async def predict(name: str, request: Request) -> Response:
        """Each image's probabilities, in the order of the model's classes."""
        asked, predictions = await service.predict(name, request, explain=False)
        rows = [list(item.probabilities.values()) for item in predictions]
        return _json({"outputs" if asked.columns else "predictions": rows})

    @app.post("/v1/models/{name}:explain", openapi_extra=description.request_schema(description.EXPLANATIONS))
    async def explain(name: str, request: Request) -> Response:
        """Each image's probabilities, doubts, lungs, and where the network looked (Grad-CAM), as PNG images in base64."""
        asked, predictions = await service.predict(name, request, explain=True)
        pairs = list(zip(asked.images, predictions, strict=True))
        return _json({"explanations": await asyncio.to_thread(lambda: [explanation_layers(*pair) for pair in pairs])})

    @app.get("/healthz", openapi_extra=description.response_schema({"type": "object"}))
    async def health() -> Response:
        """Whether the service runs."""
        return _json({"status": "ok"})

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(generate_latest(service.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return Response(DOCS.render(app.openapi()), media_type="text/html")

    for page, kind in PAGE.items():
        app.add_api_route(f"/{page}", _static(page or "index.html", kind), include_in_schema=False)

    @app.exception_handler(HTTPError)
    async def fault(request: Request, error: HTTPError) -> Response:
        return _json({"error": error.words}, error.status, error.headers)

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        return _json({"error": str(error.detail)}, error.status_code, dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        return _json({"error": "the service failed on this request; its log says why"}, 500)

    @app.middleware("http")
    async def around(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        started = time.perf_counter()
        if token and request.url.path not in OPEN_TO_ALL and not _is_authorized(request, token):
            response = _json({"error": "send the token as `Authorization: Bearer ...`"}, 401, {"WWW-Authenticate": "Bearer"})
        else:
            response = await answer(request)
        route = getattr(request.scope.get("route"), "path", "none")
        service.requests.labels(route, response.status_code).inc()
        service.seconds.labels(route).observe(time.perf_counter() - started)
        response.headers.update(HEADERS)
        return response

    if "*" not in hosts:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))
    return app


def _is_authorized(request: Request, token: str) -> bool:
    given = request.headers.get("authorization", "").encode()
    return hmac.compare_digest(given, f"Bearer {token}".encode())


def _about(name: str, predictor: Predictor) -> dict:
    model = predictor.model
    return {"name": name, "version": "1", "classes": list(model.classes), "image_size": list(model.size)}


def _json(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(value), status, headers, "application/json")


def _static(name: str, kind: str) -> Callable[[], Awaitable[Response]]:
    content = (files("darkcovid.serving") / "page" / name).read_bytes()

    async def page() -> Response:
        return Response(content, media_type=kind)

    return page

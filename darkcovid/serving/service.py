"""What all requests share: the models by name, a batcher for each, metrics, and how many bytes of uploads are held."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial

from PIL import Image
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.requests import ClientDisconnect, Request

from darkcovid.inference.predictor import InferencePipeline, Prediction
from darkcovid.serving.batching import DynamicBatcher, Purpose, QueueFull
from darkcovid.serving.dicom_answers import DicomAnswer, check_one_image
from darkcovid.serving.requests import HTTPError, PredictRequest, decode_files, decode_json, read_form

RETRY_LATER = {"Retry-After": str(QueueFull.retry_after)}
IMAGE_TYPES = ("image/png", "image/jpeg", "application/dicom", "application/octet-stream")


@dataclass(frozen=True)
class Limits:
    """How much is accepted at once, and how long it may take.

    Attributes:
        body_bytes: Bytes of one request's body.
        all_bodies_bytes: Bytes of all bodies held at once.
        body_seconds: Seconds in which a body must arrive.
        answer_seconds: Seconds in which the prediction must be made.
        decoding: Requests whose images are decoded at once.
        waiting: Images that wait for one model.
        batch: Images in one batch of a model.
    """

    body_bytes: int = 32 << 20
    all_bodies_bytes: int = 512 << 20
    body_seconds: float = 20.0
    answer_seconds: float = 30.0
    decoding: int = 2
    waiting: int = 128
    batch: int = 16


class Service:
    """What the requests share: predictors by name, a batcher each, metrics, and the bytes of uploads held in memory."""

    def __init__(self, predictors: dict[str, InferencePipeline], limits: Limits):
        self.predictors, self.limits = predictors, limits
        self.batchers: dict[str, DynamicBatcher] = {}
        self.held_bytes = 0
        self.registry = CollectorRegistry()
        self.requests = Counter("darkcovid_requests", "Requests", ["route", "status"], registry=self.registry)
        self.seconds = Histogram("darkcovid_request_seconds", "Time to answer", ["route"], registry=self.registry)
        self.images = Counter("darkcovid_images", "Images predicted", ["model"], registry=self.registry)
        self.waiting = Gauge("darkcovid_waiting_images", "Images that wait", ["model"], registry=self.registry)

    async def open(self) -> None:
        """Start a batcher for each model, inside the event loop that serves."""
        self.decoding = asyncio.Semaphore(self.limits.decoding)
        self.comparing = asyncio.Lock()  # it takes hundreds of passes
        for name, predictor in self.predictors.items():
            self.batchers[name] = DynamicBatcher(predictor, self.limits.waiting, self.limits.batch)
            self.waiting.labels(name).set_function(lambda name=name: self.batchers[name].waiting)

    async def close(self) -> None:
        """Answer what was accepted, and stop."""
        for batcher in self.batchers.values():
            await batcher.close()

    def batcher(self, name: str) -> DynamicBatcher:
        """The batcher of the model called `name`.

        Raises:
            HTTPError: 404, no model has this name.
        """
        if name not in self.batchers:
            raise HTTPError(404, f"no model is called {name[:64]!r}; there are: {', '.join(self.batchers)}")
        return self.batchers[name]

    async def predict(
        self, name: str, request: Request, purpose: Purpose, dicom: DicomAnswer | None = None
    ) -> tuple[PredictRequest, list[Prediction]]:
        """The images of a request and the model's predictions of them.

        Args:
            name: The model's name.
            request: Its body is read here, once.
            purpose: What is asked; explanations are compared of one image at a time.
            dicom: As what it is answered; files, which must then be DICOM, are kept beside their images.

        Returns:
            The decoded images, and one prediction per image in the same order.

        Raises:
            HTTPError: 400 and 408 for what was sent, 404 no such model, 413 and 503 too large, 429 too much waits, 504 no
                prediction in time.
        """
        batcher, kept = self.batcher(name), _BodyBudget(self)
        try:
            async with asyncio.timeout(self.limits.body_seconds + self.limits.answer_seconds):
                decoded = await self._read_images(request, dicom is not None)
                if dicom is not None:
                    check_one_image(dicom, decoded.images)
                kept.count(sum(map(len, decoded.contents)))
                if purpose == "compare":
                    predictions = await self._compare(batcher, decoded.images)
                else:
                    predictions = await batcher.ask(decoded.images, purpose)
                if purpose == "explain":  # whose answer has warnings
                    trained_on = await asyncio.to_thread(_training_images, self.predictors[name])
                    pairs = zip(predictions, decoded.checksums, strict=True)
                    predictions = [each.of_image(checksum in trained_on) for each, checksum in pairs]
        except QueueFull:
            raise HTTPError(429, f"{name} has as much waiting as it can hold; try again in a second", RETRY_LATER) from None
        except TimeoutError:
            raise HTTPError(
                504, f"no answer within {self.limits.answer_seconds:g} s; send fewer images, or try later", RETRY_LATER
            ) from None
        finally:
            kept.release()
        self.images.labels(name).inc(len(decoded.images))
        return decoded, predictions

    async def _compare(self, batcher: DynamicBatcher, images: Sequence[Image.Image]) -> list[Prediction]:
        if len(images) > 1:
            raise HTTPError(400, "explanations are compared of one image per request")
        if self.comparing.locked():
            raise QueueFull
        async with self.comparing:
            return await batcher.ask(images, "compare")

    async def _read_images(self, request: Request, keep: bool) -> PredictRequest:
        content_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
        budget = _BodyBudget(self)
        try:
            body = await budget.read(request)
            if content_type == "multipart/form-data":
                decode = partial(decode_files, await read_form(request.headers, body), keep)
            elif content_type in IMAGE_TYPES:
                decode = partial(decode_files, [("body", body)], keep)
            elif keep:
                raise HTTPError(400, "a DICOM answer is of DICOM files: send one as application/dicom, or several as a form")
            else:
                decode = partial(decode_json, body)
            async with self.decoding:
                return await asyncio.to_thread(decode)
        finally:
            budget.release()


@cache
def _training_images(predictor: InferencePipeline) -> frozenset[str]:
    """SHA-256 of what a model was trained on, read once."""
    return predictor.model.training_images()


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
                    self.count(len(part))
                    parts.append(part)
        except ClientDisconnect:
            raise HTTPError(400, "the body ended early") from None
        except TimeoutError:
            raise HTTPError(408, f"the body did not arrive within {limits.body_seconds:g} s", {"Connection": "close"}) from None
        return b"".join(parts)

    def release(self) -> None:
        self.service.held_bytes -= self.bytes
        self.bytes = 0

    def count(self, size: int) -> None:
        self.bytes += size
        self.service.held_bytes += size
        if self.bytes > self.service.limits.body_bytes:
            raise self._too_large()
        if self.service.held_bytes > self.service.limits.all_bodies_bytes:
            raise HTTPError(503, "too many uploads at once; try again in a second", RETRY_LATER)

    def _too_large(self) -> HTTPError:
        return HTTPError(413, f"the body is larger than the {self.service.limits.body_bytes >> 20} MB allowed")

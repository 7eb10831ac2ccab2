"""Requests that arrive together are answered together: one worker thread, a bounded queue, small batches."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from PIL import Image

from darkcovid.inference.predictor import Prediction

PredictFn = Callable[..., list[Prediction]]  # of images, and of ASKED
Purpose = Literal["predict", "explain", "compare"]
ASKED: dict[Purpose, dict[str, bool]] = {
    "predict": {},
    "explain": {"explain": True},
    "compare": {"explain": True, "compare": True},
}
LOOP_SECONDS = 10.0  # in which a loop that still runs answers its worker


class QueueFull(Exception):
    """No room for this request now; it may come again in `retry_after` seconds."""

    retry_after = 1


class ClientGone(Exception):
    """Nobody waits for this any more."""


@dataclass
class _PendingImage:
    image: Image.Image
    purpose: Purpose
    answer: asyncio.Future = field(repr=False)


class DynamicBatcher:
    """Batches the images of concurrent requests, in the order in which they came. Made and used inside one event loop.

    Args:
        predict: What predicts a batch of images, as `InferencePipeline` does; runs in one worker thread.
        max_waiting: Images that wait at any time.
        max_batch: Images in one batch.
        max_pixels: Pixels that wait at any time.
    """

    def __init__(self, predict: PredictFn, max_waiting: int = 128, max_batch: int = 16, max_pixels: int = 400_000_000):
        self.max_waiting, self.max_batch, self.max_pixels = max_waiting, max_batch, max_pixels
        self._predict = predict
        self._queue: deque[_PendingImage] = deque()
        self._pixels = 0
        self._arrived = asyncio.Event()
        self._closing = False
        self._thread = ThreadPoolExecutor(1, "predictor")
        self._runner = asyncio.get_running_loop().create_task(self._run())

    @property
    def waiting(self) -> int:
        """Images that no batch has taken yet."""
        return len(self._queue)

    async def ask(self, images: Sequence[Image.Image], purpose: Purpose = "predict") -> list[Prediction]:
        """The predictions of images.

        Args:
            images: Mode L.
            purpose: What is asked of them: labels, Grad-CAM too, or every explanation.

        Returns:
            One prediction per image, in order.

        Raises:
            QueueFull: As many images or pixels wait as may.
            Exception: Whatever `predict` raises.
        """
        pixels = sum(image.width * image.height for image in images)
        too_many = len(self._queue) + len(images) > self.max_waiting
        if self._closing or too_many or (self._queue and self._pixels + pixels > self.max_pixels):
            raise QueueFull
        loop = asyncio.get_running_loop()
        entries = [_PendingImage(image, purpose, loop.create_future()) for image in images]
        self._queue.extend(entries)
        self._pixels += pixels
        self._arrived.set()
        try:
            return list(await asyncio.gather(*(entry.answer for entry in entries)))
        finally:
            for entry in entries:
                entry.answer.cancel()

    async def close(self) -> None:
        """Answer what was accepted, accept nothing more, and stop."""
        self._closing = True
        self._arrived.set()
        await self._runner
        self._thread.shutdown()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            batch = self._take()
            if not batch:
                if self._closing:
                    return
                self._arrived.clear()
                continue
            more = {"between": partial(self._give_way, batch[0], loop)} if batch[0].purpose == "compare" else {}
            _deliver(batch, await loop.run_in_executor(self._thread, partial(self._outcome, batch, **more)))

    def _outcome(self, batch: list[_PendingImage], **more: Callable[[], None]) -> list[Prediction] | Exception:
        try:
            return self._predict([entry.image for entry in batch], **ASKED[batch[0].purpose], **more)
        except Exception as error:  # noqa: BLE001 (one batch that fails must not end the service)
            return error

    def _give_way(self, compared: _PendingImage, loop: asyncio.AbstractEventLoop) -> None:
        """Between the batches of a comparison, in its thread: answer one batch of others; end it when its client has gone."""

        async def take() -> list[_PendingImage]:
            return self._take(comparisons=False)

        if compared.answer.done():
            raise ClientGone
        batch = asyncio.run_coroutine_threadsafe(take(), loop).result(LOOP_SECONDS)
        if batch:
            loop.call_soon_threadsafe(_deliver, batch, self._outcome(batch))

    def _take(self, comparisons: bool = True) -> list[_PendingImage]:
        """The next images of one purpose, one alone if explanations are compared, without those whose client has gone."""
        batch: list[_PendingImage] = []
        while self._queue and len(batch) < self.max_batch:
            purpose = self._queue[0].purpose
            if (batch and (purpose != batch[0].purpose or purpose == "compare")) or (purpose == "compare" and not comparisons):
                break
            entry = self._queue.popleft()
            self._pixels -= entry.image.width * entry.image.height
            if not entry.answer.done():
                batch.append(entry)
        return batch


def _deliver(batch: Sequence[_PendingImage], outcome: Sequence[Prediction] | Exception) -> None:
    """Give each image of a batch its answer, or the error of all; in the event loop."""
    answers = [outcome] * len(batch) if isinstance(outcome, Exception) else outcome
    for entry, answer in zip(batch, answers, strict=True):
        if entry.answer.done():
            continue
        if isinstance(answer, Exception):
            entry.answer.set_exception(answer)
        else:
            entry.answer.set_result(answer)

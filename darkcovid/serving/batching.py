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


class QueueFull(Exception):
    """No room for this request now; it may come again in `retry_after` seconds."""

    retry_after = 1


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
            asked = partial(self._predict, [entry.image for entry in batch], **ASKED[batch[0].purpose])
            try:
                answers = await loop.run_in_executor(self._thread, asked)
            except Exception as error:  # noqa: BLE001 (one batch that fails must not end the service)
                for entry in batch:
                    if not entry.answer.done():
                        entry.answer.set_exception(error)
                continue
            for entry, answer in zip(batch, answers, strict=True):
                if not entry.answer.done():
                    entry.answer.set_result(answer)

    def _take(self) -> list[_PendingImage]:
        """The next images of one purpose, one alone if explanations are compared, without those whose client has gone."""
        batch: list[_PendingImage] = []
        while self._queue and len(batch) < self.max_batch:
            if batch and (self._queue[0].purpose != batch[0].purpose or batch[0].purpose == "compare"):
                break
            entry = self._queue.popleft()
            self._pixels -= entry.image.width * entry.image.height
            if not entry.answer.done():
                batch.append(entry)
        return batch

"""Places for requests, and the batches in which their images reach the one predictor."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import numpy as np

from experiments.lung_detector.service.images import Slice
from experiments.lung_detector.service.refusal import Refusal

if TYPE_CHECKING:  # torch is the predictor's need, not the service's
    from experiments.lung_detector.predictor import Detections, Units


class Predicts(Protocol):
    """The part of `Predictor` that the service needs; another class may be named on the command line."""

    classes: tuple[str, ...]

    def predict(self, images: Sequence[np.ndarray], units: Units) -> Sequence[Detections]: ...


class Places:
    """So many requests may be at work (sending, waiting, predicted) at a time; the next one is told to come back."""

    def __init__(self, count: int) -> None:
        self.count, self.taken = count, 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Raises Refusal 429 where all places are taken."""
        if self.taken >= self.count:
            raise Refusal(429, f"{self.count} requests at work", "a free place", "send it again in a second")
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1


class Batches:
    """Images that wait while the predictor is busy go to it together, at most `largest` and of one unit at a time.

    Nothing waits for a batch to fill. One thread predicts. Where a batch fails, its images are predicted one by one,
    so that no request fails because of another's.
    """

    def __init__(self, predictor: Predicts, largest: int) -> None:
        self.predictor, self.largest = predictor, largest
        self._waiting: deque[tuple[Slice, asyncio.Future[Detections]]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="predictor")
        self._work: asyncio.Task[None] | None = None

    async def predict(self, image: Slice) -> Detections:
        """Raises what the predictor raises for this image."""
        place = (image, asyncio.get_running_loop().create_future())
        self._waiting.append(place)
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._run())
        try:
            return await place[1]
        finally:  # a request that gave up waits no longer
            if place in self._waiting:
                self._waiting.remove(place)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _run(self) -> None:
        while self._waiting:
            units = self._waiting[0][0].units
            batch = [place for place in self._waiting if place[0].units == units][: self.largest]
            for place in batch:
                self._waiting.remove(place)
            await self._predict(batch, units)

    async def _predict(self, batch: list[tuple[Slice, asyncio.Future[Detections]]], units: Units) -> None:
        images = [image.pixels_HW for image, _ in batch]
        try:
            loop = asyncio.get_running_loop()
            found = await loop.run_in_executor(self._thread, self.predictor.predict, images, units)
            answers = list(zip(batch, found, strict=True))
        except Exception as error:
            if len(batch) > 1:
                for place in batch:
                    await self._predict([place], units)
            elif not batch[0][1].done():
                batch[0][1].set_exception(error)
            return
        for (_, future), one in answers:
            if not future.done():  # its request may have given up
                future.set_result(one)

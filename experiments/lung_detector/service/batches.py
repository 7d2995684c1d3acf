"""A limit of concurrent requests, and the batches in which their images reach the predictor."""

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

if TYPE_CHECKING:  # the service itself does not need torch
    from experiments.lung_detector.predictor import Detections, Units


class Predicts(Protocol):
    """The part of `Predictor` that the service needs (option --predictor names another class)."""

    classes: tuple[str, ...]

    def predict(self, images: Sequence[np.ndarray], units: Units) -> Sequence[Detections]:
        """Predict the boxes of slices.

        Args:
            images: Slices (H, W).
            units: Units of all slices.

        Returns:
            The boxes of each slice.
        """


class Places:
    """A limit of requests that wait or are predicted at the same time.

    Args:
        count: The limit.
    """

    def __init__(self, count: int) -> None:
        self.count, self.taken = count, 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Occupy a place for the duration of the context.

        Yields:
            None, while the place is occupied.

        Raises:
            Refusal: 429 if all places are taken.
        """
        if self.taken >= self.count:
            raise Refusal(429, f"{self.count} requests at work", "a free place", "send it again in a second")
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1


class Memory:
    """A limit of bytes that all uploads together hold, so that many slow ones do not fill the memory.

    Args:
        most: The limit.
    """

    def __init__(self, most: int) -> None:
        self.most, self.taken = most, 0

    @contextmanager
    def share(self) -> Iterator[Share]:
        """Hold the bytes of one upload for the duration of the context.

        Yields:
            The share, which counts them.
        """
        held = Share(self)
        try:
            yield held
        finally:
            self.taken -= held.taken


class Share:
    """The bytes of one upload.

    Args:
        memory: The limit of all.
    """

    def __init__(self, memory: Memory) -> None:
        self.memory, self.taken = memory, 0

    def take(self, count: int) -> None:
        """Count further bytes.

        Args:
            count: Their number.

        Raises:
            Refusal: 429 if all uploads together hold too many.
        """
        if self.memory.taken + count > self.memory.most:
            raise Refusal(429, "too many uploads at a time", "a less busy service", "send it again in a while")
        self.memory.taken += count
        self.taken += count


class Batches:
    """Images that arrive while the predictor is busy are predicted together, all of one batch in the same units.

    A batch is not delayed until it is full. One thread predicts. If a batch fails, its images are predicted one by one,
    so that no request fails because of another one.

    Args:
        predictor: The predictor.
        largest: Maximum number of images of a batch.
    """

    def __init__(self, predictor: Predicts, largest: int) -> None:
        self.predictor, self.largest = predictor, largest
        self._waiting: deque[tuple[Slice, asyncio.Future[Detections]]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="predictor")
        self._work: asyncio.Task[None] | None = None

    async def predict(self, image: Slice) -> Detections:
        """Predict an image as part of the next batch.

        Args:
            image: The slice.

        Returns:
            Its boxes.

        Raises:
            Exception: As the predictor raises for this image.
        """
        place = (image, asyncio.get_running_loop().create_future())
        self._waiting.append(place)
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._run())
        try:
            return await place[1]
        finally:  # a cancelled request must not be predicted
            if place in self._waiting:
                self._waiting.remove(place)

    def close(self) -> None:
        """Stop the thread; images that wait are dropped."""
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
            if not future.done():  # its request may have been cancelled
                future.set_result(one)

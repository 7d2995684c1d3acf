"""Which images reach the predictor together, and what the failure of one does to the others."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence

import numpy as np
import pytest

from experiments.lung_detector.service.batches import Batches, Places
from experiments.lung_detector.service.images import Slice
from experiments.lung_detector.service.refusal import Refusal
from nas.errors import NASError
from tests.service.bright_spots import Spots

NONE = (np.zeros((0, 4), np.float32), np.zeros(0, np.float32))


class Recorder:
    """Answers with an image's first value as its label, a negative one with an error; notes every batch.

    The first batch waits for `go`, so that others gather behind it.
    """

    classes = ("a",)

    def __init__(self) -> None:
        self.batches: list[tuple[str, list[float]]] = []
        self.go = threading.Event()

    def predict(self, images: Sequence[np.ndarray], units: str) -> list[Spots]:
        values = [float(image[0, 0]) for image in images]
        self.batches.append((units, values))
        assert self.go.wait(100)
        if min(values) < 0:
            raise NASError("a negative value", "none", "send another")
        return [Spots(*NONE, (str(value),)) for value in values]


def image(value: float, units: str = "hu") -> Slice:
    return Slice(np.full((2, 2), value, dtype=np.float32), units)


def run(largest: int, use: Callable[[Batches, Recorder], Awaitable[None]]) -> Recorder:
    recorder = Recorder()

    async def all_of_it() -> None:
        batches = Batches(recorder, largest)
        try:
            await use(batches, recorder)
        finally:
            recorder.go.set()
            batches.close()

    asyncio.run(all_of_it())
    return recorder


async def started(batches: Batches, image: Slice) -> asyncio.Task:
    task = asyncio.create_task(batches.predict(image))
    await asyncio.sleep(0)
    return task


def test_images_that_wait_go_together_and_each_gets_its_own_answer() -> None:
    async def use(batches: Batches, recorder: Recorder) -> None:
        tasks = [await started(batches, image(k)) for k in range(8)]
        await asyncio.sleep(0.05)  # the first is with the predictor
        recorder.go.set()
        assert [found.labels for found in await asyncio.gather(*tasks)] == [(str(float(k)),) for k in range(8)]

    recorder = run(4, use)
    assert sorted(value for _, values in recorder.batches for value in values) == list(range(8))
    assert max(len(values) for _, values in recorder.batches) == 4
    assert len(recorder.batches) <= 3


def test_units_are_not_mixed() -> None:
    async def use(batches: Batches, recorder: Recorder) -> None:
        recorder.go.set()
        tasks = [await started(batches, image(k, "hu" if k % 3 else "grey")) for k in range(9)]
        await asyncio.gather(*tasks)

    for units, values in run(8, use).batches:
        assert {("hu" if value % 3 else "grey") for value in values} == {units}


def test_one_bad_image_fails_alone() -> None:
    async def use(batches: Batches, recorder: Recorder) -> None:
        tasks = [await started(batches, image(value)) for value in (0, 1, -2, 3)]
        recorder.go.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(answers[2], NASError)
        assert [answers[k].labels for k in (0, 1, 3)] == [("0.0",), ("1.0",), ("3.0",)]

    run(8, use)


def test_a_request_that_gave_up_is_not_predicted() -> None:
    async def use(batches: Batches, recorder: Recorder) -> None:
        tasks = [await started(batches, image(k)) for k in range(4)]
        await asyncio.sleep(0.05)
        tasks[2].cancel()
        await asyncio.sleep(0.01)
        recorder.go.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(answers[2], asyncio.CancelledError)
        assert (await batches.predict(image(9))).labels == ("9.0",)

    assert 2.0 not in [value for _, values in run(1, use).batches for value in values]


def test_places_are_counted_and_given_back() -> None:
    places = Places(2)
    with places.one(), places.one(), pytest.raises(Refusal, match="2 requests at work") as refused, places.one():
        pass
    assert refused.value.status == 429
    assert places.taken == 0

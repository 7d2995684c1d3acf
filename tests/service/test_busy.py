"""A slow predictor and slow clients: 429 where there is no place or no answer in time, 408 for a slow upload."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.service.files import slice_png
from tests.service.server import KEY, Server
from tests.service.test_http import refused

pytestmark = pytest.mark.slow
HEADERS = {"X-API-Key": KEY}


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """6 s for an image, one at a time; three places; 10 s for an answer and 5 s for an upload. On a busy machine
    too all requests have arrived before the first is answered."""
    words = ("--batch", "1", "--places", "3", "--answer-seconds", "10", "--upload-seconds", "5")
    started = Server(tmp_path_factory.mktemp("slow"), *words, seconds=6)
    yield started
    started.stop()


def post(url: str) -> httpx.Response:
    return httpx.post(f"{url}/predict", files={"file": slice_png()}, headers=HEADERS, timeout=200)


def test_more_requests_than_places_and_time(slow: Server) -> None:
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(post, [slow.url] * 8))
    refusals = [answer for answer in answers if answer.status_code == 429]
    assert [answer.status_code for answer in answers if answer not in refusals] == [200]
    for answer in refusals:
        refused(answer, 429)
        assert answer.headers["retry-after"] == "1"
    full = [answer for answer in refusals if "3 requests at work" in answer.text]
    late = [answer for answer in refusals if "no free predictor in 10 s" in answer.text]
    assert (len(full), len(late)) == (5, 2)
    end = time.monotonic() + 200
    while httpx.get(f"{slow.url}/health", timeout=60).json()["at_work"] > 0:  # an image that was begun is predicted
        assert time.monotonic() < end, "places are not given back"
        time.sleep(0.1)
    assert post(slow.url).status_code == 200


def test_an_upload_that_stands_still(slow: Server) -> None:
    host, port = slow.url.removeprefix("http://").split(":")
    head = f"POST /predict HTTP/1.1\r\nHost: {host}\r\nX-API-Key: {KEY}\r\nContent-Type: image/png\r\n"
    with socket.create_connection((host, int(port)), timeout=200) as connection:
        connection.sendall(f"{head}Content-Length: 1000\r\n\r\n".encode() + b"x" * 10)
        answer = b""
        while part := connection.recv(65536):  # to the end: the connection is closed
            answer += part
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"more than 5 s" in answer

"""Bounds of the service: connections, time, memory, chunks; what it logs and where it redirects (E1 to E8)."""

from __future__ import annotations

import asyncio
import http.client
import logging
import socket
import struct
import time
import zlib
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from experiments.lung_detector.serve import main
from experiments.lung_detector.service.batches import Memory
from experiments.lung_detector.service.connections import BoundedConnection, Bounds, PathsOnly, protocol_with
from experiments.lung_detector.service.images import MOST_CHUNKS, Limits, read_slice
from experiments.lung_detector.service.refusal import Refusal
from tests.commands import refused
from tests.service.files import slice_png
from tests.service.server import KEY, Server

GET = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


class Clients(AsyncExitStack):
    """Connections of a test, which are closed at its end."""

    async def connect(self, place: tuple[str, int], limit: int = 2**16) -> tuple[Any, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(*place, limit=limit)
        self.push_async_callback(self._closed, writer)
        return reader, writer

    @staticmethod
    async def _closed(writer: asyncio.StreamWriter) -> None:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


class Answering:
    """An application in this process behind bounded connections: /large answers 8 MB, all others `ok`."""

    def __init__(self, bounds: Bounds) -> None:
        self.protocol = protocol_with(bounds)
        config = uvicorn.Config(_answer, http=self.protocol, log_config=None, timeout_keep_alive=bounds.idle_seconds)
        self.server = uvicorn.Server(config)

    async def __aenter__(self) -> tuple[str, int]:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.task = asyncio.create_task(self.server.serve([self.listener]))
        while not self.server.started:
            await asyncio.sleep(0.01)
        name: tuple[str, int] = self.listener.getsockname()
        return name

    async def __aexit__(self, *_: object) -> None:
        self.server.should_exit = self.server.force_exit = True
        await self.task


async def _answer(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    body = bytes(8 * 2**20) if scope["path"] == "/large" else b"ok"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


async def ended(reader: asyncio.StreamReader, seconds: float = 20) -> bool:
    """Whether the service ends the connection within some time."""
    try:
        await asyncio.wait_for(reader.read(), seconds)
    except asyncio.TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


def test_E1_answers_are_sent_at_once() -> None:
    async def run() -> None:
        served = Answering(Bounds())
        async with served as place, Clients() as clients:
            await clients.connect(place)
            while not served.protocol.all.open:
                await asyncio.sleep(0.01)
            one = next(iter(served.protocol.all.open))
            assert one.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    asyncio.run(run())


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n", GET])
def test_E2_connections_without_a_request_end(sent: bytes) -> None:
    async def run() -> None:
        async with Answering(Bounds(header_seconds=0.3, idle_seconds=1)) as place, Clients() as clients:
            reader, writer = await clients.connect(place)
            writer.write(sent)
            assert await ended(reader)

    asyncio.run(run())


def test_E2_headers_byte_by_byte_end() -> None:
    async def run() -> None:
        async with Answering(Bounds(header_seconds=0.5)) as place, Clients() as clients:
            reader, writer = await clients.connect(place)
            begun = time.monotonic()
            while not reader.at_eof() and time.monotonic() < begun + 20:
                writer.write(b"G")
                await asyncio.sleep(0.05)
                if writer.is_closing() or reader.at_eof() or reader.exception() is not None:
                    break
            assert time.monotonic() < begun + 20

    asyncio.run(run())


def test_E2_the_longest_idle_connection_makes_room() -> None:
    async def run() -> None:
        async with Answering(Bounds(most=3, header_seconds=60)) as place, Clients() as clients:
            idle = [await clients.connect(place) for _ in range(3)]
            await asyncio.sleep(0.1)
            reader, writer = await clients.connect(place)
            writer.write(GET)
            assert (await asyncio.wait_for(reader.readline(), 20)).startswith(b"HTTP/1.1 200")
            assert await ended(idle[0][0])
            assert not await ended(idle[2][0], 0.2)

    asyncio.run(run())


def test_E3_a_client_that_does_not_read_is_cut() -> None:
    async def run() -> None:
        served = Answering(Bounds(read_seconds=0.3))
        async with served as place:
            with socket.create_connection(place) as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.sendall(GET.replace(b"/health", b"/large"))
                end = time.monotonic() + 20
                while not served.protocol.all.unread and time.monotonic() < end:
                    await asyncio.sleep(0.01)
                while served.protocol.all.open and time.monotonic() < end:
                    await asyncio.sleep(0.05)
                assert not served.protocol.all.open
                assert not served.protocol.all.unread

    asyncio.run(run())


def test_E3_unread_answers_are_bounded_together() -> None:
    async def run() -> None:
        served = Answering(Bounds(read_seconds=60, most_unread=20 * 2**20))
        async with served as place:
            with ExitStack() as stack:
                for _ in range(8):
                    connection = stack.enter_context(socket.create_connection(place))
                    connection.sendall(GET.replace(b"/health", b"/large"))
                    await asyncio.sleep(0.05)
                end = time.monotonic() + 20
                while len(served.protocol.all.open) > 3 and time.monotonic() < end:
                    await asyncio.sleep(0.05)
                assert 1 <= len(served.protocol.all.unread) < 8
                assert sum(one.unread_bytes for one in served.protocol.all.unread) <= 20 * 2**20

    asyncio.run(run())


def test_E3_a_client_that_reads_slowly_gets_everything() -> None:
    async def run() -> None:
        async with Answering(Bounds(read_seconds=0.5, least_read=1000)) as place, Clients() as clients:
            reader, writer = await clients.connect(place)
            writer.write(GET.replace(b"/health", b"/large"))
            read = 0
            while read < 8 * 2**20:
                part = await asyncio.wait_for(reader.read(2**19), 20)
                assert part
                read += len(part)
                await asyncio.sleep(0.05)

    asyncio.run(run())


def test_E3_uploads_together_are_bounded() -> None:
    memory = Memory(100)
    with memory.share() as first:
        first.take(60)
        with memory.share() as second, pytest.raises(Refusal, match="too many uploads"):
            second.take(41)
        assert memory.taken == 60
    assert memory.taken == 0


def chunk(name: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


@pytest.mark.parametrize("name", [b"IDAT", b"tEXt", b"teXt"])
def test_E4_a_png_of_empty_chunks(name: bytes) -> None:
    whole = slice_png()
    bomb = whole[:33] + chunk(name) * 1_390_000 + whole[33:]
    begun = time.process_time()
    with pytest.raises(Refusal, match=f"more than {MOST_CHUNKS} chunks"):
        read_slice(bomb, Limits(most_bytes=2**25))
    assert time.process_time() - begun < 1


def test_E4_chunks_besides_the_pixels_are_not_read() -> None:
    whole = slice_png()
    packed = chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(2**26), 9)) + chunk(b"iCCP", b"x\0\0" + bytes(100))
    found = read_slice(whole[:33] + packed + whole[33:], Limits())
    assert (found.pixels_HW == read_slice(whole, Limits()).pixels_HW).all()


@pytest.mark.parametrize("path", ["/predict/", "/health/", "//elsewhere/health", "/docs/", "/static-offline-docs"])
def test_E5_no_redirect_follows_the_host_header(server: Server, path: str) -> None:
    host = server.url.removeprefix("http://")
    for method in ("GET", "POST"):
        with closing(http.client.HTTPConnection(host, timeout=60)) as connection:
            connection.request(method, path, headers={"Host": "evil.example", "X-Forwarded-Host": "evil.example"})
            with connection.getresponse() as answer:
                assert answer.status in (400, 401, 404, 405)
                assert "evil" not in str(answer.headers) + answer.read().decode()


def test_E6_a_refusal_for_the_key_names_the_scheme(server: Server) -> None:
    answer = httpx.post(f"{server.url}/predict", files={"file": slice_png()}, timeout=60)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "APIKey"


def test_E7_no_key_in_the_log(server: Server) -> None:
    for place in (
        f"/health?X-API-Key={KEY}",
        f"/predict?key={KEY}#x",
        f"/{KEY}",
        f"/%{ord(KEY[0]):x}{KEY[1:]}",
        "/a%1b%5b31m",
    ):
        httpx.get(server.url + place, headers={"X-API-Key": KEY}, timeout=60)
    text = server.log.read_text()
    assert "GET /health " in text
    assert KEY not in text
    assert KEY[1:] not in text
    assert "\x1b[31m" not in text


def test_E7_the_filter_of_the_log() -> None:
    record = logging.LogRecord(
        "x", 20, "x", 1, '%s - "%s %s HTTP/%s" %d', ("c", "GET", f"/a?k={KEY}", "1.1", 200), None
    )
    assert PathsOnly(KEY).filter(record)
    assert record.getMessage() == 'c - "GET /a HTTP/1.1" 200'


@pytest.mark.parametrize(
    "name",
    [
        "builtins:int",
        "builtins:open",
        "pickle:Unpickler",
        "json",
        "os:system",
        "nosuch:X",
        "a b",
        "",
        ":",
        "tests.service:x",
    ],
)
def test_E8_a_predictor_of_another_kind(name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code = main([str(tmp_path), "--insecure-local", "--predictor", name])
    refused((code, *capsys.readouterr()), "--predictor")


class Broken:
    """A predictor whose `load` fails in a way of its own."""

    @classmethod
    def load(cls, path: Path, threshold: float) -> Broken:
        raise ZeroDivisionError("no reason")

    def predict(self, images: object, units: object) -> list[object]:
        return []


def test_E8_a_predictor_that_fails_to_load(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code = main([str(tmp_path), "--insecure-local", "--predictor", "tests.service.test_bounds:Broken"])
    refused((code, *capsys.readouterr()), "ZeroDivisionError: no reason")


@pytest.fixture
def crowd() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_E2_health_answers_beside_many_idle_connections(server: Server, crowd: ExitStack) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    before = server.log.stat().st_size
    for number in range(150):
        connection = crowd.enter_context(socket.create_connection((host, int(port))))
        connection.sendall(b"GET / HT" if number % 2 else b"")
    answer = httpx.get(f"{server.url}/health", timeout=30)
    assert answer.status_code == 200
    assert server.log.stat().st_size - before < 10_000


def test_E2_two_services_have_bounds_of_their_own() -> None:
    first, second = protocol_with(Bounds(most=1)), protocol_with(Bounds(most=2))
    assert issubclass(first, BoundedConnection)
    assert (first.all.most, second.all.most) == (1, 2)

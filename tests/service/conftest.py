"""One server for the tests that do not need one of their own."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.service.server import KEY, Server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The service around `BrightSpots`, with a key."""
    started = Server(tmp_path_factory.mktemp("service"), "--max-mb", "2")
    yield started
    started.stop()


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    """A client that sends the key."""
    with httpx.Client(base_url=server.url, headers={"X-API-Key": KEY}, timeout=200) as client:
        yield client

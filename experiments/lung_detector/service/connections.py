"""Connections with bounds on their number, their time and their memory, on top of uvicorn's HTTP/1.1 protocol.

uvicorn itself waits without end for the headers of a new connection and for a client to read its answer.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import unquote

from uvicorn.protocols.http.h11_impl import H11Protocol

from nas.errors import visible

SPARE_FILES = 64  # descriptors of the process besides connections
LONGEST_PATH = 200  # characters of a path in the log
HEADER_BYTES = 16 * 2**10
SEND_BYTES = 2**18  # of the kernel for one connection: with its default of megabytes, slow reading looks like none


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds on connections.

    Attributes:
        most: Number of connections; at the bound the one that has waited longest without a request is closed.
        header_seconds: Longest time from a connection, or the first byte of a further request, to the end of the
            headers.
        idle_seconds: Longest time between two requests of a connection.
        read_seconds: Time in which a client reads at least `least_read` bytes of an answer.
        least_read: See `read_seconds`.
        most_unread: Bytes of all answers that their clients have not read yet; the one that has stood longest is cut.
    """

    most: int = 512
    header_seconds: float = 10.0
    idle_seconds: int = 5
    read_seconds: float = 10.0
    least_read: int = 2**16
    most_unread: int = 64 * 2**20


@dataclass
class Connections:
    """All connections of a service, oldest first.

    Args:
        bounds: Their bounds.
        open: The connections.
        unread: Those with an answer that their client has not read yet, the one that has stood longest first.
    """

    bounds: Bounds
    open: dict[BoundedConnection, None] = field(default_factory=dict)
    unread: dict[BoundedConnection, None] = field(default_factory=dict)

    @property
    def most(self) -> int:
        """The bound on their number, lowered to what this process may open."""
        try:
            import resource  # not on Windows
        except ImportError:
            return self.bounds.most
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return max(1, min(self.bounds.most, files - SPARE_FILES))

    def add(self, new: BoundedConnection) -> None:
        """Take a connection in; close one without a request if there are too many, or else the new one.

        Args:
            new: The connection.
        """
        self.open[new] = None
        if len(self.open) > self.most:
            next((one for one in self.open if one.waits and one is not new), new).drop()

    def limit_unread(self) -> None:
        """Cut answers that clients do not read, the one that has stood longest first, until the rest fits."""
        while self.unread and sum(one.unread_bytes for one in self.unread) > self.bounds.most_unread:
            next(iter(self.unread)).drop()


class BoundedConnection(H11Protocol):
    """A connection that ends if its client sends no request or reads no answer; see `protocol_with`.

    Args:
        *given: Arguments of uvicorn.
        **named: Arguments of uvicorn.
    """

    all: ClassVar[Connections]

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._header_timer: asyncio.TimerHandle | None = None
        self._read_timer: asyncio.TimerHandle | None = None
        self._unread_before = 0

    @property
    def waits(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def unread_bytes(self) -> int:
        """Bytes of the answer that the client has not read."""
        return self.transport.get_write_buffer_size()

    def drop(self) -> None:
        """End the connection at once; what is unread is lost."""
        self._forget()
        self.transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the time of the headers.

        Args:
            transport: The transport of the connection.
        """
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
        self._watch_headers()
        self.all.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers.

        Args:
            exc: Why it was lost; None at its regular end.
        """
        self._forget()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes of the client in.

        Args:
            data: The bytes.
        """
        super().data_received(data)
        self._watch_headers()

    def on_response_complete(self) -> None:
        """Start the time in which the rest of an answer is read."""
        super().on_response_complete()
        self._watch_reader()

    def pause_writing(self) -> None:
        """Start the time in which a client reads, as more is waiting for it than the socket takes."""
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        """Stop that time."""
        super().resume_writing()
        self._stop_reader()

    def _watch_headers(self) -> None:
        if not self.waits or self.transport.is_closing():
            _cancel(self._header_timer)
            self._header_timer = None
        elif self._header_timer is None and self.timeout_keep_alive_task is None:
            self._header_timer = self.loop.call_later(self.all.bounds.header_seconds, self.drop)

    def _watch_reader(self) -> None:
        if self._read_timer is None and self.unread_bytes:
            self._unread_before = self.unread_bytes
            self.all.unread[self] = None
            self._read_timer = self.loop.call_later(self.all.bounds.read_seconds, self._check_reader)
        self.all.limit_unread()

    def _check_reader(self) -> None:
        self._read_timer = None
        if not self.unread_bytes:
            self._stop_reader()
        elif self._unread_before - self.unread_bytes < self.all.bounds.least_read:
            self.drop()
        else:
            self._watch_reader()

    def _stop_reader(self) -> None:
        _cancel(self._read_timer)
        self._read_timer = None
        self.all.unread.pop(self, None)

    def _forget(self) -> None:
        _cancel(self._header_timer)
        self._header_timer = None
        self._stop_reader()
        self.all.open.pop(self, None)


def protocol_with(bounds: Bounds) -> type[BoundedConnection]:
    """Make the class of the connections of one service, for `uvicorn.Config(http=...)`.

    Args:
        bounds: Their bounds.

    Returns:
        The class.
    """
    return type("BoundedConnection", (BoundedConnection,), {"all": Connections(bounds)})


class PathsOnly(logging.Filter):
    """Filter of uvicorn's access log that leaves out query strings, keys and control characters.

    Args:
        key: The key of the service.
    """

    def __init__(self, key: str | None) -> None:
        super().__init__()
        self.key = key

    def filter(self, record: logging.LogRecord) -> bool:
        """Shorten the path of a record.

        Args:
            record: Of the access log: client, method, path, version, status.

        Returns:
            True: the record is logged.
        """
        if isinstance(record.args, tuple) and len(record.args) == 5:
            client, method, path, version, status = record.args
            shown = unquote(str(path).partition("?")[0])
            shown = shown.replace(self.key, "***") if self.key else shown
            record.args = (client, visible(str(method))[:20], visible(shown)[:LONGEST_PATH], version, status)
        return True


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()

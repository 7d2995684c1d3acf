"""Reading of the file in a request's body within a limit of bytes, and closing of connections with an unread body."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress

from fastapi import Request
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from experiments.lung_detector.service.refusal import Refusal

FORM = "multipart/form-data"
AS_THEY_ARE = ("image/png", "application/dicom", "application/octet-stream")
FORM_BYTES = 4096  # of a form besides its file: boundary, names


class _InMemory(MultiPartParser):
    """Parser that keeps files in memory, so that no image of a patient is written to the disk."""

    spool_max_size = sys.maxsize


def _nothing(count: int) -> None:
    """Count nothing."""


async def read_upload(request: Request, most_bytes: int, take: Callable[[int], None] = _nothing) -> bytes:
    """Read the file of a form, or the body itself if its type is PNG or DICOM.

    Args:
        request: The request.
        most_bytes: Maximum size of the file.
        take: Called with the number of bytes of each part; raises a Refusal if the service holds too many.

    Returns:
        The content of the file.

    Raises:
        Refusal: 400 for a broken form, 413 beyond `most_bytes`, 415 for another type of body.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (FORM, *AS_THEY_ARE):
        raise Refusal(415, "a body of another type", f"{FORM}, image/png or application/dicom", "curl -F file=@slice")
    body = _limited(request, most_bytes, FORM_BYTES if kind == FORM else 0, take)
    if kind != FORM:
        return b"".join([chunk async for chunk in body])
    try:
        form = await _InMemory(request.headers, body, max_files=1, max_fields=1).parse()
    except MultiPartException as error:
        raise _no_file(f"a broken form ({error.message})") from error
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise _no_file("a form without a file")
    return await file.read()


def _no_file(got: str) -> Refusal:
    return Refusal(400, got, "one file named `file`", "curl -F file=@slice")


async def _limited(
    request: Request, most_bytes: int, around: int, take: Callable[[int], None]
) -> AsyncGenerator[bytes, None]:
    too_large = Refusal(413, "a larger upload", f"a file of at most {most_bytes} bytes", "send one slice")
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > most_bytes + around:
        raise too_large
    read = 0
    async for chunk in request.stream():
        read += len(chunk)
        if read > most_bytes + around:
            raise too_large
        take(len(chunk))
        yield chunk


class LingeringClose:
    """ASGI middleware that delivers an early answer to a client that is still sending.

    If the connection were closed at once, it would be reset and the answer lost; if the upload were read to its end, an
    endless one would hold the connection. Therefore the rest of the upload is discarded for a limited time, and then
    the connection is closed.

    Args:
        app: The application.
        seconds: Maximum time of discarding.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self.app, self.seconds = app, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        unread = "transfer-encoding" in headers or headers.get("content-length", "0") != "0"

        async def watched_receive() -> Message:
            nonlocal unread
            message = await receive()
            unread = message["type"] == "http.request" and message.get("more_body", False)
            return message

        async def discard() -> None:
            while unread:
                await watched_receive()

        async def lingering_send(message: Message) -> None:
            if unread and message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
            if not unread or message["type"] == "http.response.start" or message.get("more_body"):
                await send(message)
                return
            await send({**message, "more_body": True})
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(discard(), self.seconds)
            await send({"type": "http.response.body"})

        await self.app(scope, watched_receive, lingering_send)

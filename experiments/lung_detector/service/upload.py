"""The file in a request's body, read within a limit of bytes; and how a body that is not read is left behind."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import suppress

from fastapi import Request
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from experiments.lung_detector.service.refusal import Refusal

FORM = "multipart/form-data"
AS_THEY_ARE = ("image/png", "application/dicom", "application/octet-stream")
FORM_BYTES = 4096  # what a form may add to its file: boundary, names


class _InMemory(MultiPartParser):
    """Files of a form stay in memory (their size is limited): no picture of a patient touches the disk."""

    spool_max_size = sys.maxsize


async def read_upload(request: Request, most_bytes: int) -> bytes:
    """The bytes of the form's one `file`, or the body itself where it is sent as PNG or DICOM.

    Raises Refusal: 400 for a broken form, 413 beyond `most_bytes`, 415 for another kind of body.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (FORM, *AS_THEY_ARE):
        raise Refusal(415, "a body of another type", f"{FORM}, image/png or application/dicom", "curl -F file=@slice")
    body = _limited(request, most_bytes, FORM_BYTES if kind == FORM else 0)
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


async def _limited(request: Request, most_bytes: int, around: int) -> AsyncGenerator[bytes, None]:
    too_large = Refusal(413, "a larger upload", f"a file of at most {most_bytes} bytes", "send one slice")
    told = request.headers.get("content-length", "")
    if told.isdigit() and int(told) > most_bytes + around:
        raise too_large
    read = 0
    async for chunk in request.stream():
        read += len(chunk)
        if read > most_bytes + around:
            raise too_large
        yield chunk


class LingeringClose:
    """ASGI middleware: an answer that comes before the upload was read reaches a client that is still sending.

    Closed at once, the connection would be reset and the answer lost; read to its end, an upload without end would
    hold it for ever. So what still comes is thrown away for `seconds` at most, then the connection is closed.
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

        async def throw_away() -> None:
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
                await asyncio.wait_for(throw_away(), self.seconds)
            await send({"type": "http.response.body"})

        await self.app(scope, watched_receive, lingering_send)

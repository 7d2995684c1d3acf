"""The service over HTTP: a real process, a real client, every kind of bad request."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.service.files import PATIENT, deflated_dicom, dicom, png, png_bomb, slice_png
from tests.service.server import KEY, Server

JSON = {"Accept": "application/json"}
SPOT = {"box": [20.0, 10.0, 40.0, 20.0], "score": 1.0, "label": "spot"}


def post(client: httpx.Client, content: bytes, **headers: str) -> httpx.Response:
    return client.post("/predict", files={"file": ("a.bin", content)}, headers=headers)


def refused(answer: httpx.Response, status: int, *words: str) -> None:
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["detail"]
    line = answer.json()["detail"]
    assert len(line.splitlines()) == 1
    assert line.startswith("got ")
    for word in ("; expected ", "; fix: ", *words):
        assert word in line


def chunks(file: bytes) -> list[bytes]:
    """The names of a PNG's chunks."""
    names, at = [], 8
    while at < len(file):
        (length,) = struct.unpack(">I", file[at : at + 4])
        names.append(file[at + 4 : at + 8])
        at += 12 + length
    return names


@pytest.mark.parametrize("content", [slice_png(), dicom()], ids=["png", "dicom"])
def test_boxes_as_json(client: httpx.Client, content: bytes) -> None:
    answer = post(client, content, **JSON)
    assert answer.status_code == 200
    assert answer.json() == {"width": 64, "height": 64, "detections": [SPOT]}
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("content", [slice_png(), dicom()], ids=["png", "dicom"])
def test_a_picture_with_boxes_and_nothing_of_the_patient(client: httpx.Client, server: Server, content: bytes) -> None:
    assert PATIENT.encode() in content
    answer = post(client, content)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    assert set(chunks(answer.content)) == {b"IHDR", b"IDAT", b"IEND"}
    pixels = np.asarray(Image.open(io.BytesIO(answer.content)))
    assert pixels.shape == (64, 64, 3)
    drawn = (pixels != pixels[..., :1]).any(axis=-1)  # boxes have colours, slices do not
    assert drawn[10:20, [20, 39]].all()
    assert drawn[[10, 19], 20:40].all()
    assert not drawn[11:19, 21:39].any()
    assert not drawn[40:].any()
    assert PATIENT not in server.log.read_text()


def test_a_body_that_is_the_file_itself(client: httpx.Client) -> None:
    for kind, content in (("image/png", slice_png()), ("application/dicom", dicom())):
        answer = client.post("/predict", content=content, headers={"Content-Type": kind, **JSON})
        assert answer.json()["detections"] == [SPOT]


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "image/png"),
        ("image/png,application/json", "image/png"),
        ("image/png;q=0.5, application/json", "application/json"),
        ("application/json;q=0.1", "application/json"),
        ("text/html,image/*;q=0.9,*/*;q=0.8", "image/png"),
        ("application/json;q=x", "image/png"),
    ],
)
def test_the_form_that_is_accepted(client: httpx.Client, accept: str, kind: str) -> None:
    assert post(client, slice_png(), Accept=accept).headers["content-type"] == kind


@pytest.mark.parametrize("headers", [{}, {"X-API-Key": ""}, {"X-API-Key": KEY[:-1]}, {"X-API-Key": KEY + "é"}])
def test_no_answer_without_the_key(server: Server, headers: dict[str, str]) -> None:
    sent = {name: value.encode() for name, value in headers.items()}
    url = f"{server.url}/predict"
    for accept in ("*/*", "application/json"):
        answer = httpx.post(url, files={"file": slice_png()}, headers={**sent, "Accept": accept})
        refused(answer, 401, "X-API-Key")
        assert answer.headers["www-authenticate"] == "APIKey"
    refused(httpx.post(url, params={"api-key": KEY, "X-API-Key": KEY}, files={"file": slice_png()}), 401)
    refused(httpx.post(url), 401)


@pytest.mark.parametrize(
    ("status", "word", "content"),
    [
        (415, "neither PNG nor DICOM", b"GIF89a" + bytes(100)),
        (415, "neither PNG nor DICOM", b""),
        (400, "broken PNG", slice_png()[:100]),
        (400, "broken DICOM", dicom()[:-100]),
        (415, "compressed", dicom("1.2.840.10008.1.2.5")),
        (415, "compressed", deflated_dicom()),
        (422, "modality MR", dicom(Modality="MR")),
        (413, "12000 x 12000", png_bomb()),
        (413, "9000 x 9000", dicom(Rows=9000, Columns=9000)),
        (413, "larger upload", bytes(3 * 2**20)),
        (422, "one value", png(np.zeros((40, 40), dtype=np.uint8))),
    ],
)
def test_bad_files(client: httpx.Client, status: int, word: str, content: bytes) -> None:
    for accept in ("image/png", "application/json"):
        refused(post(client, content, Accept=accept), status, word)


def test_bad_forms(client: httpx.Client) -> None:
    kind = "multipart/form-data; boundary=x"
    for body, word in (
        (b"", "without a file"),
        (b"--x\r\nnonsense", "form"),
        (b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\ntext\r\n--x--\r\n', "without a file"),
    ):
        refused(client.post("/predict", content=body, headers={"Content-Type": kind}), 400, word)
    headers = {"Content-Type": "multipart/form-data"}
    refused(client.post("/predict", content=b"--x", headers=headers), 400, "form")
    refused(client.post("/predict", files={"picture": slice_png()}), 400, "without a file")
    refused(client.post("/predict", files=[("file", slice_png()), ("file", slice_png())]), 400, "form")
    refused(client.post("/predict", data={"file": "text"}), 415, "another type")
    assert client.get("/predict").status_code == 405
    assert client.get("/nothing").status_code == 404
    assert client.get("/health/").status_code == 404  # no redirect


@pytest.mark.parametrize("stated", [True, False], ids=["length stated", "chunked"])
def test_an_upload_of_a_terabyte_ends_at_the_limit(client: httpx.Client, server: Server, stated: bool) -> None:
    length, sent = 2**40, 0  # more than goes over a loopback in the seconds for which the service discards an upload

    def body() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(length // 2**20):
            sent += 2**20
            yield bytes(2**20)

    before = server.memory_mb("VmHWM")
    headers = {"Content-Type": "application/dicom"} | ({"Content-Length": str(length)} if stated else {})
    refused(client.post("/predict", content=body(), headers=headers), 413, "larger upload")
    assert sent < length  # the service hung up
    assert server.memory_mb("VmHWM") - before < 30
    assert post(client, slice_png()).status_code == 200


def test_health_page_and_documentation_need_no_key(server: Server) -> None:
    health = httpx.get(f"{server.url}/health").json()
    assert health["status"] == "ok"
    assert health["key_required"] is True
    assert health["classes"] == ["spot", "large spot"]
    page = httpx.get(server.url)
    assert page.headers["content-type"].startswith("text/html")
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    described = httpx.get(f"{server.url}/openapi.json").json()["paths"]
    assert set(described) == {"/predict", "/health"}
    assert set(described["/predict"]["post"]["responses"]) == {"200", "400", "401", "408", "413", "415", "422", "429"}
    documentation = httpx.get(f"{server.url}/docs").text
    assert "://" not in documentation  # nothing is fetched from elsewhere

"""The page in a real browser: a file is dropped on it, and boxes are seen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.programs import missing
from tests.service.browser import CHROMIUM, Browser
from tests.service.files import dicom
from tests.service.server import KEY, Server

pytestmark = pytest.mark.slow
MESSAGE = "document.getElementById('message').textContent"
SHOWN = "!document.getElementById('result').hidden"


@pytest.fixture
def page(server: Server, tmp_path: Path) -> Iterator[Browser]:
    if CHROMIUM is None:
        missing("Chromium", "chromium")
    browser = Browser(tmp_path / "profile")
    try:
        browser.open(server.url)
        browser.until("!document.getElementById('key-row').hidden")
        yield browser
    finally:
        browser.close()


def test_a_slice_dropped_on_the_page_comes_back_with_boxes(page: Browser, tmp_path: Path) -> None:
    path = tmp_path / "slice.dcm"
    path.write_bytes(dicom())
    page.drop(path, "#drop")
    page.until(f"{MESSAGE}.includes('X-API-Key')")  # no key was given yet
    assert not page.script(SHOWN)

    page.script(f"document.getElementById('key').value = '{KEY}'")
    page.drop(path, "#drop")
    page.until(SHOWN)
    assert page.script(MESSAGE).startswith("1 detection in 64 × 64 pixels")
    cells = "[...document.querySelectorAll('#table td')].map((cell) => cell.textContent)"
    assert page.script(cells) == ["spot", "1.000", "20, 10 – 40, 20"]
    colour = """(() => {
      const picture = document.getElementById('picture'), canvas = document.createElement('canvas');
      canvas.width = picture.naturalWidth; canvas.height = picture.naturalHeight;
      const pen = canvas.getContext('2d');
      pen.drawImage(picture, 0, 0);
      return [[20, 15], [50, 50]].map(([x, y]) => [...pen.getImageData(x, y, 1, 1).data]);
    })()"""
    edge, lung = page.script(colour)
    assert len(set(edge[:3])) == 3  # a box has a colour
    assert len(set(lung[:3])) == 1  # the slice has none

    (tmp_path / "broken.png").write_bytes(b"no picture")
    page.drop(tmp_path / "broken.png", "#drop")
    page.until(f"{MESSAGE}.includes('neither PNG nor DICOM')")
    assert not page.script(SHOWN)


def test_the_documentation_is_shown_without_a_network(page: Browser, server: Server) -> None:
    page.open(f"{server.url}/docs")
    page.until("document.body.innerText.includes('Detect tumours in one PNG or DICOM slice')")

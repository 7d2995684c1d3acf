"""The site that `make docs` writes: every public name, nothing from the internet, a search without a server."""

from __future__ import annotations

import os
import re
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest

from docs.hooks import api_pages, on_page_markdown, public
from tests.conftest import REPO
from tests.processes import run_python
from tests.service.browser import CHROMIUM, Browser

LOADED = {"script": "src", "link": "href", "img": "src", "iframe": "src"}


class Addresses(HTMLParser):
    """Addresses that a browser loads with a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in LOADED and values.get("rel") not in ("canonical", "prev", "next"):
            self.found.append(values.get(LOADED[tag]) or "")


def test_every_export_has_an_entry_in_the_api_reference() -> None:
    listed = {package: set(names) for package, _, names in public()}
    for package, names in listed.items():
        module = import_module(package)
        exported = set(getattr(module, "__all__", names))
        assert names == exported, package
    every = {path.parent for name in ("nas", "search_spaces") for path in (REPO / name).rglob("__init__.py")}
    lazy = {path for path in every if "__all__" in (path / "__init__.py").read_text()}
    assert {".".join(path.relative_to(REPO).parts) for path in lazy} <= set(listed)
    text = "".join(api_pages().values())
    assert "::: nas.SearchSpace\n" in text


@pytest.mark.slow
def test_the_site_is_complete_and_works_offline(tmp_path: Path) -> None:
    """`mkdocs build` is strict: a broken link or anchor and a page outside the navigation are errors."""
    site = tmp_path / "site"
    done = run_python("-m", "mkdocs", "build", "--site-dir", str(site), folder=REPO)
    assert done.returncode == 0, done.stderr
    pages = list(site.rglob("*.html"))
    for page in pages:
        for address in Addresses(page.read_text()).found:
            assert not re.match(r"(https?:)?//", address), f"{page.name} loads {address}"
    styles = "".join(path.read_text() for path in (site / "assets").rglob("*.css"))
    assert not re.search(r"url\(['\"]?(https?:)?//", styles)
    if CHROMIUM is None:
        if os.environ.get("VOXNAS_NO_SKIPS"):
            raise AssertionError("chromium is missing")
        pytest.skip("needs chromium")
    browser = Browser(tmp_path / "profile", 1280, 900)
    try:
        browser.open((site / "index.html").as_uri())
        browser.script(
            "(() => {document.querySelector('label[for=__search]').click();"
            "const field = document.querySelector('.md-search__input'); field.focus(); field.value = 'latency table';"
            "field.dispatchEvent(new Event('input')); field.dispatchEvent(new KeyboardEvent('keyup'))})()"
        )
        browser.until("document.querySelector('.md-search-result__link') !== null")
        first = browser.script("document.querySelector('.md-search-result__link').href")
    finally:
        browser.close()
    assert "latency" in first


def test_links_that_leave_the_documentation_and_intervals_before_notes() -> None:
    page = SimpleNamespace(file=SimpleNamespace(src_uri="how-to/outputs.md"))
    text = (
        "[a](../../README.md#install) [`nas/space.py`](../../nas/space.py) [the space](../../nas/space.py) "
        "[b](../tutorials/search-in-python.ipynb) [c](https://x.org) 0.9 [0.8, 1.0][3] `a[0][1]`\n"
        "```\n[a](../../README.md)\n```"
    )
    assert on_page_markdown(text, page) == (
        "[a](../readme.md#install) `nas/space.py` the space (`nas/space.py`) "
        "[b](../tutorials/search-in-python.md) [c](https://x.org) 0.9 [0.8, 1.0]\\[3] `a[0][1]`\n"
        "```\n[a](../../README.md)\n```"
    )

"""What the README shows is true: its example space, its commands, its files."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from nas.testing import check_space
from tests.conftest import REPO

TEXT = (REPO / "README.md").read_text()


def test_the_example_space_passes_the_conformance_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = re.search(r"```python\n(.*?)```", TEXT, re.S)
    assert code is not None
    (tmp_path / "readme_space.py").write_text(code.group(1))
    monkeypatch.syspath_prepend(str(tmp_path))
    import readme_space

    try:
        space = readme_space.PlainSpace()
        check_space(space)
        every = space.enumerate()
        assert every is not None
        assert len(every) == 12
    finally:
        del sys.modules["readme_space"]


def test_every_linked_file_exists() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", TEXT)
    assert links
    assert all((REPO / link).exists() for link in links if not link.startswith("http"))


def test_every_component_of_conf_is_named() -> None:
    for group in ("space", "strategy", "data"):
        for path in (REPO / "conf" / group).glob("*.yaml"):
            assert f"`{path.stem}`" in TEXT, path

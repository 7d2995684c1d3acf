"""Fixtures that many tests share: real data at hand, small stores."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.commands import Command

REPO = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets; tests that need it are skipped where it is not at hand."""
    path = Path(os.environ.get("VOXNAS_DATA", REPO.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"no real data at {path} (set VOXNAS_DATA)")
    return path


@pytest.fixture(scope="session")
def data_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for prepared stores that all tests of one worker share."""
    return tmp_path_factory.mktemp("data_cache")


@pytest.fixture
def command(
    tmp_path: Path, data_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> Command:
    """Runs `run_search.main` and its like in a folder of the test's own."""
    return Command(tmp_path, data_cache, monkeypatch, capsys)

"""Fixtures that many tests share: real data at hand, small stores."""

from __future__ import annotations

import os
import pickle
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import pytest
from filelock import FileLock

if TYPE_CHECKING:  # imported by the fixtures: few tests need the commands and all that these import
    from nas.data.source import Source
    from nas.data.store import VolumeStore
    from tests.commands import Command

REPO = Path(__file__).resolve().parents[1]
T = TypeVar("T")
os.environ.pop("COLUMNS", None)  # xdist sets it; commands then print for a terminal of that width


class MakeOnce(Protocol):
    def __call__(self, name: str, make: Callable[[Path], T]) -> T: ...


with suppress(ImportError):
    # OpenVINO logs by absl where TensorBoard has brought it. Hydra closes all handlers, and this one closes its stream,
    # which would be the file that pytest captures into.
    from absl.logging import get_absl_handler

    get_absl_handler().python_handler.stream = sys.__stderr__


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets; tests that need it are skipped where it is not at hand."""
    path = Path(os.environ.get("VOXNAS_DATA", REPO.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"no real data at {path} (set VOXNAS_DATA)")
    return path


@pytest.fixture(scope="session")
def data_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for prepared stores that the tests of all workers share. A test that changes a store copies it first.

    Each store is prepared under a lock, so that a worker waits for a store that another one is preparing.
    """
    from nas.data.source import Source

    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "data_cache"
    folder.mkdir(exist_ok=True)
    prepare = Source.prepare

    def prepare_once(source: Source) -> VolumeStore:
        if Path(source.cache_dir) != folder:
            return prepare(source)
        with FileLock(folder / f"{source.name}.lock"):
            return prepare(source)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Source, "prepare", prepare_once)
        yield folder


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> MakeOnce:
    """Makes what the tests of all workers share: `made_once(name, make)` is the result of `make(folder)`.

    One worker calls `make` with a new folder; its result is kept as a pickle, and the others read it.
    """
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def make_once(name: str, make: Callable[[Path], T]) -> T:
        kept = base / f"{name}.pickle"
        with FileLock(base / f"{name}.lock"):
            if not kept.exists():
                shutil.rmtree(base / name, ignore_errors=True)
                (base / name).mkdir()
                kept.write_bytes(pickle.dumps(make(base / name)))
        return pickle.loads(kept.read_bytes())  # type: ignore[no-any-return]

    return make_once


@pytest.fixture
def command(
    tmp_path: Path, data_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> Command:
    """Runs `run_search.main` and its like in a folder of the test's own."""
    from tests.commands import Command

    return Command(tmp_path, data_cache, monkeypatch, capsys)


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with finished results, see `tests/results.py`; tests must not change it."""
    from tests.results import write_results

    return write_results(tmp_path_factory.mktemp("results"))


@pytest.fixture
def place(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `results`, which is the working directory."""
    copy = Path(shutil.copytree(results, tmp_path / "results"))
    monkeypatch.chdir(copy)
    return copy


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a small table for `voxnas tables`, in an empty working folder."""
    from tests import paper_tables

    paper_tables.calls.clear()
    paper_tables.interrupt_at.clear()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VOXNAS_DATA", raising=False)
    path = tmp_path / "small.yaml"
    path.write_text(paper_tables.SMALL)
    return path

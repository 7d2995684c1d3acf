"""The one-way street of imports, read from the sources."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPO

CORE_FOR_SPACES = {
    "nas.architecture",
    "nas.space",
    "nas.supernets.base",
    "nas.tasks.base",
    "nas.errors",
    "nas.utils.checked",
}
STORE = {"study.py", "store.py", "leases.py", "journal_file.py"}  # where Optuna may be known, beside the strategies
OWN = ("nas", "search_spaces", "experiments", "run_search", "run_train", "conf", "tests", "benchmarks")


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def sources(folder: str) -> list[Path]:
    paths = sorted((REPO / folder).rglob("*.py"))
    assert paths
    return paths


def package(module: str) -> str:
    return module.partition(".")[0]


@pytest.mark.parametrize("path", sources("nas"), ids=lambda p: str(p.relative_to(REPO)))
def test_nas_imports_no_space_no_experiment_no_hydra(path: Path) -> None:
    used = {package(module) for module in imports(path)}
    assert not used & {"search_spaces", "experiments", "conf", "run_search", "run_train", "hydra"}
    if "optuna" in used:
        assert path.parent == REPO / "nas/strategies" or path.name in STORE


@pytest.mark.parametrize("path", sources("search_spaces"), ids=lambda p: str(p.relative_to(REPO)))
def test_spaces_import_only_the_core(path: Path) -> None:
    used = {module for module in imports(path) if package(module) in OWN}
    assert {module for module in used if package(module) == "nas"} <= CORE_FOR_SPACES
    assert {package(module) for module in used} <= {"nas", "search_spaces"}


@pytest.mark.parametrize("path", sources("nas") + sources("search_spaces"), ids=lambda p: str(p.relative_to(REPO)))
def test_library_code_does_not_print(path: Path) -> None:
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    assert not [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]


def test_the_mains_stay_small() -> None:
    for name in ("run_search.py", "run_train.py"):
        assert len((REPO / name).read_text().splitlines()) <= 45


def test_importing_the_packages_loads_neither_readers_nor_servers() -> None:
    """`import nas, search_spaces` works without the optional extras and starts nothing."""
    code = (
        "import nas.search, nas.artifact, search_spaces.naslung, sys;"
        "print([m for m in ('SimpleITK', 'pydicom', 'monai', 'visdom', 'hydra', 'nibabel') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout.strip() == "[]"

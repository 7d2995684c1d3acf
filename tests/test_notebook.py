"""The notebooks of docs/: their cells run in order, and show what they should."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from nas.data.sources.lidc_shapes import LidcShapes
from tests.conftest import REPO

TUTORIALS = REPO / "docs/tutorials"
NOTEBOOKS = sorted(TUTORIALS.glob("*.ipynb"))


def cells(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text())["cells"]
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_holds_no_outputs(path: Path) -> None:
    code = [cell for cell in cells(path) if cell["cell_type"] == "code"]
    assert code
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


def run_cells(path: Path) -> tuple[dict[str, Any], list[Any]]:
    """Runs the cells in one process and in order, without IPython; a last expression is what a cell shows."""
    names: dict[str, Any] = {}
    shown = []
    for cell in cells(path):
        if cell["cell_type"] != "code":
            continue
        tree = ast.parse("".join(cell["source"]))
        last = ast.Expression(tree.body.pop().value) if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, path.name, "exec"), names)
        if last is not None:
            shown.append(eval(compile(last, path.name, "eval"), names))
    return names, shown


@pytest.fixture
def home(tmp_path: Path, data_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with the nodules prepared, and with the tables of the repository."""
    LidcShapes(str(data_cache), size=16, spacing_mm=2.0).prepare()
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs/data").symlink_to(data_cache)
    (tmp_path / "benchmarks").symlink_to(REPO / "benchmarks")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_a_search(home: Path) -> None:
    names, shown = run_cells(TUTORIALS / "search-in-python.ipynb")
    assert shown[0][0] == len(names["data"])
    html = [one._repr_html_() for one in shown if hasattr(one, "_repr_html_")]
    assert len(html) == 4  # the search, its table, the chosen network, the table of the training
    assert shown[-1].shape == (3, 2)
    assert (home / "outputs/notebook/arch.json").is_file()
    assert (home / "outputs/notebook/train/result.json").is_file()


@pytest.mark.slow
def test_a_comparison(home: Path) -> None:
    names, shown = run_cells(TUTORIALS / "compare-in-python.ipynb")
    networks, verdicts, written = shown
    assert networks == 671
    assert len(names["jobs"]) == 6
    assert len(verdicts) == 2  # of the score and of the hypervolume
    assert all("pop" in verdict and "3 seeds" in verdict for verdict in verdicts)
    assert written == ["compare.html", "sweep.csv"]
    assert "<svg" in (home / "outputs/compared/compare.html").read_text()

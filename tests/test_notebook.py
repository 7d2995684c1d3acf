"""The notebook of docs/: its cells run in order, and show what they should."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from nas.data.sources.lidc_shapes import LidcShapes
from tests.conftest import REPO

NOTEBOOK = REPO / "docs/tutorials/search-in-python.ipynb"
CELLS = json.loads(NOTEBOOK.read_text())["cells"]


def test_the_notebook_holds_no_outputs() -> None:
    code = [cell for cell in CELLS if cell["cell_type"] == "code"]
    assert code
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


@pytest.mark.slow
def test_the_cells_run(tmp_path: Path, data_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one process and in order, without IPython; a last expression is what a cell shows."""
    LidcShapes(str(data_cache), size=16, spacing_mm=2.0).prepare()
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs/data").symlink_to(data_cache)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    shown = []
    for cell in CELLS:
        if cell["cell_type"] != "code":
            continue
        tree = ast.parse("".join(cell["source"]))
        last = ast.Expression(tree.body.pop().value) if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, NOTEBOOK.name, "exec"), names)
        if last is not None:
            shown.append(eval(compile(last, NOTEBOOK.name, "eval"), names))
    assert shown[0][0] == len(names["data"])
    html = [one._repr_html_() for one in shown if hasattr(one, "_repr_html_")]
    assert len(html) == 4  # the search, its table, the chosen network, the table of the training
    assert shown[-1].shape == (3, 2)
    assert (tmp_path / "outputs/notebook/arch.json").is_file()
    assert (tmp_path / "outputs/notebook/train/result.json").is_file()

"""The README is true: its commands run, its Python has the right arguments, its links and names exist."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nas
import search_spaces
from nas.testing import check_space
from tests.conftest import REPO
from tests.documents import check_command, commands, links
from tests.formats import check_files
from tests.own_volumes import ball, write_volumes
from tests.processes import run_python

TEXT = (REPO / "README.md").read_text()
COMMANDS = commands(TEXT)
INSTALLING = ("make", "pip")  # these make environments: `make demo` runs the two commands of the quick start
SEARCH = ("space.widths=[4,8]", "space.max_depth=4", "study.trials=1", "training.epochs=1", "training.batch_size=128")
TRAIN = (
    "training.epochs=1",
    "training.batch_size=128",
    "rounds=1",
    "resamples=50",
    "baselines.random_search=false",
    "baselines.published=null",
    "baselines.volume=false",
    "baselines.features=false",
)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_commands_are_valid(words: list[str]) -> None:
    check_command(words)


def test_make_demo_comes_first_and_make_test_second() -> None:
    assert COMMANDS[:2] == [["make", "demo"], ["make", "test"]]


def test_at_most_120_lines() -> None:
    assert len(TEXT.splitlines()) <= 120


@pytest.mark.slow
def test_the_commands_run(tmp_path: Path, data_cache: Path) -> None:
    """In the order of the README, in one folder, with fewer trials and epochs; the first ones are those of the tutorial
    of the first search."""
    write_volumes(tmp_path)
    np.save(tmp_path / "nodule.npy", 255 * ball(16, 5))
    ran, said = [], ""
    for program, name, *rest in COMMANDS:
        if program in INSTALLING:
            continue
        more = {"search": (*SEARCH, f"data_cache={data_cache}"), "train": (*TRAIN, f"data_cache={data_cache}")}
        said += _run(tmp_path, [name, *rest, *more.get(name, ())])
        ran.append(name)
    assert ran == ["search", "train", "export", "predict", "search"]
    assert (tmp_path / "outputs/train/demo/export/model.onnx").is_file()
    assert "probabilities" in (tmp_path / "nodule.json").read_text()
    assert "Pareto front of 1 trained network" in said
    counts = check_files(tmp_path / "outputs")
    assert min(counts[name] for name in ("arch", "model", "result", "study")) > 0


def _run(folder: Path, words: Sequence[str]) -> str:
    done = run_python("-m", "experiments.commands.voxnas", *words, folder=folder)
    assert done.returncode == 0, f"voxnas {' '.join(words)}\n{done.stderr}"
    return done.stdout


def test_the_python_quick_start_passes_known_arguments() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    names: dict[str, Any] = {"nas": nas, "NASLungSpace": search_spaces.NASLungSpace}
    checked = set()
    for call in (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)):
        path = ast.unparse(call.func).split(".")
        if path[0] not in names or "(" in ast.unparse(call.func):
            continue
        function = names[path[0]]
        for name in path[1:]:
            function = getattr(function, name)
        inspect.signature(function).bind_partial(*call.args, **{str(word.arg): None for word in call.keywords})
        checked.add(".".join(path))
    assert {"nas.Problem.of", "nas.run_search", "nas.retrain", "nas.evaluators.Train", "NASLungSpace"} <= checked


def test_the_example_space_passes_the_conformance_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (REPO / "docs/tutorials/add-a-space.md").read_text()
    code = re.search(r"```python\n(.*?)```", page, re.S)
    assert code is not None
    (tmp_path / "readme_space.py").write_text(code.group(1))
    monkeypatch.syspath_prepend(str(tmp_path))
    import readme_space

    try:
        space = readme_space.PlainnetsSpace()
        check_space(space)
        every = space.enumerate()
        assert every is not None
        assert len(every) == 18
    finally:
        del sys.modules["readme_space"]


def test_every_linked_file_exists() -> None:
    found = links(TEXT)
    assert found
    assert all((REPO / link.partition("#")[0]).exists() for link in found)


def test_every_component_of_conf_is_named() -> None:
    for group in ("space", "strategy", "data"):
        for path in (REPO / "conf" / group).glob("*.yaml"):
            assert f"`{path.stem}`" in TEXT, path

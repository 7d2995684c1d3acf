"""No setting of conf/ is without effect: every key is read by the code, beside being kept under its own name."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

from tests.conftest import REPO

FOLDERS = ("nas", "search_spaces", "experiments")
OF_HYDRA = {"defaults", "hydra"}
FREE = {"choices", "objectives", "space_changes"}  # keys of these are names of metrics and of arguments
TABLES = "table"  # files of `voxnas tables`, whose keys pydantic checks


def keys(settings: Any, free: bool = False) -> Iterator[str]:
    """Every key of nested settings that names a setting."""
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            if not free and key not in OF_HYDRA and not key.startswith("_"):
                yield key
            if key not in OF_HYDRA:
                yield from keys(value, free=key in FREE)


def uses(code: str) -> Counter[str]:
    """Number of times that each name is read: as an attribute, a variable or a key, without `self.name = name`."""
    found: Counter[str] = Counter()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            found[node.attr] += 1
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            found[node.id] += 1
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found[node.value.rpartition(".")[2]] += 1
        elif isinstance(node, ast.Assign):
            found.subtract(_kept(node))
    return found


def _kept(node: ast.Assign) -> list[str]:
    """Names of `self.name = name`, also of several in one statement."""
    targets, values = node.targets[:1], [node.value]
    if isinstance(targets[0], ast.Tuple) and isinstance(node.value, ast.Tuple):
        targets, values = targets[0].elts, node.value.elts
    pairs = [(ast.unparse(target), ast.unparse(value)) for target, value in zip(targets, values, strict=False)]
    return [value for target, value in pairs if target == f"self.{value}"]


def test_every_setting_is_read() -> None:
    read: Counter[str] = Counter()
    for folder in FOLDERS:
        for path in (REPO / folder).rglob("*.py"):
            if "templates" not in path.parts:
                read += uses(path.read_text(encoding="utf-8"))
    unused, seen = {}, set()
    for path in sorted((REPO / "conf").rglob("*.yaml")):
        if path.parent.name != TABLES:
            for key in keys(yaml.safe_load(path.read_text(encoding="utf-8"))):
                seen.add(key)
                if read[key.rpartition(".")[2].partition("@")[0]] <= 0:
                    unused[key] = str(path.relative_to(REPO))
    assert len(seen) > 150
    assert unused == {}


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ("def __init__(self, x):\n self.x = x", 0),
        ("def __init__(self, x, y):\n self.x, self.y = x, y", 0),
        ("def __init__(self, x):\n self.x = int(x)", 1),
        ("def f(config):\n return config.x", 1),
        ("def f(config):\n return config['x']", 1),
    ],
)
def test_what_is_only_kept_is_not_read(code: str, count: int) -> None:
    assert uses(code)["x"] == count

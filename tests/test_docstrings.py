"""Docstrings of public callables, read from the syntax tree: Args, Returns and Raises in the Google convention."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
CHECKED = ("nas", "search_spaces", "experiments")
SECTION = re.compile(r"^ *(Args|Attributes|Returns|Yields|Raises):$", re.MULTILINE)
Function = ast.FunctionDef | ast.AsyncFunctionDef


def test_public_callables_document_parameters_results_and_errors() -> None:
    missing = []
    for package in CHECKED:
        every = sorted((ROOT / package).rglob("*.py"))
        paths = [path for path in every if "tests" not in path.relative_to(ROOT).parts]  # those of templates
        assert paths
        classes = classes_of(ROOT / "nas") | classes_of(ROOT / package)
        missing += [
            f"{path.relative_to(ROOT)}:{problem}" for path in paths for problem in problems(parse(path), classes)
        ]
    assert not missing, "\n".join(missing)


def classes_of(folder: Path) -> dict[str, ast.ClassDef]:
    return {node.name: node for path in folder.rglob("*.py") for node in parse(path) if isinstance(node, ast.ClassDef)}


@cache
def parse(path: Path) -> list[ast.stmt]:
    return ast.parse(path.read_text()).body


def problems(body: list[ast.stmt], classes: dict[str, ast.ClassDef]) -> Iterator[str]:
    for node in body:
        if isinstance(node, Function) and not node.name.startswith("_"):
            yield from problems_of_function(node, parameters(node))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from problems_of_class(node, classes)


def problems_of_class(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> Iterator[str]:
    text = ast.get_docstring(node) or ""
    methods = {item.name: item for item in node.body if isinstance(item, Function)}
    arguments = parameters(methods["__init__"])[1:] if "__init__" in methods else fields(node)
    yield from undocumented(node.lineno, node.name, arguments, text)
    for name in ("__init__", "__post_init__"):
        if name in methods and raises(methods[name]) and "Raises" not in sections(text):
            yield f"{node.lineno} {node.name} has no Raises"
    inherited = inherited_methods(node, classes)
    for method in methods.values():
        decorators = {ast.unparse(item) for item in method.decorator_list}
        if method.name.startswith("_") or {"property", "cached_property"} & decorators:
            continue
        if method.name in inherited:
            continue
        yield from problems_of_function(method, parameters(method)["staticmethod" not in decorators :])


def problems_of_function(node: Function, arguments: list[str]) -> Iterator[str]:
    text = ast.get_docstring(node) or ""
    if not text:
        yield f"{node.lineno} {node.name} has no docstring"
        return
    yield from undocumented(node.lineno, node.name, arguments, text)
    result = ast.unparse(node.returns) if node.returns else "None"
    if result not in ("None", "NoReturn") and not {"Returns", "Yields"} & set(sections(text)):
        yield f"{node.lineno} {node.name} has no Returns"
    if raises(node) and "Raises" not in sections(text):
        yield f"{node.lineno} {node.name} has no Raises"


def undocumented(line: int, name: str, arguments: list[str], text: str) -> Iterator[str]:
    found = sections(text)
    entries = found.get("Args", "") + found.get("Attributes", "")
    for argument in arguments:
        if not re.search(rf"^ +(\w+, )*\*{{0,2}}{argument}(, \w+)*:", entries, re.MULTILINE):
            yield f"{line} {name} does not document {argument}"


def sections(text: str) -> dict[str, str]:
    """Text of each Google section of a docstring by its name."""
    pieces = SECTION.split(text)
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


def parameters(node: Function) -> list[str]:
    arguments = node.args
    named = [*arguments.posonlyargs, *arguments.args, arguments.vararg, *arguments.kwonlyargs, arguments.kwarg]
    return [item.arg for item in named if item is not None]


def fields(node: ast.ClassDef) -> list[str]:
    """Constructor arguments of a dataclass or a named tuple; empty for other classes."""
    generated = any("dataclass" in ast.unparse(item) for item in node.decorator_list)
    if not generated and "NamedTuple" not in map(ast.unparse, node.bases):
        return []
    annotated = [item for item in node.body if isinstance(item, ast.AnnAssign)]
    public = [item for item in annotated if not ast.unparse(item.target).startswith("_")]
    return [ast.unparse(item.target) for item in public if "ClassVar" not in ast.unparse(item.annotation)]


def raises(node: Function) -> bool:
    """Whether the body, nested functions aside, has a `raise NASError(...)`."""
    pending: list[ast.AST] = list(node.body)
    while pending:
        item = pending.pop()
        if isinstance(item, Function | ast.Lambda):
            continue
        if isinstance(item, ast.Raise) and item.exc is not None and ast.unparse(item.exc).startswith("NASError("):
            return True
        pending += ast.iter_child_nodes(item)
    return False


def inherited_methods(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> set[str]:
    """Names of methods that a base class documents; `forward` is documented by torch's Module."""
    names: set[str] = set()
    for base in (ast.unparse(item).split("[")[0].split(".")[-1] for item in node.bases):
        if base in classes and classes[base] is not node:
            parent = classes[base]
            names |= {item.name for item in parent.body if isinstance(item, Function) and ast.get_docstring(item)}
            names |= inherited_methods(parent, classes)
        elif base == "Module":
            names.add("forward")
    return names

"""Hooks of MkDocs: pages that are not in docs/, notebooks, the API reference, and links that leave docs/.

`mkdocs.yml` names this file under `hooks`, so it imports nothing of the project.
"""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
OUTSIDE = {  # pages of the root of the repository -> where they are on the site
    "README.md": "readme.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
}
PACKAGES = ("nas", "search_spaces")
MODULES = ("nas.bundle", "nas.report")  # public without being exported lazily
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"(^```.*?^```$|`[^`\n]+`)", re.MULTILINE | re.DOTALL)
BRACKETS = re.compile(r"\]( ?)\[")  # an interval and the number of a note, no reference to a link


def on_files(files: Files, config: Any, **_: Any) -> Files:
    """Add the pages that are made while the site is built."""
    for source, name in OUTSIDE.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text(encoding="utf-8")))
    for path in sorted(DOCS.rglob("*.ipynb")):
        name = path.relative_to(DOCS).with_suffix(".md").as_posix()
        files.append(File.generated(config, name, content=notebook(path)))
    for name, text in api_pages().items():
        files.append(File.generated(config, f"reference/api/{name}.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Make links to files outside docs/ links of the site, or plain names; see BRACKETS."""
    source = page.file.src_uri
    home = ROOT if source in OUTSIDE.values() else (DOCS / source).parent

    def changed(found: re.Match[str]) -> str:
        image, label, link = found.groups()
        if re.match(r"\w+:|#", link):
            return found[0]
        name, _, anchor = link.partition("#")
        target = Path(os.path.normpath(home / name))
        inside = target.relative_to(ROOT).as_posix()
        if inside in OUTSIDE:
            path = OUTSIDE[inside]
        elif target.is_relative_to(DOCS):
            path = target.relative_to(DOCS).as_posix().replace(".ipynb", ".md")
        else:
            return f"{label} (`{inside}`)" if label.strip("`") != inside else label
        path = os.path.relpath(path, Path(source).parent)
        return f"{image}[{label}]({path}{'#' if anchor else ''}{anchor})"

    text = outside(FENCE, markdown, lambda part: LINK.sub(changed, part))
    text = CODE.sub(unescaped, text)
    return outside(CODE, text, lambda part: BRACKETS.sub(r"]\1\[", part))


def unescaped(code: re.Match[str]) -> str:
    """Code of a table without the backslash before a line, which GitHub needs and MkDocs would show."""
    return code[0] if code[0].startswith("```") else code[0].replace(r"\|", "|")


def outside(code: re.Pattern[str], text: str, change: Callable[[str], str]) -> str:
    """Change what is no code; `code` has one group, the code."""
    return "".join(part if number % 2 else change(part) for number, part in enumerate(code.split(text)))


def notebook(path: Path) -> str:
    """The cells of a notebook as a page, with a link to the notebook itself."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"]).strip()
        parts.append(f"```python\n{text}\n```" if cell["cell_type"] == "code" else text)
    title, *rest = parts
    return "\n\n".join([title, f"This page is the notebook `docs/{path.relative_to(DOCS).as_posix()}`.", *rest])


def api_pages() -> dict[str, str]:
    """Name of each page of the API reference -> its content: one per package, with all names that it exports."""
    pages, rows = {}, []
    for package, text, names in public():
        body = [f"# {package}", text]
        for name in names:
            heading = f"{package}.{name}"
            options = f"    options:\n      heading: {heading}\n      toc_label: {name}\n      heading_level: 2"
            body.append(f"::: {heading}\n{options}")
        pages[package] = "\n\n".join(body) + "\n"
        rows.append(f"| [{package}]({package}.md) | {text} | {', '.join(f'`{name}`' for name in names)} |")
    head = "# API\n\nAll public names by package. A package imports its names when they are first used."
    pages["index"] = "\n".join([f"{head}\n", "| package | content | names |", "|---|---|---|", *rows]) + "\n"
    return pages


def public() -> Iterator[tuple[str, str, list[str]]]:
    """Every package with exports: its name, the first line of its docstring, and the names, sorted."""
    found = [path for name in PACKAGES for path in sorted((ROOT / name).rglob("__init__.py"))]
    found += [ROOT / f"{module.replace('.', '/')}.py" for module in MODULES]
    for path in found:
        if not path.exists():
            continue
        relative = path.relative_to(ROOT)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = exports(tree) if path.name == "__init__.py" else defined(tree)
        if names:
            package = ".".join((relative.parent if path.name == "__init__.py" else relative.with_suffix("")).parts)
            yield package, (ast.get_docstring(tree) or "").partition("\n")[0], names


def exports(tree: ast.Module) -> list[str]:
    """Names that an `__init__.py` imports to export them; sub-packages, which have pages of their own, left out."""
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return sorted(
        {
            alias.name
            for node in imports
            for alias in node.names
            if node.module not in (None, "nas", "typing", "nas.utils.lazy", "__future__") and "." in str(node.module)
        }
    )


def defined(tree: ast.Module) -> list[str]:
    """Public classes and functions of a module."""
    kinds = (ast.ClassDef, ast.FunctionDef)
    return [node.name for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]

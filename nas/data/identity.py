"""Origin of a prepared store: digests of the source files and of the code that reads them."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import json
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path

from nas.data.io.files import files_of
from nas.utils.files import read_json, write_text
from nas.utils.hashing import digest, file_digest

UNSETTLED_S = 2.0  # a file that changed so recently may change again within the resolution of its time stamp
THREADS = 8
PARSER_LOCK = threading.Lock()  # Python 3.11 counts the recursion depth of parsers in all threads together
CODE = "nas.data."  # modules of VoxNAS that decide the content of a store


class FileDigests:
    """Content digests of files, remembered between runs while size, time of change and inode stay the same.

    The memory holds no paths, because names of medical files may identify patients.

    Args:
        path: The JSON file of the memory. It is written by `save` only; a damaged one is ignored.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, str] = {}
        with suppress(OSError, ValueError):
            self._known = dict(read_json(path))
        self._saved = dict(self._known)

    def of(self, path: Path) -> str:
        """Return the digest of one file.

        Args:
            path: The file.

        Returns:
            The SHA-256 of its content; "" if the file is missing or cannot be read, which its reader reports better.
        """
        try:
            key, settled = self._key(path)
            content = self._known.get(key) or file_digest(path)
        except OSError:
            return ""
        if settled:
            self._known[key] = content
        return content

    def of_all(self, paths: Iterable[Path]) -> list[str]:
        """Return the digests of many files, read by several threads.

        Args:
            paths: The files.

        Returns:
            One digest per file, as `of` gives it.
        """
        with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1), thread_name_prefix="digests") as threads:
            return list(threads.map(self.of, paths))

    def of_volume(self, path: Path) -> str:
        """Return the digest of the content of one volume, whatever its files are called.

        Args:
            path: An image file, or the folder of a DICOM series.

        Returns:
            A digest of all files that `files_of` lists.
        """
        return digest(sorted(map(self.of, files_of(path))))

    def of_volumes(self, paths: Sequence[Path]) -> str:
        """Return the digest of a volume whose channels are in several files.

        Args:
            paths: One file, or one file per channel.

        Returns:
            That of `of_volume` for one file, else a digest of those of all files.
        """
        found = [self.of_volume(path) for path in paths]
        return found[0] if len(found) == 1 else digest(found)

    def save(self) -> None:
        """Write the memory if it has changed; a folder that cannot be written is not an error."""
        if self._known != self._saved:
            with suppress(OSError):
                write_text(self.path, json.dumps(self._known, sort_keys=True))
                self._saved = dict(self._known)

    def _key(self, path: Path) -> tuple[str, bool]:
        stat = path.stat()
        facts = [str(path.resolve()), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
        changed = max(stat.st_mtime, stat.st_ctime)
        return digest(facts)[:32], time.time() - changed > UNSETTLED_S


@cache
def code_digest(*modules: str) -> str:
    """Return the version of the code of some modules of `nas.data` and of those that they import from it.

    Args:
        modules: Names of modules.

    Returns:
        The digest; comments, docstrings and formatting do not count.
    """
    return digest(_code_of(modules, (CODE,)))


@cache
def reader_digest(source: type) -> str:
    """Return the version of the code that reads a data set.

    It is a hash of the code and no number to be raised by hand, because a forgotten number would keep stores with
    errors that were corrected since. Comments, docstrings and formatting do not count. Hashed are the modules of the
    class and of its bases, and what these import from `nas.data` and from the package of the class itself. Not hashed
    are other packages, such as SimpleITK: their updates are not meant to change voxels.

    Args:
        source: The class of a data set.

    Returns:
        The digest; for a class without a source file, such as one typed into a notebook, that of its text.
    """
    own = source.__module__.partition(".")[0] + "."
    prefixes = (CODE,) if own == "nas." else (CODE, own)
    code = _code_of([base.__module__ for base in source.__mro__], prefixes)
    if source.__module__ not in code:
        with suppress(OSError, TypeError):
            code[source.__qualname__] = inspect.getsource(source)
    return digest(code)


def _code_of(modules: Iterable[str], prefixes: tuple[str, ...]) -> dict[str, str]:
    """Return the code of modules whose names begin with a prefix, and of those that they import."""
    waiting = list(modules)
    code: dict[str, str] = {}
    while waiting:
        name = waiting.pop()
        followed = f"{name}.".startswith(prefixes) and name != CODE.rstrip(".")  # which only lists its exports
        if name in code or not followed or (tree := _syntax_tree(name)) is None:
            continue
        waiting.extend(_imported(tree, name))
        code[name] = ast.unparse(_Undocumented().visit(tree))
    return code


class _Undocumented(ast.NodeTransformer):
    """Removes documentation: texts that stand alone as statements, and the rows of docs/reference/limits.md."""

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        return ast.copy_location(ast.Pass(), node) if names == ["LIMITS"] else node

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return ast.copy_location(ast.Pass(), node) if is_text else node


def _syntax_tree(module: str) -> ast.Module | None:
    path = _source_file(module)
    if path is None:
        return None
    with PARSER_LOCK:
        return ast.parse(path.read_bytes())


def _source_file(module: str) -> Path | None:
    origin = getattr(sys.modules.get(module), "__file__", None)
    if origin is None:
        with suppress(ImportError, ValueError, AttributeError):
            spec = importlib.util.find_spec(module)
            origin = None if spec is None else spec.origin
    return Path(origin) if origin is not None and origin.endswith(".py") and Path(origin).is_file() else None


def _imported(tree: ast.Module, module: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = module.rpartition(".")[0]
            name = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            yield name
            yield from (f"{name}.{alias.name}" for alias in node.names)

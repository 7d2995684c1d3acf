"""Systems and Pythons: what exists on Unix or Linux only is used behind a check, and every module is old enough syntax.

One worker and prediction run on Windows and macOS too; without such machines the source itself is checked.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from experiments.commands.voxnas import COMMANDS
from tests.conftest import REPO

SOURCES = sorted(
    [REPO / "run_search.py", REPO / "run_train.py"]
    + [path for name in ("nas", "search_spaces", "experiments", "conf") for path in (REPO / name).rglob("*.py")]
)
OLDEST = (3, 10)
UNIX_MODULES = {"crypt", "fcntl", "grp", "nis", "posix", "pty", "pwd", "resource", "spwd", "syslog", "termios", "tty"}
UNIX_NAMES = {
    "os": {"fork", "forkpty", "getuid", "geteuid", "getgid", "setsid", "killpg", "getpgid", "mkfifo", "nice", "uname"}
    | {"getloadavg", "statvfs", "chown", "sched_getaffinity", "register_at_fork", "sysconf", "wait", "O_NOFOLLOW"},
    "signal": {"SIGALRM", "SIGHUP", "SIGKILL", "SIGUSR1", "SIGUSR2", "SIGSTOP", "SIGCONT", "ITIMER_REAL"}
    | {"alarm", "pause", "setitimer", "pthread_kill", "sigwait"},
}
CHECKS = {"hasattr", "sys.platform", "os.name"}
LINUX_FOLDERS = ("/proc/", "/sys/")
ERRORS = {"/": {"OSError"}, "module": {"ImportError", "ModuleNotFoundError"}, "name": {"AttributeError"}}


def findings(code: str) -> list[str]:
    """Uses of Unix or Linux without a check, and texts that are read or written in the encoding of the machine.

    A module needs a handler of ImportError around its import, a name one of AttributeError or a check of the system in
    the same function, a file of /proc or /sys that is opened a handler of OSError.
    """
    tree = ast.parse(code, feature_version=OLDEST)
    above = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    found = [(node.lineno, text) for node, text in _uses(tree) if not _is_checked(node, text, above)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _of_locale(node):
            found.append((node.lineno, "no encoding"))
        if isinstance(node, ast.Subscript) and _is_new_star(node, code):
            found.append((node.lineno, "a star in an index without parentheses"))
    return [f"line {line}: {text}" for line, text in found]


def _uses(tree: ast.AST) -> Iterator[tuple[ast.stmt | ast.expr, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, f"module {name.name}") for name in node.names if name.name in UNIX_MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in UNIX_MODULES:
            yield node, f"module {node.module}"
        elif isinstance(node, ast.ImportFrom) and node.module in UNIX_NAMES:
            yield from ((node, f"name {name.name}") for name in node.names if name.name in UNIX_NAMES[node.module])
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.attr in UNIX_NAMES.get(node.value.id, ()):
                yield node, f"name {node.value.id}.{node.attr}"
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("Path", "open", "os.readlink", "os.listdir"):
            words = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
            if any(isinstance(word, str) and word.startswith(LINUX_FOLDERS) for word in words):
                yield node, f"/ {ast.unparse(node)}"


def _is_new_star(node: ast.Subscript, code: str) -> bool:
    """Whether an index is written `x[a, *b]`, which needs Python 3.11, and not `x[(a, *b)]`."""
    starred = isinstance(node.slice, ast.Tuple) and any(isinstance(part, ast.Starred) for part in node.slice.elts)
    return starred and not (ast.get_source_segment(code, node.slice) or "").startswith("(")


def _is_checked(node: ast.AST, text: str, above: dict[ast.AST, ast.AST]) -> bool:
    wanted = ERRORS[text.split()[0]]
    child, parent = node, above.get(node)
    while parent is not None:
        if isinstance(parent, ast.Try) and child in parent.body and _caught(parent) & wanted:
            return True
        if isinstance(parent, ast.With) and child in parent.body and wanted & _names(*parent.items):
            return True
        if isinstance(parent, ast.FunctionDef) and text.startswith("name"):
            return any(check in ast.unparse(parent) for check in CHECKS)
        if isinstance(parent, ast.Module):
            return isinstance(child, ast.Assign) and text.startswith("/")  # a constant; its use is what is checked
        child, parent = parent, above.get(parent)
    return False


def _caught(node: ast.Try) -> set[str]:
    return _names(*(handler.type for handler in node.handlers if handler.type is not None))


def _names(*nodes: ast.AST) -> set[str]:
    return {part.id for node in nodes for part in ast.walk(node) if isinstance(part, ast.Name)}


def _of_locale(call: ast.Call) -> bool:
    """Whether a call opens a text without an encoding."""
    if any(keyword.arg == "encoding" for keyword in call.keywords):
        return False
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    owner = ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else ""
    if name in ("read_text", "write_text"):
        return not owner.endswith("distribution") and len(call.args) < (1 if name == "read_text" else 2)
    if name != "open" or owner == "tarfile" or (owner and not owner.endswith(("path", "file", "temporary"))):
        return False  # os.open, Image.open, gzip.open
    modes = [keyword.value for keyword in call.keywords if keyword.arg == "mode"]
    modes += call.args[(0 if owner else 1) :][:1]
    return not any("b" in ast.unparse(mode) for mode in modes)


def test_nothing_needs_unix_without_a_check() -> None:
    found = {str(path.relative_to(REPO)): findings(path.read_text(encoding="utf-8")) for path in SOURCES}
    assert {path: texts for path, texts in found.items() if texts} == {}


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import fcntl", ["line 1: module fcntl"]),
        ("try:\n import resource\nexcept ImportError:\n resource = None", []),
        ("try:\n import resource\nexcept ValueError:\n resource = None", ["line 2: module resource"]),
        ("from os import fork", ["line 1: name fork"]),
        ("def f():\n return os.fork()", ["line 2: name os.fork"]),
        ("def f():\n if hasattr(os, 'fork'):\n  return os.fork()", []),
        ("def f():\n signal.signal(signal.SIGALRM, stop)", ["line 2: name signal.SIGALRM"]),
        ("with suppress(OSError):\n x = Path('/proc/stat').read_bytes()", []),
        ("x = Path('/proc')\ny = Path('/sys/fs')", []),
        ("def f():\n return Path(f'/proc/{pid}/stat').read_bytes()", ["line 2: / Path(f'/proc/{pid}/stat')"]),
        ("x[(a, *b)]\nx[a, *b]", ["line 2: a star in an index without parentheses"]),
        ("path.read_text()\npath.write_text(x)", ["line 1: no encoding", "line 2: no encoding"]),
        (
            "open(p)\nopen(p, 'rb')\nopen(p, encoding='utf-8')\npath.open('w')",
            ["line 1: no encoding", "line 4: no encoding"],
        ),
    ],
)
def test_the_check_finds_what_it_is_for(code: str, found: list[str]) -> None:
    assert findings(code) == found


def test_newer_syntax_than_the_oldest_python_is_found() -> None:
    with pytest.raises(SyntaxError):
        findings("try:\n pass\nexcept* ValueError:\n pass")


def test_every_command_is_among_the_sources() -> None:
    for module, _, _ in COMMANDS.values():
        path = REPO / module.replace(".", "/")
        assert path.with_suffix(".py") in SOURCES or path / "__init__.py" in SOURCES, module

"""Commands without PyTorch and without any other package, on each supported Python that this machine has."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import REPO

MINORS = (10, 11, 12, 13)
COMMANDS = ("study", "predict", "evaluate", "export", "cost", "screen", "doctor", "search", "train")
COMPILE = """
import pathlib, sys
for folder in ("nas", "search_spaces", "experiments", "conf"):
    for path in (pathlib.Path(sys.argv[1]) / folder).rglob("*.py"):
        compile(path.read_text(encoding="utf-8"), str(path), "exec")
"""


def interpreter(minor: int) -> Path | None:
    """Python 3.`minor` of pyenv or of the system."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = sorted(root.glob(f"versions/3.{minor}.*/bin/python3"))
    system = shutil.which(f"python3.{minor}", path="/usr/local/bin:/usr/bin")
    return found[-1] if found else Path(system) if system else None


@pytest.fixture(params=MINORS, ids=lambda minor: f"3.{minor}")
def python(request: pytest.FixtureRequest) -> Path:
    found = interpreter(request.param)
    if found is None:
        pytest.skip(f"no Python 3.{request.param} on this machine")
    return found


def run(python: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run an interpreter that sees this checkout and no installed package."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= {"PYTHONPATH": str(REPO), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [str(python), "-S", "-W", "error", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8")


@pytest.mark.slow
def test_commands_without_packages(python: Path, tmp_path: Path) -> None:
    launcher = ("-m", "experiments.commands.voxnas")
    for words in (["--help"], *([name, "--help"] for name in COMMANDS), ["new", "space", "plainnets"]):
        done = run(python, tmp_path, *launcher, *words)
        assert (done.returncode, done.stderr) == (0, ""), words
        assert done.stdout
    assert (tmp_path / "plainnets/setup.cfg").is_file() or (tmp_path / "plainnets/pyproject.toml").is_file()
    done = run(python, tmp_path, *launcher, "completion", "bash")  # it needs packages
    assert done.returncode == 2
    assert done.stderr.startswith("error: got no package ")


@pytest.mark.slow
def test_every_module_compiles(python: Path, tmp_path: Path) -> None:
    done = run(python, tmp_path, "-c", COMPILE, str(REPO))
    assert (done.returncode, done.stderr) == (0, "")

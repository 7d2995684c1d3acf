"""Commands start without what they do not use, and from any folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import refused
from tests.conftest import REPO

HEAVY = {"torch", "scipy", "sklearn", "optuna", "matplotlib"}
LISTED = "import atexit, sys; atexit.register(lambda: print('modules:', *sys.modules, file=sys.stderr))"


def modules(folder: Path, *words: str) -> tuple[int, set[str], str]:
    """Exit code of a Python process, the packages that it had imported at its end, and its other words on stderr."""
    (folder / "sitecustomize.py").write_text(LISTED)
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{REPO}"}
    done = subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)
    said, _, names = done.stderr.rpartition("modules:")
    return done.returncode, {name.partition(".")[0] for name in names.split()}, said


@pytest.mark.parametrize("program", ["run_search.py", "run_train.py"])
def test_the_configuration_is_composed_without_the_job(program: str, tmp_path: Path) -> None:
    path = str(REPO / program)
    code, packages, said = modules(
        tmp_path, path, "--cfg", "job", "strategy=random", *(["arch=x"] if "train" in program else [])
    )
    assert (code, said) == (0, "")
    assert "hydra" in packages
    assert not packages & HEAVY
    code, packages, said = modules(tmp_path, path, "no.such.key=1")
    refused((code, "", said), "no.such")
    assert not packages & HEAVY
    code, packages, said = modules(tmp_path, path, "--help")
    assert (code, said) == (0, "")
    assert not packages & {*HEAVY, "hydra", "omegaconf", "numpy"}


def test_commands_import_what_they_use(tmp_path: Path) -> None:
    launcher = ["-m", "experiments.commands.voxnas"]
    code, packages, said = modules(tmp_path, *launcher, "--help")
    assert (code, said) == (0, "")
    assert not packages & {*HEAVY, "hydra", "numpy", "argparse"}
    code, packages, said = modules(tmp_path, *launcher, "study", "list", "nowhere")
    refused((code, "", said), "nowhere")
    assert "optuna" in packages
    assert not packages & {"torch", "scipy", "sklearn", "matplotlib", "hydra"}
    for words in (
        ["study", "--help"],
        ["screen", "--help"],
        ["cost", "--help"],
        ["board", "--help"],
        ["doctor", "--help"],
        ["completion", "bash"],
    ):
        code, packages, said = modules(tmp_path, *launcher, *words)
        assert (code, said) == (0, "")
        assert not packages & {*HEAVY, "hydra", "numpy"}


def test_the_core_is_free_of_torch(tmp_path: Path) -> None:
    names = "nas.space, nas.artifact, nas.history, nas.trials_table, nas.study.reader, nas.study.storage"
    code, packages, _ = modules(tmp_path, "-c", f"import {names}")
    assert code == 0
    assert not packages & (HEAVY - {"optuna"})
    code, packages, _ = modules(tmp_path, "-c", "import experiments.search.job")
    assert code == 0
    assert not packages & (HEAVY - {"torch", "optuna"})


@pytest.fixture
def shadowed(tmp_path: Path) -> Path:
    """A user's folder with packages of our names."""
    for name in ("experiments", "conf", "nas"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('the package of the user')")
    (tmp_path / "conf/search.yaml").write_text("mine: true")
    return tmp_path


@pytest.mark.parametrize(
    "start", [["-m", "run_search"], pytest.param([str(REPO / "run_search.py")], marks=pytest.mark.slow)]
)
def test_packages_of_the_user_hide_nothing(start: list[str], shadowed: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    command = [sys.executable, *start, "--cfg", "job", "strategy=random"]
    done = subprocess.run(command, cwd=shadowed, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "nas.strategies.RandomSearch" in done.stdout
    command = [sys.executable, *start, "strategy=random", "study.trials=0"]
    done = subprocess.run(command, cwd=shadowed, env=environment, capture_output=True, text=True)
    refused((done.returncode, done.stdout, done.stderr), "trials")
    assert done.stderr.count("\n") == 1

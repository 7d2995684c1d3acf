"""G10, G11: the user's folder, terminal and locale do not change what a command does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.cli import BROKEN_PIPE, run_command
from experiments.hydra_main import with_names_as_typed
from tests.conftest import REPO

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def program(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=own, capture_output=True, encoding="utf-8", errors="replace"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("run_search.py", "--cfg", "job"),
        ("run_search.py", "seed=x"),
        ("run_train.py", "arch=x"),
        ("-c", "from experiments.commands.voxnas import main; main()", "spaces"),
    ],
    ids=["cfg", "search", "train", "spaces"],
)
def test_G10_packages_of_the_user_do_not_take_the_place_of_ours(words: tuple[str, ...], tmp_path: Path) -> None:
    for name in ("experiments", "conf"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('the package of the user')\n")
    first = (str(REPO / words[0]),) if words[0].endswith(".py") else ("-P", words[0])
    done = program(tmp_path, *first, *words[1:])
    assert "the package of the user" not in done.stderr
    assert done.returncode == (2 if "=x" in words[-1] else 0), done.stderr


@pytest.mark.slow
def test_G11_an_umlaut_in_a_path_without_an_umlaut_in_the_locale(tmp_path: Path) -> None:
    folder = tmp_path / "zür"
    folder.mkdir()
    done = program(folder, str(REPO / "run_search.py"), "study.name=ö", "seed=x", **ASCII)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: got seed=x; ")
    done = program(folder, str(REPO / "run_search.py"), "--cfg", "job", f"data_root={folder}", **ASCII)
    assert done.returncode == 0, done.stderr
    assert "data_root: " in done.stdout


def test_G11_letters_are_quoted_for_hydra() -> None:
    typed = ["data.root=/home/zoë", "study.name=ö,1.1", "-m", "seed=0", "+a.b=ü"]
    assert with_names_as_typed(typed) == ["data.root='/home/zoë'", "study.name='ö','1.1'", "-m", "seed=0", "+a.b='ü'"]


def test_G11_a_reader_that_is_gone_ends_a_command_quietly(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def body() -> int:
        raise BrokenPipeError

    monkeypatch.setattr("experiments.cli.drop_stdout", lambda: None)
    assert run_command(body) == BROKEN_PIPE
    assert capsys.readouterr() == ("", "")

"""The tutorial docs/tutorials/add-a-space.md, with its files installed and its commands run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.conftest import REPO

PAGE = (REPO / "docs/tutorials/add-a-space.md").read_text()
QUICK = ["experiment=demo", "training.epochs=1", "study.trials=3", "study.name=plain", "constraints=[]"]


def files() -> dict[str, str]:
    """Path -> content of every code block that stands under a path."""
    return dict(re.findall(r"^`([\w/.]+)`\n\n```\w+\n(.*?)```$", PAGE, flags=re.M | re.S))


def commands() -> list[str]:
    return re.findall(r"^    (\S.*)$", PAGE.partition("That is all.")[2], flags=re.M)


def test_the_space_takes_less_than_60_lines() -> None:
    found = files()
    assert set(found) == {
        "pyproject.toml",
        "plainnets/__init__.py",
        "plainnets/conf/__init__.py",
        "plainnets/conf/space/plain.yaml",
    }
    assert sum(len(text.splitlines()) for text in found.values()) < 60


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment that sees this one's packages, with the tutorial's package really installed; its bin folder."""
    folder = tmp_path_factory.mktemp("tutorial")
    for name, text in files().items():
        path = folder / "package" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "env")], check=True)
    python = folder / "env/bin/python"
    site = subprocess.run(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    (Path(site) / "outer.pth").write_text(f"{sysconfig.get_path('purelib')}\n{REPO}\n")
    words = ["--quiet", "--no-deps", "--no-build-isolation", str(folder / "package")]
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--disable-pip-version-check"]
    subprocess.run([*pip, *words], check=True, capture_output=True)
    return python.parent


def run(environment: Path, folder: Path, words: list[str], code: int = 0) -> str:
    """Returns what the command says on stderr."""
    done = subprocess.run(
        [str(environment / "python"), *words],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == code, done.stderr
    return done.stderr


@pytest.mark.slow
def test_check_search_and_retrain(environment: Path, tmp_path: Path, data_cache: Path) -> None:
    quick = [*QUICK, f"data_cache={data_cache}"]
    install, check, search, train = commands()
    assert install == "pip install ."
    code = re.fullmatch(r'python -c "(.*)"', check)
    assert code is not None
    run(environment, tmp_path, ["-c", code[1]])
    words = [word.strip("'") for word in search.split()]
    assert words[:2] == ["voxnas", "search"]
    run(environment, tmp_path, [str(REPO / "run_search.py"), *words[2:], *quick])
    arch = json.loads((tmp_path / "outputs/plain/arch.json").read_text())
    assert arch["space"]["class"] == "plainnets.PlainSpace"
    words = [str(REPO / "run_train.py"), "arch=outputs/plain/arch.json", "experiment=demo", f"data_cache={data_cache}"]
    last = run(environment, tmp_path, words, code=2).splitlines()[-1]
    assert last.startswith("error: got the class 'plainnets.PlainSpace'")
    assert "allow_packages" in last
    words = [word.strip("'") for word in train.split()]
    assert words[:2] == ["voxnas", "train"]
    rest = [
        "experiment=demo",
        "training.epochs=1",
        "name=plain",
        "resamples=50",
        "rounds=1",
        f"data_cache={data_cache}",
    ]
    rest += ["baselines.random_search=false", "baselines.published=null"]
    run(environment, tmp_path, [str(REPO / "run_train.py"), *words[2:], *rest])
    result = json.loads((tmp_path / "outputs/train/plain/result.json").read_text())
    assert result["params"] > 0
    assert 0 <= result["mean"]["auc"] <= 1

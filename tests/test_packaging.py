"""`pip install .` gives packages that work outside the repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPO

PARTS = ("nas", "search_spaces", "experiments", "conf", "run_search.py", "run_train.py")
FILES = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE")


@pytest.mark.slow
def test_installed_packages_work_elsewhere(tmp_path: Path) -> None:
    source, site, elsewhere = tmp_path / "source", tmp_path / "site", tmp_path / "elsewhere"
    source.mkdir()
    elsewhere.mkdir()
    for name in (*PARTS, *FILES):
        copy = shutil.copytree if (REPO / name).is_dir() else shutil.copy
        copy(REPO / name, source / name)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(site), str(source)], check=True, capture_output=True)
    environment = {**os.environ, "PYTHONPATH": str(site)}
    code = "import nas, search_spaces; print(nas.__file__); print(search_spaces.__file__)"
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, env=environment, cwd=elsewhere, check=True, capture_output=True, text=True)
    assert all(line.startswith(str(site)) for line in done.stdout.splitlines())
    assert (site / "experiments/lung_detector/service/page.html").is_file()
    new = [sys.executable, str(site / "bin/voxnas"), "new", "data", "balls"]
    subprocess.run(new, env=environment, cwd=elsewhere, check=True, capture_output=True)
    assert (elsewhere / "balls/balls/conf/split/balls.yaml").is_file()
    words = [sys.executable, str(site / "bin/voxnas"), "search", "--cfg", "job", "strategy=random"]
    done = subprocess.run(words, env=environment, cwd=elsewhere, check=True, capture_output=True, text=True)
    assert "nas.strategies.RandomSearch" in done.stdout
    done = subprocess.run(
        [sys.executable, str(site / "bin/voxnas"), "--help"],
        env=environment,
        cwd=elsewhere,
        check=True,
        capture_output=True,
        text=True,
    )
    assert "voxnas COMMAND" in done.stdout

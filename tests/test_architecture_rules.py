"""Rules of the architecture that import-linter (`make lint`, pyproject.toml) does not see."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import REPO


def test_the_mains_stay_small() -> None:
    for name in ("run_search.py", "run_train.py"):
        assert len((REPO / name).read_text().splitlines()) <= 45


def test_importing_the_packages_loads_neither_readers_nor_servers() -> None:
    """`import nas, search_spaces` works without the optional extras and starts nothing."""
    code = (
        "import nas.search, nas.artifact, search_spaces.naslung, sys;"
        "print([m for m in ('SimpleITK', 'pydicom', 'monai', 'visdom', 'hydra', 'nibabel') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout.strip() == "[]"

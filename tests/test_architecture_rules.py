"""Rules of the architecture that import-linter (`make lint`, pyproject.toml) does not see."""

from __future__ import annotations

import re
import subprocess
import sys

from tests.conftest import REPO

BENCHMARKS = sorted((REPO / "benchmarks").glob("*.py"))


def test_the_mains_stay_small() -> None:
    for name in ("run_search.py", "run_train.py"):
        assert len((REPO / name).read_text().splitlines()) <= 55


def test_importing_the_packages_loads_neither_readers_nor_servers() -> None:
    """`import nas, search_spaces` works without the optional extras and starts nothing."""
    code = (
        "import nas.search, nas.artifact, search_spaces.naslung, sys;"
        "print([m for m in ('SimpleITK', 'pydicom', 'monai', 'visdom', 'hydra', 'nibabel') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout.strip() == "[]"


def test_a_mistake_on_the_command_line_of_a_benchmark_ends_in_one_line() -> None:
    """Every script of benchmarks/ runs by `run_command` or `run_parser`, but for the one that runs without VoxNAS."""
    scripts = {path.name: path.read_text().partition('if __name__ == "__main__":')[2] for path in BENCHMARKS}
    plain = {name for name, body in scripts.items() if body and not re.search(r"\brun_(command|parser)\(", body)}
    assert plain == {"nnunet_worker.py"}

"""A Python environment with onnxruntime and the readers of images, and neither torch nor Hydra nor Optuna.

A real one, made of links to what is installed: no network, no copies.
"""

from __future__ import annotations

import os
import subprocess
import venv
from collections.abc import Sequence
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement

from tests.conftest import REPO

WANTED = ("numpy", "onnxruntime", "nibabel", "SimpleITK", "pydicom")  # as docs/how-to/export-and-predict.md says
OWN = ("nas", "experiments")
ABSENT = ("torch", "hydra", "omegaconf", "optuna", "monai", "sklearn", "h5py", "search_spaces")


class BareEnvironment:
    """`voxnas` in an environment of its own, in `folder`."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=False, symlinks=True)
        self.python = folder / "bin" / "python"
        site = next(folder.glob("lib/python*/site-packages"))
        for name in _with_requirements(WANTED):
            found = distribution(name)
            tops = {Path(file).parts[0] for file in found.files or () if not str(file).startswith("..")}
            for top in tops - {"__pycache__"}:
                if not (site / top).exists():
                    (site / top).symlink_to(Path(str(found.locate_file(top))))
        for name in OWN:
            (site / name).symlink_to(REPO / name)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        command = [str(self.python), "-W", "error", *words]
        return subprocess.run(command, env=environment, cwd=self.python.parent, capture_output=True, text=True)

    def voxnas(self, *words: object) -> subprocess.CompletedProcess[str]:
        return self.run("-m", "experiments.commands.voxnas", *map(str, words))


def _with_requirements(names: Sequence[str]) -> list[str]:
    found: list[str] = []
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name.lower() in map(str.lower, found):
            continue
        found.append(name)
        needed = map(Requirement, distribution(name).requires or ())
        waiting += [one.name for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    return found

"""The sdist and the wheel: what they hold, and the commands of an installed wheel in a folder of a user."""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
import tarfile
import venv
import zipfile
from configparser import ConfigParser
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import REPO
from tests.programs import missing

IN_WHEEL = ("nas", "search_spaces", "experiments", "conf", "run_search.py", "run_train.py")
BESIDE = ("setup.cfg", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff")
BESIDE += ("CONTRIBUTING.md", "SECURITY.md", "Makefile", "constraints.txt", "constraints-oldest.txt")
WASTE = ("__pycache__", ".mypy_cache", ".ruff_cache")
SETUP = ConfigParser()
SETUP.read(REPO / "setup.cfg", encoding="utf-8")
VERSION = SETUP["metadata"]["version"]
FOLDER = "Größe & Maß (2)"


@dataclass
class Built:
    """A source distribution and the wheel made of it."""

    sdist: Path
    wheel: Path


def tracked() -> set[str]:
    """Files of the packages in the checkout, without caches."""
    found = {
        str(path.relative_to(REPO))
        for name in IN_WHEEL
        for path in ([REPO / name] if (REPO / name).is_file() else (REPO / name).rglob("*"))
        if path.is_file() and not set(path.parts) & set(WASTE)
    }
    assert "conf/search.yaml" in found
    return found


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Built as `make dist` does, from a copy of the checkout with compiled files in it."""
    for name in ("build", "twine"):
        if find_spec(name) is None:
            missing(name, f"pip install {name}")
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in (*IN_WHEEL, *BESIDE):
        if (REPO / name).is_dir():
            shutil.copytree(REPO / name, source / name, ignore=shutil.ignore_patterns(*WASTE))
        else:
            shutil.copy(REPO / name, source / name)
    for folder in ("nas", "conf", "experiments/templates/space"):
        (source / folder / "__pycache__").mkdir(parents=True)
        (source / folder / "__pycache__/old.cpython-311.pyc").write_bytes(b"old")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return Built(sdist, wheel)


@pytest.mark.slow
def test_the_wheel_holds_the_packages_and_nothing_else(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        metadata = next(name for name in archive.namelist() if name.endswith("/METADATA"))
        text = archive.read(metadata).decode()
        licences = [name for name in archive.namelist() if name.endswith("/LICENSE")]
    assert names == tracked()
    assert {"nas/py.typed", "experiments/lung_detector/service/page.html"} <= names
    assert len(licences) == 1
    assert f"Version: {VERSION}\n" in text
    assert "Requires-Python: >=3.10\n" in text


@pytest.mark.slow
def test_the_sdist_builds_the_wheel(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    own = {name for name in names if not name.startswith("voxnas.egg-info/")}
    assert own == {*tracked(), *BESIDE, "PKG-INFO"}


@pytest.mark.slow
def test_the_index_would_take_both(built: Built) -> None:
    words = [sys.executable, "-m", "twine", "check", "--strict", str(built.sdist), str(built.wheel)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("PASSED") == 2


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`voxnas` of an environment with the wheel; its dependencies are those of this environment."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True, symlinks=True)
    python = folder / "bin/python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"]
    subprocess.run([*pip, "-c", str(REPO / "constraints.txt"), f"{built.wheel}[medical,export]"], check=True)
    dependencies = dict.fromkeys([*site.getsitepackages(), *(path for path in sys.path if "site-packages" in path)])
    packages = next(folder.glob("lib/python*/site-packages"))
    (packages / "dependencies.pth").write_text("\n".join(dependencies), encoding="utf-8")  # not their own .pth files
    return folder / "bin/voxnas"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with blanks and umlauts in its name, in which a user has packages with names of ours."""
    folder = tmp_path / FOLDER
    for name in ("experiments", "conf", "nas"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("raise RuntimeError('the package of the user')", encoding="utf-8")
    (folder / "conf/search.yaml").write_text("mine: true", encoding="utf-8")
    return folder


def run(program: Path, folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """Run the installed command in a folder, without the variables of the tests."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= {"OMP_NUM_THREADS": "1"}
    command = [str(program), *map(str, words)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8")


@pytest.mark.slow
def test_the_installed_packages_are_the_ones_that_run(installed: Path, folder: Path) -> None:
    code = "import nas, search_spaces, experiments, conf, run_search\n"
    code += "print(*(m.__file__ for m in (nas, search_spaces, experiments, conf, run_search)), sep='\\n')"
    done = run(installed.parent / "python", folder, "-P" if sys.version_info >= (3, 11) else "-I", "-c", code)
    assert done.returncode == 0, done.stderr
    assert all(line.startswith(str(installed.parents[1])) for line in done.stdout.splitlines())


@pytest.mark.slow
def test_commands_in_a_folder_of_the_user(installed: Path, folder: Path) -> None:
    done = run(installed, folder, "--version")
    assert (done.returncode, done.stdout.strip()) == (0, VERSION)
    for words in (["--help"], ["spaces"], ["completion", "bash"], ["search", "--help"], ["predict", "--help"]):
        done = run(installed, folder, *words)
        assert (done.returncode, done.stderr) == (0, ""), words
    done = run(installed, folder, "search", "--cfg", "job", "strategy=random")
    assert done.returncode == 0, done.stderr
    assert "nas.strategies.RandomSearch" in done.stdout
    done = run(installed, folder, "new", "data", "bälle")
    assert done.returncode == 2
    assert done.stderr.startswith("error: got ")
    done = run(installed, folder, "new", "data", "balls")
    assert done.returncode == 0, done.stderr
    assert (folder / "balls/balls/conf/split/balls.yaml").is_file()


@pytest.mark.slow
def test_a_search_in_a_folder_of_the_user(installed: Path, folder: Path) -> None:
    """Its own volumes, named by a relative path; results lie in the folder."""
    rng, lines = np.random.default_rng(0), ["path,label,patient"]
    for number in range(18):
        np.save(folder / f"Lunge {number}.npy", (100 * rng.random((12, 12, 12)) + 60 * (number % 2)).astype(np.float32))
        lines.append(f"Lunge {number}.npy,{'groß' if number % 2 else 'klein'},p{number}")
    (folder / "meine Daten.csv").write_text("\n".join(lines), encoding="utf-8")
    settings = ["data=manifest", "data.path='meine Daten.csv'", "data.spacing_mm=1.0", "data.window=[0,200]"]
    settings += ["data.size=8", "strategy=random", "study.trials=1", "training.epochs=1", "tracking=none"]
    settings += ["space.widths=[4,8]", "space.max_depth=4", "data_cache=cache", "split.folds=3"]
    done = run(installed, folder, "search", *settings)
    assert done.returncode == 0, done.stderr
    found = list((folder / "outputs").rglob("arch.json"))
    assert len(found) == 1
    assert (found[0].parent / "report.html").is_file()


@pytest.mark.slow
def test_every_console_script_exists_in_the_wheel(built: Built) -> None:
    scripts = SETUP["options.entry_points"]["console_scripts"].split()
    modules = {text.partition(":")[0].replace(".", "/") + ".py" for text in scripts if ":" in text}
    with zipfile.ZipFile(built.wheel) as archive:
        assert modules
        assert modules <= set(archive.namelist())

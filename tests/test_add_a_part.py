"""The tutorials docs/tutorials/add-*.md: their files are those that `voxnas new` writes, and their commands run."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.commands.new import write_package
from tests.conftest import REPO
from tests.processes import Program

PAGES = {
    "space": ("plainnets", "add-a-space"),
    "strategy": ("climber", "add-a-strategy"),
    "evaluator": ("repeater", "add-an-evaluator"),
    "task": ("recaller", "add-a-task"),
    "data": ("balls", "add-a-data-set"),
}
QUICK = ["training.epochs=1", "training.batch_size=128", "study.trials=1", "constraints=[]"]
SMALL = ["space.widths=[4,8]", "space.max_depth=4"]  # of the default space
QUICK_TRAINING = ["training.epochs=1", "resamples=50", "rounds=1", "baselines.random_search=false"]
QUICK_TRAINING += ["baselines.published=null", "baselines.volume=false", "baselines.features=false"]


def page_of(kind: str) -> str:
    return (REPO / "docs/tutorials" / f"{PAGES[kind][1]}.md").read_text()


def files(page: str) -> dict[str, str]:
    """Path -> content of every code block that stands under a path."""
    return dict(re.findall(r"^`([\w/.]+)`\n\n```\w+\n(.*?)```$", page, flags=re.M | re.S))


def commands(page: str) -> list[list[str]]:
    """The commands of a page in order, as words."""
    text = re.sub(r"^```.*?^```$", "", page, flags=re.M | re.S)
    return [shlex.split(line) for line in re.findall(r"^    (\S.*)$", text, flags=re.M)]


@pytest.mark.parametrize("kind", PAGES)
def test_the_page_shows_what_the_command_writes(kind: str, tmp_path: Path) -> None:
    name, _ = PAGES[kind]
    page = page_of(kind)
    written = write_package(kind, name, tmp_path / name)
    shown = files(page)
    assert {f"{name}/__init__.py", f"{name}/conf/{kind}/{name}.yaml", f"tests/test_{name}.py"} <= set(shown)
    assert set(shown) <= set(written)
    for path, text in shown.items():
        assert (tmp_path / name / path).read_text() == text
    entry = re.search(r"```toml\n(.*?)```", page, re.S)
    assert entry is not None
    assert entry[1] in (tmp_path / name / "pyproject.toml").read_text()
    own = [line for path, text in shown.items() if not path.startswith("tests") for line in text.splitlines()]
    assert len([line for line in own if line.strip()]) < 60
    first = commands(page)
    assert first[0] == ["voxnas", "new", kind, name]
    assert [words[0] for words in first[1:4]] == ["pip", "pytest", "voxnas"]
    readme = (tmp_path / name / "README.md").read_text()
    for words in commands(page)[3:]:
        if "hydra.searchpath=" not in str(words) and "allow_packages" not in str(words):
            assert shlex.join(words) in readme


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment that sees this one's packages; its bin folder."""
    folder = tmp_path_factory.mktemp("tutorial")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "env")], check=True)
    outer = [path for path in sys.path if Path(path).name == "site-packages"]
    (site_of(folder / "env/bin") / "outer.pth").write_text("\n".join([*outer, str(REPO), ""]))
    return folder / "env/bin"


def site_of(environment: Path) -> Path:
    (site,) = environment.parent.glob("lib/python*/site-packages")
    return site


def run(
    environment: Path, folder: Path, words: list[str], *more: str, code: int = 0, fork: bool = True
) -> tuple[str, str]:
    """Runs one command of a page in the environment; gives its output and what it says on stderr.

    fork: In a fork that sees the packages of the environment, otherwise by the environment's own Python.
    """
    program, *rest = words
    python = str(environment / "python")
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"}
    if program == "pip":
        assert rest.pop(0) == "install"
        pip = [sys.executable, "-m", "pip", "--python", python, "install", "--disable-pip-version-check", "--quiet"]
        line = [*pip, "--no-deps", "--no-build-isolation", *rest]
    else:
        module = {"voxnas": "experiments.commands.voxnas", "pytest": "pytest"}[program]
        line = [python, "-m", module, *rest, *more]
    if fork and program != "pip":
        done = Program(line[1:], folder, sites=[site_of(environment)]).wait()
    else:
        done = subprocess.run(line, cwd=folder, env=environ, capture_output=True, text=True, timeout=500)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout, done.stderr


@pytest.mark.slow
def test_the_space_word_by_word(environment: Path, tmp_path: Path, data_cache: Path) -> None:
    cache = f"data_cache={data_cache}"
    new, install, check, spaces, search, train, search_outside, train_outside = commands(page_of("space"))
    for words in (new, install, check):
        run(environment, tmp_path, words)
    out, _ = run(environment, tmp_path, spaces, fork=False)
    assert re.search(r"^plainnets +classification +18 +3 +plainnets 0.1.0$", out, re.M)
    run(environment, tmp_path, search, *QUICK, cache)
    arch = json.loads((tmp_path / "outputs/plainnets/arch.json").read_text())
    assert arch["space"]["class"] == "plainnets.PlainnetsSpace"
    quick = [*QUICK_TRAINING, cache]
    run(environment, tmp_path, train, *quick)
    result = json.loads((tmp_path / "outputs/train/plainnets/result.json").read_text())
    assert result["params"] > 0
    assert 0 <= result["mean"]["auc"] <= 1

    # without the metadata that pip wrote, the package is no plug-in
    for path in site_of(environment).glob("plainnets-*.dist-info/entry_points.txt"):
        path.unlink()
    run(environment, tmp_path, search_outside, "--cfg", "job")
    _, err = run(environment, tmp_path, train_outside[:-1], "experiment=demo", cache, code=2)
    last = err.splitlines()[-1]
    assert last.startswith("error: got the class 'plainnets.PlainnetsSpace'")
    assert "allow_packages" in last
    finished = (tmp_path / "outputs/train/plainnets/result.json").read_bytes()
    run(environment, tmp_path, train_outside, "experiment=demo", "name=plainnets", *quick)  # allowed, and finished
    assert (tmp_path / "outputs/train/plainnets/result.json").read_bytes() == finished


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in PAGES if kind != "space"])
def test_the_commands_of_the_other_pages(kind: str, environment: Path, tmp_path: Path, data_cache: Path) -> None:
    name, cache = PAGES[kind][0], f"data_cache={data_cache}"
    for words in commands(page_of(kind)):
        quick = {"search": [*QUICK, *SMALL, cache], "train": [*QUICK_TRAINING, cache]}
        out, _ = run(environment, tmp_path, words, *quick.get(words[1], []))
        if words[0] == "voxnas" and len(words) == 2:
            assert re.search(rf"^{name} .* {name} 0.1.0$", out, re.M)
    if kind in ("task", "data"):
        assert json.loads((tmp_path / f"outputs/train/{name}/result.json").read_text())["params"] > 0
    assert (tmp_path / f"outputs/{name}/arch.json").is_file()

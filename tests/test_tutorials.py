"""The tutorials of docs/, followed word by word in an empty folder, with fewer trials and epochs.

Those that add a part are followed by tests/test_add_a_part.py.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.conftest import REPO
from tests.data.written_decathlon import write_decathlon
from tests.documents import commands
from tests.own_volumes import write_volumes
from tests.processes import run_python

TUTORIALS = REPO / "docs/tutorials"
SMALL = ["space.widths=[4,8]", "space.max_depth=4"]
QUICK = ["training.epochs=1", "training.batch_size=128", "study.trials=1", "constraints=[]"]
TRAIN = ["training.epochs=1", "rounds=1", "resamples=50", "baselines.random_search=false", "baselines.published=null"]
TRAIN += ["baselines.volume=false", "baselines.features=false"]
MAINS = {"run_search.py": "search", "run_train.py": "train"}


def page(name: str) -> str:
    return (TUTORIALS / f"{name}.md").read_text()


def section(name: str, heading: str) -> str:
    """The text of a page below a heading."""
    return page(name).partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def follow(
    text: str, folder: Path, more: Mapping[str, Sequence[str]], replaced: Mapping[str, str] | None = None
) -> str:
    """Runs the commands of a text in order; `more` is added to those of a name. Returns all that they print."""
    said = ""
    for program, *words in commands(text):
        name = MAINS[words[0]] if program == "python" else words[0]
        for old, new in (replaced or {}).items():
            words = [word.replace(old, new) for word in words]
        line = ["-m", "experiments.commands.voxnas", name, *words[1:], *more.get(name, ())]
        done = run_python(*line, folder=folder)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        said += done.stdout
    return said


def code_block(text: str, language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def pages_with_pictures() -> list[Path]:
    return sorted(TUTORIALS.glob("*.md"))


@pytest.mark.parametrize("path", pages_with_pictures(), ids=lambda path: path.stem)
def test_a_tutorial_ends_with_a_picture(path: Path) -> None:
    last = path.read_text().rstrip().splitlines()[-1]
    found = re.fullmatch(r"!\[.+\]\((.+)\)", last)
    assert found is not None, last
    assert (path.parent / found[1]).is_file()


def test_the_first_search_has_the_commands_of_the_readme() -> None:
    """That they run is tested with the README."""
    found = [words[1:] for words in commands(page("first-search").partition("## Next steps")[0])]
    found = [[MAINS.get(words[0], words[0]), *words[1:]] for words in found]
    readme = [words[1:] for words in commands((REPO / "README.md").read_text()) if words[0] == "voxnas"]
    assert [words[0] for words in found] == ["search", "train", "export", "predict"]
    assert found == readme[: len(found)]


@pytest.mark.slow
def test_own_volumes(tmp_path: Path, data_cache: Path) -> None:
    write_volumes(tmp_path)
    text = page("your-own-volumes")
    assert code_block(text, "").splitlines()[0] == (tmp_path / "my.csv").read_text().splitlines()[0]
    cache = f"data_cache={data_cache}"
    more = {"search": [*SMALL, *QUICK, "split.folds=3", cache], "train": [*TRAIN, "training.batch_size=4", cache]}
    follow(text, tmp_path, more)
    assert (tmp_path / "outputs/train").is_dir()


@pytest.mark.slow
def test_a_decathlon_task(tmp_path: Path, data_cache: Path) -> None:
    """Without the download the template, and in place of the hippocampus a small drawn task."""
    cache = f"data_cache={data_cache}"
    search = ["study.trials=1", "training.epochs=1", "constraints=[]", cache]
    train = [*TRAIN, "baselines.plain_unet=null", cache]
    follow(
        section("segment-a-decathlon-task", "Try it without a download"), tmp_path, {"search": search, "train": train}
    )
    task = tmp_path / "Task04_Hippocampus"
    write_decathlon(task)
    small = ["data.crop=null", "data.spacing_mm=null", "space.depths=[1]", "space.widths=[[4],[8]]"]
    more = {"search": [*search, *small, "split.folds=3"], "train": [*train, *small[:2], "split.folds=3"]}
    text = section("segment-a-decathlon-task", "Search U-Nets")
    follow(text, tmp_path, more, {"/path/to/Task04_Hippocampus": str(task)})
    assert (tmp_path / "outputs/train/unet_hippocampus/result.json").is_file()


@pytest.mark.slow
def test_a_paper_table(tmp_path: Path, data_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOXNAS_CACHE", str(data_cache))
    text = page("a-paper-table")
    short = "rounds=1 resamples=50 baselines.features=false training.batch_size=128 "
    content = code_block(text, "yaml").replace("rounds=1 ", short)
    content = content.replace("seeds: [0, 1], words", "seeds: [0], words").replace('epochs: "3"', 'epochs: "1"')
    (tmp_path / "nodules.yaml").write_text(content)
    said = follow(text, tmp_path, {})
    assert "Model-1 after one epoch" in said
    folder = tmp_path / "outputs/tables/nodules"
    assert {"table.md", "table.csv", "table.tex", "table.json"} <= {path.name for path in folder.iterdir()}
    assert "volume alone" in (folder / "table.md").read_text()


@pytest.mark.slow
def test_many_workers(tmp_path: Path, data_cache: Path) -> None:
    """The script of Slurm runs as two of its jobs, one after the other."""
    more = [*SMALL, "training.epochs=1", "training.batch_size=128", "constraints=[]", f"data_cache={data_cache}"]
    text, _, cluster = page("many-workers").partition("## A job array of Slurm")
    said = follow(
        text.replace("study.name=team\n", "study.name=team study.trials=2\n").replace("trials=14", "trials=3"),
        tmp_path, {"search": more},
    )  # fmt: skip
    assert "team" in said
    rows = (tmp_path / "outputs/team/trials.csv").read_text().splitlines()
    assert len(rows) == 1 + 3

    script = code_block(cluster, "shell")
    assert "--array=0-7" in script
    (tmp_path / "search.sbatch").write_text(script.rstrip() + " \\\n  study.trials=2 " + " ".join(more) + "\n")
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "voxnas").write_text('#!/bin/sh\nprintf \'%s\\n\' "$OMP_NUM_THREADS" "$@"\n')
    (tools / "voxnas").chmod(0o755)
    bash = shutil.which("bash")
    assert bash is not None
    for number in range(2):
        slurm = {"SLURM_ARRAY_TASK_ID": str(number), "SLURM_CPUS_PER_TASK": "1"}
        environment = {**os.environ, **slurm, "PATH": f"{tools}:{os.environ['PATH']}"}
        done = subprocess.run([bash, "search.sbatch"], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        threads, *words = done.stdout.splitlines()  # what it gives `voxnas`, which is run here
        assert threads == "1"
        assert f"worker={number}" in words
        ran = run_python("-m", "experiments.commands.voxnas", *words, folder=tmp_path, environment=environment)
        assert ran.returncode == 0, ran.stderr
    assert len((tmp_path / "outputs/cluster/trials.csv").read_text().splitlines()) == 1 + 2
    assert "cluster" in follow(cluster, tmp_path, {})

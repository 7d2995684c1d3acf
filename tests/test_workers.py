"""Several workers started by one command, and what becomes of the folder that they share."""

from __future__ import annotations

import importlib.util
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch

import run_search
from experiments.devices import pick_device
from nas.artifact import load
from nas.history import State
from nas.study.reader import StudyReader
from nas.trials_table import write_h5
from nas.utils.files import locked
from tests.commands import Command, refused
from tests.comparisons import rows_in
from tests.conftest import REPO
from tests.problems import study_of as make_study
from tests.processes import PROCESSES, run_python
from tests.tables import DATA_WORDS, OBJECTIVES, SPACE, SPACE_WORDS, records_of, table_of


def search(folder: Path, cache: Path, *words: str) -> CompletedProcess[str]:
    """run_search.py as a process of its own, on a table."""
    write_h5(folder / "t.h5", table_of(records_of()))
    settings = ["evaluator=tabular", f"evaluator.path={folder}/t.h5", *SPACE_WORDS, *DATA_WORDS]
    settings += [f"data_cache={cache}", "study.name=s"]
    return run_python(REPO / "run_search.py", *words, *settings, folder=folder)


def on_a_table(command: Command, *words: str) -> tuple[int, str, str]:
    """The same in this process."""
    write_h5(command.folder / "t.h5", table_of(records_of()))
    settings = ["evaluator=tabular", "evaluator.path=t.h5", *SPACE_WORDS, *DATA_WORDS, "study.trials=2"]
    return command(run_search.main, *settings, "study.name=s", *words)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_two_workers_of_one_study(launcher: str, tmp_path: Path, data_cache: Path) -> None:
    package = f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher"
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    jobs = ["hydra.launcher.n_jobs=2"] if launcher == "joblib" else []
    words = ["-m", "worker=range(0,2)", f"hydra/launcher={launcher}", *jobs, "strategy=random", "study.trials=8"]
    done = search(tmp_path, data_cache, *words)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "outputs/s"
    study = StudyReader.open(f"sqlite:///{folder}/study.db", "s")
    records = study.records()
    front = {record.arch.id for record in study.history().front()}
    study.close()
    assert [record.state for record in records] == [State.COMPLETE] * 8
    assert max(Counter(record.arch.id for record in records).values()) == 1
    chosen = load(folder / "arch.json")
    assert chosen.metrics["auc"] == max(record.metrics["auc"] for record in records)
    assert {path.stem for path in (folder / "pareto").iterdir()} == front
    assert chosen.arch.id in (folder / "report.html").read_text()
    assert len((folder / "trials.csv").read_text().splitlines()) == 9
    assert "8 of 8 trials" in (folder / "live.html").read_text()
    assert (folder / "curves.csv").is_file()
    assert not list(folder.rglob("*.tmp"))
    if launcher == "joblib":  # one worker speaks for all; submitit keeps the words of each in a file
        assert done.stdout.count("Pareto front of 8 trained networks") == 1
        assert "Traceback" not in done.stderr
        assert " 8/8 " in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("launcher", "seeds"), [("basic", "01"), ("joblib", "0"), ("submitit_local", "0")])
def test_jobs_of_a_sweep_in_one_store(launcher: str, seeds: str, tmp_path: Path, data_cache: Path) -> None:
    """Half of the jobs fail; the others have a study of their own each, and are found again by the same command."""
    plugin = f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher"
    if launcher != "basic" and importlib.util.find_spec(plugin) is None:
        pytest.skip(f"{plugin} is not installed")
    url = f"study.url=sqlite:///{tmp_path}/all.db"
    names = [f"seed={seed}," if len(seeds) > 1 else "" for seed in seeds]
    words = [
        "-m",
        f"seed={','.join(seeds)}",
        "split.folds=3,9999",
        f"hydra/launcher={launcher}",
        "strategy=random",
        "study.trials=1",
    ]
    for _ in range(2 if launcher == "basic" else 1):
        done = search(tmp_path, data_cache, *words, url)
        assert done.returncode == 2
        assert f"{len(seeds)} of {2 * len(seeds)} jobs finished" in done.stdout
        failures = [line.split(": ")[1] for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert failures == [f"{name}split.folds=9999" for name in names]
        assert "Traceback" not in done.stderr
    rows = rows_in(tmp_path / "outputs/s/sweep.csv")
    assert [(row["split.folds"], row["seed"], row["state"]) for row in rows] == [
        (folds, seed, state) for seed in seeds for folds, state in (("3", "finished"), ("9999", "failed"))
    ]
    assert [bool(row["auc"]) for row in rows] == [True, False] * len(seeds)
    assert rows[1]["reason"].startswith("got 639 patients for 9999 folds")
    assert "There is one group, 3" in (tmp_path / "outputs/s/compare.html").read_text()
    for seed, name in enumerate(names):
        job = f"s/{name}split.folds=3"
        study = StudyReader.open(f"sqlite:///{tmp_path}/all.db", job)
        assert [record.state for record in study.records()] == [State.COMPLETE]
        study.close()
        search_record = load(tmp_path / "outputs" / job / "arch.json").provenance.search
        assert search_record is not None
        assert (search_record.study, search_record.seed) == (job, seed)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-m", "worker=0,1,0", "hydra/launcher=joblib"], ["worker=0,1,0", "0 twice"]),
        (["-m", "worker=range(0,2)", "hydra/launcher=ray"], ["hydra/launcher=ray", "voxnas[ray]"]),
        (["worker=-1"], ["worker=-1"]),
        (["worker=first"], ["worker=first"]),
        (["study.url=sqlite:/x"], ["study.url=sqlite:/x", "sqlite:///study.db"]),
        (["study.url=journal:///proc/nowhere/study.log"], ["study.url="]),
        (["constraints=[nonsense]"], ["constraints=[nonsense]", "params<=1e6"]),
        (["constraints=['speed<=3']"], ["speed<=3", "macs"]),
        (["evaluator.path=nowhere.h5"], ["nowhere.h5", "export"]),
    ],
)
def test_bad_settings(command: Command, words: Sequence[str], said: Sequence[str]) -> None:
    if "ray" in words[-1] and importlib.util.find_spec("hydra_plugins.hydra_ray_launcher") is not None:
        pytest.skip("the launcher is installed")
    refused(on_a_table(command, "strategy=random", *words), *said)


def test_a_study_of_another_schema_is_refused(command: Command) -> None:
    folder = command.folder / "outputs/s"
    study = make_study(f"sqlite:///{folder}/study.db", "s", SPACE, OBJECTIVES, {})
    study.store.set_attr("voxnas:spec", {**study.spec, "schema": 1})
    study.close()
    refused(on_a_table(command, "strategy=random"), "schema 1")


def create(url: str) -> None:
    study = make_study(url, "s", SPACE, OBJECTIVES, {"data": "abc"})
    with study.worker(os.getpid()):
        pass
    study.close()


@pytest.mark.parametrize("kind", [pytest.param("sqlite", marks=pytest.mark.slow), "journal"])
def test_eight_processes_create_one_study(kind: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db" if kind == "sqlite" else f"journal://{tmp_path}/study.log"
    processes = [PROCESSES.Process(target=create, args=(url,)) for _ in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(400)
    assert [process.exitcode for process in processes] == [0] * 8
    study = StudyReader.open(url, "s")
    assert study.store.names() == ["s"]
    assert study.space_facts.build().fingerprint == SPACE.fingerprint
    study.close()


def count_up(folder: str) -> None:
    for _ in range(50):
        with locked(Path(folder) / "lock"):
            counter = Path(folder) / "counter"
            counter.write_text(str(int(counter.read_text()) + 1))


def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    (tmp_path / "counter").write_text("0")
    processes = [PROCESSES.Process(target=count_up, args=(str(tmp_path),)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(400)
    assert (tmp_path / "counter").read_text() == "200"


def test_workers_take_the_gpus_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    for count, expected in [(0, ["cpu"] * 4), (1, ["cuda"] * 4), (3, ["cuda:0", "cuda:1", "cuda:2", "cuda:0"])]:
        monkeypatch.setattr(torch.cuda, "is_available", lambda count=count: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        assert [str(pick_device("auto", worker)) for worker in range(4)] == expected
    assert str(pick_device("cpu", 3)) == "cpu"

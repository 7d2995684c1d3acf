"""The two commands on real nodules, in small, and what they answer to bad input."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import run_search
import run_train
from nas.artifact import Artifact, load
from nas.data.sources.lidc_shapes import LidcShapes
from nas.data.splits import Split
from nas.data.store import VolumeStore
from tests.commands import NO_FEATURES, SMALL, SPACE, Command, OwnCapture, refused
from tests.comparisons import rows_in
from tests.conftest import REPO, MakeOnce
from tests.formats import check_files


@pytest.fixture(scope="module")
def store_path(data_cache: Path) -> Path:
    return LidcShapes(str(data_cache), size=16, spacing_mm=2.0).prepare().path


@dataclass
class MainJob:
    """What a search, the same search again and with one more trial, a training and the same training again leave."""

    folder: Path
    cache: Path
    written: set[str]
    said: str  # by the first search
    rows: list[dict[str, str]]  # trials.csv after the first search
    artifact: Artifact
    fronts: list[Artifact]
    report: str
    trials: list[str]  # trials.csv after each of the three searches
    result: dict[str, Any]
    train_said: str
    train_again_said: str
    stamps: list[dict[Path, int]]  # of the predictions, after each of the two trainings

    @property
    def trained(self) -> Path:
        return self.folder / "outputs/train/t"


@pytest.fixture(scope="module")
def main_job(made_once: MakeOnce, data_cache: Path) -> MainJob:
    return made_once("main_job", partial(run_main_job, data_cache))


def run_main_job(cache: Path, home: Path) -> MainJob:
    with pytest.MonkeyPatch.context() as patch:
        command = Command(home, cache, patch, OwnCapture(patch))
        code, said, err = command.search("split.folds=3")
        assert code == 0, err
        folder = command.folder / "outputs/s"
        written = {path.name for path in folder.iterdir()}
        trials = [(folder / "trials.csv").read_text()]
        artifact, report = load(folder / "arch.json"), (folder / "report.html").read_text()
        fronts = [load(path) for path in (folder / "pareto").glob("*.json")]
        for words in (["split.folds=3"], ["split.folds=3", "study.trials=4"]):
            code, _, err = command.search(*words)
            assert code == 0, err
            trials.append((folder / "trials.csv").read_text())
        stamps, printed = [], []
        for _ in range(2):
            code, out, err = command.train(f"arch={folder / 'arch.json'}", "baselines.published=null")
            assert code == 0, err
            printed.append(out)
            found = (command.folder / "outputs/train/t/checkpoints").rglob("prediction*")
            stamps.append({path: path.stat().st_mtime_ns for path in found})
        rows = list(csv.DictReader(trials[0].splitlines()))
        result = json.loads((command.folder / "outputs/train/t/result.json").read_text())
        return MainJob(home, cache, written, said, rows, artifact, fronts, report, trials, result, *printed, stamps)


def test_what_a_search_leaves(main_job: MainJob) -> None:
    assert {"arch.json", "pareto", "trials.csv", "report.html", "config.yaml", "study.db"} <= main_job.written
    assert "Pareto front of 3 trained networks" in main_job.said
    assert main_job.artifact.arch.id in main_job.said
    assert [row["state"] for row in main_job.rows] == ["complete"] * 3
    assert main_job.artifact.metrics["auc"] == max(float(row["auc"]) for row in main_job.rows)
    assert main_job.artifact.arch in [one.arch for one in main_job.fronts]
    assert main_job.artifact.arch.id in main_job.report


def test_the_same_search_again_has_nothing_left_to_do(main_job: MainJob) -> None:
    assert main_job.trials[1] == main_job.trials[0]


def test_more_trials_go_on_where_the_search_ended(main_job: MainJob) -> None:
    assert len(main_job.trials[2].splitlines()) == 5


def test_what_a_training_leaves(main_job: MainJob) -> None:
    """Every file and key, with the random baseline, on the fold that no search has seen."""
    folder, result = main_job.trained, main_job.result
    written = {path.name for path in folder.iterdir()}
    assert {"result.json", "predictions.csv", "table.md", "report.html", "config.yaml", "checkpoints"} <= written
    keys = "arch_id params macs bytes latency_ms peak_memory_mb folds mean ci95 baselines data split seed versions"
    assert set(keys.split()) <= set(result)
    assert set(result["baselines"]) == {"volume", "features", "random search"}
    assert {"fold", "n", *result["mean"]} == set(result["folds"][0])
    for metric, (low, high) in result["ci95"].items():
        assert low <= result["mean"][metric] <= high
    assert "random search" in (folder / "table.md").read_text()
    assert "random search" in main_job.train_said
    counts = check_files(main_job.folder / "outputs")
    assert min(counts[name] for name in ("arch", "model", "result", "study")) > 0


def test_pages_and_curves_of_a_search_and_a_training(main_job: MainJob) -> None:
    """The live pages have ended, curves hold every trial and fold once, and both begin with a summary of the data."""
    search, training = main_job.folder / "outputs/s", main_job.trained
    for folder in (search, training):
        assert "refresh" not in (folder / "live.html").read_text()
        assert "1,194 cases of 639 patients" in (folder / "data.html").read_text()
    assert "The search ended: " in (search / "live.html").read_text()
    trials = list(csv.DictReader((search / "curves.csv").read_text().splitlines()))
    keys = [(row["trial"], row["epoch"], row["metric"]) for row in trials]
    assert len(set(keys)) == len(keys)
    assert {row["trial"] for row in trials if row["epoch"] and row["metric"] == "auc"} == {"0", "1", "2", "3"}
    epochs = list(csv.DictReader((training / "curves.csv").read_text().splitlines()))
    keys = [(row["network"], row["fold"], row["epoch"], row["metric"]) for row in epochs]
    assert len(set(keys)) == len(keys)
    assert {row["fold"] for row in epochs} == {fold["fold"] for fold in main_job.result["folds"]}
    assert "benign 664, malignant 530" in main_job.said
    assert main_job.train_said.count("Test AUC") == main_job.train_again_said.count("Test AUC") == 1
    assert "next: voxnas train arch=" in main_job.said


def test_a_training_is_tested_on_the_fold_that_the_search_left_out(main_job: MainJob) -> None:
    result = main_job.result
    split = Split(LidcShapes(str(main_job.cache), size=16, spacing_mm=2.0).prepare(), folds=3)
    assert len(result["folds"]) == 2  # three folds: one is the test fold, the others validate in turn
    assert {fold["n"] for fold in result["folds"]} == {len(split.test)}
    search = main_job.artifact.provenance.search
    assert search is not None
    assert result["split"]["sha256"] == split.sha256 == search.split.sha256
    predictions = list(csv.DictReader((main_job.trained / "predictions.csv").read_text().splitlines()))
    assert len(predictions) == len(split.test)


def test_the_same_training_again_trains_nothing(main_job: MainJob) -> None:
    assert len(main_job.stamps[0]) >= 2  # two rounds; random search may find the same network
    assert main_job.stamps[1] == main_job.stamps[0]
    assert "finished before" not in main_job.train_said
    assert "finished before" in main_job.train_again_said
    assert "random search" in main_job.train_again_said


def test_the_search_never_opens_the_test_fold(main_job: MainJob, command: Command, store_path: Path) -> None:
    """With every test volume spoiled, a search gives bit for bit the same trials."""
    cache = command.folder / "spoiled"
    cache.mkdir()
    shutil.copy(store_path, cache / store_path.name)
    split = Split(LidcShapes(str(cache), size=16, spacing_mm=2.0).prepare(), folds=3)
    with h5py.File(cache / store_path.name, "r+") as file:
        volumes = file["volumes"]
        for row in split.test:
            volumes[int(row)] = np.full(volumes.shape[1:], 255, dtype=volumes.dtype)
    command.cache = cache
    assert command.search("split.folds=3")[0] == 0
    second = (command.folder / "outputs/s/trials.csv").read_text()

    def facts(text: str) -> list[dict[str, str]]:
        rows = csv.DictReader(text.splitlines())
        return [{k: v for k, v in row.items() if "seconds" not in k} for row in rows]

    assert facts(main_job.trials[0]) == facts(second)


@pytest.mark.slow
def test_an_ensemble_of_published_networks_by_cross_validation(command: Command) -> None:
    other = "arch=[naslung/model-1,'naslung/plain[4,4,[8, 8, 8], [16, 16, 16], [32, 32]]']"
    code, out, err = command.train(other, "protocol=cross_validation", "baselines.published=null", *NO_FEATURES)
    assert code == 0, err
    result = json.loads((command.folder / "outputs/train/t/result.json").read_text())
    assert len(result["folds"]) == 3
    assert sum(fold["n"] for fold in result["folds"]) == result["data"]["n"] == 1194
    assert result["params"] == 16_128
    assert "ensemble of 2 networks" in out


@pytest.mark.slow
def test_sweeps_give_each_job_its_folder(command: Command) -> None:
    words = ["-m", *SMALL, *SPACE, "study.trials=1", "strategy=random,pop", "seed=0,1"]
    code, _, err = command(run_search.main, *words)
    assert code == 0, err
    found = sorted(str(path.parent.relative_to(command.folder)) for path in command.folder.rglob("arch.json"))
    assert len(found) == 4
    rows = rows_in(command.folder / "outputs/naslung/sweep.csv")
    assert [(row["strategy"], row["seed"]) for row in rows] == [
        ("random", "0"),
        ("random", "1"),
        ("pop", "0"),
        ("pop", "1"),
    ]
    words = ["-m", *SMALL, "split.folds=3", "rounds=1", "resamples=50", "arch=naslung/model-1", "seed=0,1"]
    words += NO_FEATURES
    code, _, err = command(run_train.main, *words)
    assert code == 0, err
    assert len(list((command.folder / "outputs/train").rglob("result.json"))) == 2
    rows = rows_in(command.folder / "outputs/train/naslung_model-1/sweep.csv")
    assert [(row["kind"], row["seed"], bool(row["auc"])) for row in rows] == [("training", seed, True) for seed in "01"]
    assert all(float(row["seconds"]) > 0 for row in rows)


def test_a_job_that_fails_does_not_end_the_others(command: Command) -> None:
    words = ["-m", *SMALL, *SPACE, "study.trials=1", "split.folds=9999,3", "'objectives={accuracy: maximize}'"]
    code, out, err = command(run_search.main, *(word.strip("'") for word in words))
    assert code == 2
    assert out.splitlines()[-1] == "1 of 2 jobs finished"
    assert err.splitlines()[-1].startswith("error: split.folds=9999: got 639 patients for 9999 folds; expected ")
    assert "Traceback" not in err
    arch = load(command.folder / "outputs/naslung-pop-seed0/split.folds=3/arch.json")
    assert arch.provenance.search is not None
    assert arch.provenance.search.config["objectives"] == {"accuracy": "maximize"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["space=nowhere"], "naslung"),
        (["strategy=nowhere"], "random"),
        (["data=nowhere"], "lidc_shapes"),
        (["no.such.key=1"], "no.such.key"),
        (["space.cbam=wrong"], "woo2018"),
        (["space.nonsense=1"], "nonsense"),
        (["study.trials=0"], "trials"),
        (["seed=-1"], "seed"),
        (["split.folds=5000"], "folds"),
        (["split.test_fold=7"], "test_fold"),
        (["device=cuda:99"], "device"),
        (["cost.metric=speed"], "macs"),
        (["cost.metric=latency_ms"], "table"),
        (["data=lidc_nodules", "data.root=nowhere"], "nowhere"),
        (["study.url=nonsense"], "study.url"),
        (["objectives.recall=maximize"], "recall"),
        (["training.optimizer=lion"], "adam"),
    ],
)
def test_bad_settings_of_a_search(command: Command, words: Sequence[str], said: str) -> None:
    if words[0].startswith("data="):
        refused(command(run_search.main, *words), said)
    else:
        refused(command.search(*words), said)


def test_a_study_of_other_settings_keeps_its_results(main_job: MainJob, command: Command) -> None:
    shutil.copytree(main_job.folder / "outputs/s", command.folder / "outputs/s")
    kept = {p: p.read_bytes() for p in (command.folder / "outputs/s").rglob("*.json")}
    assert kept
    refused(command.search("split.folds=3", "training.epochs=2"), "study.name")
    refused(command.search("split.folds=3", "seed=1"), "study.name")
    assert kept == {p: p.read_bytes() for p in (command.folder / "outputs/s").rglob("*.json")}


@pytest.mark.slow
def test_a_store_that_was_cut_short(command: Command, store_path: Path) -> None:
    """It is made anew from its source."""
    cache = command.folder / "cut"
    cache.mkdir()
    (cache / store_path.name).write_bytes(store_path.read_bytes()[: store_path.stat().st_size // 2])
    command.cache = cache
    assert command.search("dry_run=true")[0] == 0
    assert VolumeStore(cache / store_path.name).sha256 == VolumeStore(store_path).sha256


@pytest.mark.parametrize(
    ("arch", "said"),
    [
        ("nowhere.json", "check the path"),
        ("naslung/model-77", "model-1"),
        ("nowhere/model-1", "naslung"),
        ("model-1", "<space>/<published name>"),
    ],
)
def test_architectures_that_are_not_there(command: Command, arch: str, said: str) -> None:
    refused(command.train(f"arch={arch}"), said)


def test_no_architecture_and_an_unknown_protocol(command: Command) -> None:
    refused(command.train(), "arch")
    refused(command.train("arch=naslung/model-1", "protocol=best"), "holdout")


@pytest.mark.parametrize(
    "mistake",
    [
        "space=nowhere",
        pytest.param("hydra.run.dir=taken", marks=pytest.mark.slow),
        pytest.param("hydra.run.dir=taken/below", marks=pytest.mark.slow),
    ],
)
def test_a_real_process_ends_with_two_and_one_line(tmp_path: Path, mistake: str) -> None:
    (tmp_path / "taken").write_text("a file, no folder")
    words = [sys.executable, str(REPO / "run_search.py"), mistake]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert mistake.partition("=")[2] in done.stderr


@pytest.mark.slow
def test_retraining_under_torchrun(tmp_path: Path, data_cache: Path, store_path: Path) -> None:
    """Two processes train one network together and leave one result."""
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    settings = [*SMALL, "split.folds=3", "name=t", "resamples=50", f"data_cache={data_cache}", "device=cpu"]
    nothing = ["baselines.published=null", "baselines.random_search=false", *NO_FEATURES]
    words += [str(REPO / "run_train.py"), "arch=naslung/model-1", *settings, *nothing]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=500)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "outputs/train/t/result.json").read_text())
    assert len(result["folds"]) == 2
    assert done.stdout.count("wrote ") == 1


@pytest.mark.slow
def test_B3_G2_a_training_takes_the_data_of_its_search(command: Command) -> None:
    """Without data settings of its own; with some it is refused if its test part holds patients of the search."""
    assert command.search("study.trials=1", "split.folds=3")[0] == 0
    words = ["training=demo", "training.epochs=1", "training.batch_size=128", "name=t", "resamples=20", "rounds=1"]
    words += ["arch=outputs/s/arch.json", "baselines.published=null", "baselines.random_search=false", *NO_FEATURES]
    code, _, err = command(run_train.main, *words)
    assert code == 0, err
    result = json.loads((command.folder / "outputs/train/t/result.json").read_text())
    search = load(command.folder / "outputs/s/arch.json").provenance.search
    assert search is not None
    assert (result["data"]["sha256"], result["split"]["sha256"]) == (search.data.sha256, search.split.sha256)
    kept = {path: path.read_bytes() for path in (command.folder / "outputs/train/t").rglob("*") if path.is_file()}
    for other in (["split.seed=7"], ["data.size=24", "split.seed=7"], ["split.test_fold=1"]):
        refused(command(run_train.main, *words, *other), "that its search has seen")
    refused(command(run_train.main, *words, "training.lr=0.5"), "training.lr")
    after = {path: path.read_bytes() for path in (command.folder / "outputs/train/t").rglob("*") if path.is_file()}
    assert {path: text for path, text in after.items() if path.suffix != ".log"} == {
        path: text for path, text in kept.items() if path.suffix != ".log"
    }

"""Outputs of every command: refused commands change nothing, damage is found, full disks end in one line."""

from __future__ import annotations

import errno
import logging
import os
import pickle
import resource
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import hydra.core.utils
import numpy as np
import pytest

import run_search
import run_train
from experiments.cli import INTERRUPTED, mistake_of, run_command
from experiments.config import SearchConfig
from experiments.job_folder import Job, LaterFile, open_folder
from experiments.search.check import check_metrics
from nas.data.sample import Sample
from nas.data.store_writer import write_store
from nas.errors import NASError
from nas.history import Proposal
from nas.multiobjective.constraints import Constraint
from nas.strategies.feasible import require_feasible
from nas.strategies.sampling import OPEN, CostWindow
from nas.study.storage import Store
from nas.utils.files import atomic_folder, exclusive, write_text
from nas.utils.folders import OutputFolder
from tests.commands import Command, refused, voxnas
from tests.comparisons import write_search
from tests.problems import problem_of, study_of
from tests.tables import OBJECTIVES, SPACE
from tests.trees import snapshot

REFUSED = [
    "predict nowhere scan.nii.gz --out new/masks",
    "predict segmenter nowhere.nii.gz --out new/masks",
    "predict segmenter broken.nii.gz --out new/deep/mask.nii.gz",
    "predict segmenter scan.nii.gz broken.nii.gz --out broken.nii.gz",
    "predict segmenter scan.nii.gz --out broken.nii.gz/below/masks",
    "evaluate nowhere labelled --out new/evaluation",
    "evaluate segmenter nowhere --out new/evaluation",
    "export nowhere --out new/export",
    "export segmenter --format onnx --size 7777,1 --out new/export",
    "export s/arch.json --out new/export",
    "compare nowhere --out new/compared",
    "compare t nowhere --out new/compared",
    "compare t --out broken.nii.gz",
    "new space naslung",
    "new space 1x --folder new/package",
    "new space fresh --folder s",
    "cost nowhere --out new/table.json",
    "cost naslung --set nonsense=1 --out new/table.json",
    "cost naslung --out broken.nii.gz/table.json",
    "study list new",
    "study export study.db --out new/trials.parquet",
    "study export study.db --out s",
    "study resume study.db",
    "study delete study.db other --yes",
    "pooled a=new/x*",
    "networks nowhere",
    "tables nowhere --out new/tables",
    "screen nowhere --no-network --out new/screening",
    "screen broken.nii.gz --no-network --out new/screening",
    "brats predict nowhere --root new --out new/brats",
    "board --port 99999999 --folder new/board",
]
REFUSED_JOBS: list[tuple[Callable[[], None], str]] = [
    (run_search.main, "study.name=s study.trials=0"),
    (run_search.main, "study.name=new space=nowhere"),
    (run_search.main, "study.name=new hydra.run.dir=broken.nii.gz/s training.epochs=x"),
    (run_search.main, "-m study.name=new study.trials=0,-1 hydra.sweep.dir=sweep"),
    (run_train.main, "name=t arch=nowhere.json"),
    (run_train.main, "name=new"),
]


@pytest.mark.parametrize("words", REFUSED)
def test_B1_refused_commands_change_nothing(words: str, place: Path, capsys: pytest.CaptureFixture) -> None:
    before = snapshot(place)
    code, out, err = voxnas(capsys, *words.split())
    assert code == 2, out
    assert "Traceback" not in err
    assert snapshot(place) == before


@pytest.mark.parametrize(("main", "words"), REFUSED_JOBS, ids=lambda value: value if isinstance(value, str) else "")
def test_B7_refused_jobs_leave_no_folder_and_no_log(
    main: Callable[[], None], words: str, place: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    before = snapshot(place)
    code, _, err = command(main, *words.split())
    assert code == 2
    assert "Traceback" not in err
    assert snapshot(place, without=("sweep",)) == before  # a sweep has its multirun.yaml
    assert [path.name for path in (place / "sweep").glob("*")] in ([], ["multirun.yaml"])


def test_B7_the_log_of_a_job_begins_before_its_folder(tmp_path: Path) -> None:
    """Records before the checks have passed are written then; a process of a launcher gets the job by pickle."""
    job = pickle.loads(pickle.dumps(Job(run_search.run)))
    assert job.__wrapped__ is run_search.run
    folder = tmp_path / "deep/out"
    for opened in (False, True):
        hydra.core.utils.Path(str(folder)).mkdir(parents=True, exist_ok=True)  # as Hydra does for each job
        handler = LaterFile(str(folder / "job.log"))
        logger = logging.Logger("test")
        logger.addHandler(handler)
        logger.info("before")
        assert not folder.exists()
        if opened:
            open_folder(folder)
            logger.info("after")
        handler.close()
    assert (folder / "job.log").read_text() == "before\nafter\n"


@pytest.mark.parametrize(
    "words",
    ["predict segmenter scan.npy --out held/a.npy", "compare t --out held", "evaluate segmenter labelled --out held"],
)
def test_B2_a_folder_is_held_by_one_command(words: str, place: Path, capsys: pytest.CaptureFixture) -> None:
    if words.startswith("evaluate"):
        write_labelled(place)
    with exclusive(place / "held"):
        before = snapshot(place)
        refused(voxnas(capsys, *words.split()), "another process works")
        assert snapshot(place) == before
    assert not (place / "held").exists()


def write_labelled(place: Path) -> None:
    import nibabel

    for kind in ("imagesTr", "labelsTr"):
        (place / "labelled" / kind).mkdir(parents=True)
        values = np.random.default_rng(0).integers(0, 3, (8, 8, 8)).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), place / "labelled" / kind / "a.nii.gz")


def test_B2_folders_of_other_jobs_are_refused(place: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search with another name, and a training in the folder of a search."""
    from experiments.context import require_own_folder

    with pytest.raises(NASError, match=r"a search with study\.name=s"):
        require_own_folder(place / "s", {"study": {"name": "other"}})
    with pytest.raises(NASError, match=r"its own for name=t"):
        require_own_folder(place / "s", {"name": "t"})
    require_own_folder(place / "s", {"study": {"name": "s"}})
    require_own_folder(place / "nowhere", {"name": "t"})


def test_B6_special_files_are_written_to(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    pipe, found = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: found.append(pipe.read_text()), daemon=True)
    reader.start()
    write_text(pipe, "through a pipe")
    reader.join(20)
    assert found == ["through a pipe"]
    assert pipe.is_fifo()
    write_text("/dev/stdout", "to the terminal")
    assert capfd.readouterr().out == "to the terminal"
    write_text("/dev/null", "nowhere")
    assert Path("/dev/null").is_char_device()
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "new"
    with pytest.raises(IsADirectoryError):
        write_text(tmp_path, "a folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "pipe", "target"]


def test_B8_limits_out_of_reach_name_what_can_be_reached() -> None:
    problem = problem_of(SPACE, OBJECTIVES, constraints=[Constraint.parse("macs<=1")])
    genes_NG = SPACE.enumerate()
    assert genes_NG is not None
    cost_N = problem.cost(genes_NG)
    with pytest.raises(NASError, match=f"macs from {cost_N.min():g} to {cost_N.max():g}".replace("+", r"\+")):
        require_feasible(problem, OPEN, draws=True)
    free = problem_of(SPACE, OBJECTIVES)
    for draws in (True, False):
        with pytest.raises(NASError, match=r"strategy\.cost_min=1e\+15"):
            require_feasible(free, CostWindow(1e15, None), draws=draws)
        require_feasible(free, CostWindow(float(cost_N.min()), float(cost_N.min())), draws=draws)
    require_feasible(problem_of(SPACE, OBJECTIVES, constraints=[Constraint.parse("auc>=2")]), OPEN, draws=True)


@pytest.mark.parametrize(
    "setting",
    ["objectives={nope: maximize}", "objectives={auc: maximize, dice_1: maximize}", "constraints=['nope<=1']"],
)
def test_B8_an_unknown_metric_is_refused_before_the_data(
    setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    command = Command(tmp_path, tmp_path / "cache", monkeypatch, capsys)
    refused(command.search(setting), "the metric 'nope'" if "nope" in setting else "dice_1", "one of ", "auc")
    assert list(tmp_path.iterdir()) == []


def test_B8_metrics_that_are_known_before_the_data() -> None:
    plain = {
        "space": {"_target_": "search_spaces.UNetSpace"},
        "evaluator": {"_target_": "nas.evaluators.Train", "settings": {"_target_": "nas.training.TrainingSettings"}},
        "study": {"name": "s", "trials": 1},
        "objectives": {"score": "maximize", "macs": "minimize", "dice_12": "maximize", "training_bytes": "minimize"},
        **{part: {} for part in ("data", "split", "training", "tracking", "strategy")},
    }
    check_metrics(SearchConfig.of({**plain, "task": None}))
    with pytest.raises(NASError, match="surface_dices"):
        check_metrics(SearchConfig.of({**plain, "task": None, "constraints": ["surface_dices>=0.5"]}))
    of_data = {"_target_": "nas.tasks.Classification", "class_weights": [1, 2, 3]}  # of three classes
    check_metrics(SearchConfig.of({**plain, "task": of_data, "objectives": {"nope": "maximize"}}))


@contextmanager
def limited(size: int) -> Iterator[None]:
    """No file may grow beyond a size, as with `ulimit -f`."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_B9_a_store_on_a_full_disk(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    """HDF5 neither prints nor crashes, no file is left, and the same call works once there is room."""
    volume = np.random.default_rng(0).normal(size=(1, 32, 32, 32)).astype(np.float32)
    samples = [Sample(str(number), volume, number % 2, str(number)) for number in range(8)]
    path = tmp_path / "cache/toy.h5"
    path.parent.mkdir()
    for size in (1000, 300_000):
        with limited(size), pytest.raises(OSError) as caught:
            write_store(path, samples, name="toy", classes=("a", "b"), provenance={})
        assert caught.value.errno == errno.EFBIG
        assert "file too large" in str(mistake_of(caught.value))
        assert list(path.parent.iterdir()) == []
    assert len(write_store(path, samples, name="toy", classes=("a", "b"), provenance={})) == 8
    assert capfd.readouterr().err == ""


def test_B10_a_study_on_a_full_disk_ends_in_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.study.storage.DISK_PATIENCE_S", 0.5)
    url = f"sqlite:///{tmp_path}/study.db"
    study = study_of(url, "s", SPACE, OBJECTIVES, {})
    started = time.monotonic()
    with limited((tmp_path / "study.db").stat().st_size):
        for _ in range(3):  # of which only the first waits
            with pytest.raises(NASError, match="make room"):
                study.store.set_attr("key", "x" * 200_000)
    assert time.monotonic() - started < 20  # instead of two minutes
    study.store.set_attr("key", "x" * 200_000)
    study.close()


def test_B10_a_study_that_is_removed_ends_at_once(tmp_path: Path) -> None:
    study = study_of(f"sqlite:///{tmp_path}/out/study.db", "s", SPACE, OBJECTIVES, {})
    shutil.rmtree(tmp_path / "out")
    started = time.monotonic()
    with pytest.raises(NASError, match="has been removed"):
        study.claim(Proposal(SPACE.sample(np.random.default_rng(0))), "0")
    assert time.monotonic() - started < 20  # instead of two minutes
    assert not (tmp_path / "out").exists()
    study.close()


def test_B10_an_output_folder_that_was_replaced_is_gone(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path / "a")
    folder.require()
    folder.path.mkdir()
    folder.watch()
    folder.require()
    folder.path.rename(tmp_path / "b")
    folder.path.mkdir()
    assert folder.is_gone()
    with pytest.raises(NASError, match="was removed during the search"):
        folder.require()


def test_B10_a_file_in_place_of_a_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file/below", tmp_path / "file"):
        with pytest.raises(NASError, match="name another folder"), exclusive(path):
            raise AssertionError
    with pytest.raises(OSError) as caught, atomic_folder(tmp_path / "file/below/folder"):
        raise AssertionError
    assert mistake_of(caught.value) is not None
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_G12_a_study_of_another_optuna(tmp_path: Path) -> None:
    import sqlite3

    url, path = f"sqlite:///{tmp_path}/study.db", tmp_path / "study.db"
    study_of(url, "s", SPACE, OBJECTIVES, {}).close()
    for version, advice in (("v3.0.0.d", "optuna storage upgrade"), ("v99.0.0.a", "pip install -U optuna")):
        database = sqlite3.connect(path)
        database.execute("UPDATE alembic_version SET version_num = ?", (version,))
        database.execute("UPDATE version_info SET library_version = '3.0.0'")
        database.execute("DROP TABLE IF EXISTS trial_heartbeats")
        database.commit()
        database.close()
        before = snapshot(tmp_path)
        for read_only in (False, True):
            with pytest.raises(NASError, match=rf"written by Optuna 3\.0\.0.*{advice}"):
                Store(url, read_only=read_only)
        assert snapshot(tmp_path) == before
    (tmp_path / "study.log").write_text('{"op_code":77,"worker_id":"x"}\n')
    with pytest.raises(NASError, match="another version of Optuna"):
        Store(f"journal://{tmp_path}/study.log")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGUSR1"])
def test_G14_signals(name: str, capsys: pytest.CaptureFixture) -> None:
    ended = []

    def body() -> None:
        try:
            os.kill(os.getpid(), getattr(signal, name))
            time.sleep(20)
        finally:
            ended.append("results are written")

    before = signal.signal(getattr(signal, name), signal.SIG_DFL)  # under nohup it is ignored
    try:
        assert run_command(body, "interrupted") == INTERRUPTED
    finally:
        signal.signal(getattr(signal, name), before)
    assert capsys.readouterr().err == "interrupted\n"
    assert ended == ["results are written"]


@pytest.mark.parametrize("answer", ["--files", "y\n", "n\n"])
def test_G17_deleting_a_study_offers_its_files(
    answer: str, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    folder = write_search(tmp_path / "s", [0.5, 0.9])
    write_text(folder / "checkpoints/a/best.pt", "x")
    write_text(folder / "notes.txt", "of the user")
    study_of(f"sqlite:///{folder}/study.db", "s", SPACE, OBJECTIVES, {}, config={"folder": str(folder)}).close()
    monkeypatch.setattr("sys.stdin", io.StringIO(f"s\n{answer}"))
    words = ["--yes", "--files"] if answer == "--files" else []
    code, out, err = voxnas(capsys, "study", "delete", folder, *words)
    assert code == 0, err
    kept = answer == "n\n"
    assert ("kept its checkpoints" in out) == kept
    left = {path.name for path in folder.iterdir()}
    assert left == (
        {"study.db", "notes.txt", "checkpoints", "arch.json", "trials.csv", "config.yaml"} if kept else {"notes.txt"}
    )


def test_G17_only_files_of_that_study_are_removed(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """A study from elsewhere may record any folder."""
    folder = write_search(tmp_path / "other", [0.5, 0.9])
    url = f"sqlite:///{tmp_path}/study.db"
    study_of(url, "s", SPACE, OBJECTIVES, {}, config={"folder": str(folder)}).close()
    before = snapshot(folder)
    assert voxnas(capsys, "study", "delete", url, "--yes", "--files")[0] == 0
    assert snapshot(folder) == before


def test_G18_paths_are_relative_to_where_the_user_is(
    place: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    before = snapshot(place)
    code, _, err = command(run_train.main, "arch=s/nowhere.json", "name=t2", "hydra.job.chdir=true")
    refused((code, "", err), "s/nowhere.json")
    assert snapshot(place) == before

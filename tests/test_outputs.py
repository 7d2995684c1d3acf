"""Outputs of every command: refused commands change nothing, damage is found, full disks end in one line."""

from __future__ import annotations

import errno
import json
import logging
import os
import pickle
import resource
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import hydra.core.utils
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import run_search
import run_train
from experiments.cli import INTERRUPTED, mistake_of, run_command
from experiments.job_folder import Job, LaterFile, open_folder
from nas.artifact import load
from nas.bundle import ARCH, CARD, Bundle
from nas.context import RunContext
from nas.data.sample import Sample
from nas.data.store import VolumeStore
from nas.data.store_damage import DamagedStore
from nas.data.store_writer import write_store
from nas.errors import NASError
from nas.evaluators.train import Train
from nas.history import History, Proposal, State
from nas.multiobjective.constraints import Constraint
from nas.retraining.result import TrainResult
from nas.strategies.feasible import require_feasible
from nas.strategies.halving import SuccessiveHalving
from nas.strategies.keeping import CheckpointKeeper
from nas.strategies.random import RandomSearch
from nas.strategies.sampling import OPEN, CostWindow
from nas.study.storage import Store
from nas.training.curves import CURVES
from nas.training.settings import TrainingSettings
from nas.utils.files import atomic_folder, exclusive, write_text
from tests.commands import Command, refused, voxnas
from tests.comparisons import write_search, write_training
from tests.problems import problem_of, study_of
from tests.tables import OBJECTIVES, SPACE, records_of
from tests.test_bundle import bundle
from tests.trainings import write_segmenter
from tests.trees import snapshot

PROPERTY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the results of a search, of trainings and of a study, a broken scan and one with values."""
    folder = tmp_path_factory.mktemp("results")
    write_search(folder / "s", [0.5, 0.9, 0.6])
    write_training(folder / "t", 1.0)
    write_segmenter(folder / "segmenter", seeds=(0,))
    bundle().save(folder / "bundle")
    study = study_of(f"sqlite:///{folder}/study.db", "one", SPACE, OBJECTIVES, {"data": "d"})
    study.close()
    np.save(folder / "scan.npy", np.zeros((1, 8, 8, 8), dtype=np.float32))
    (folder / "broken.nii.gz").write_bytes(b"broken")
    (folder / "labelled").mkdir()
    return folder


@pytest.fixture
def place(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy = Path(shutil.copytree(results, tmp_path / "results"))
    monkeypatch.chdir(copy)
    return copy


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


def damaged(data: st.DataObject, content: bytes) -> bytes:
    """The content with flipped bits, a hole, or without its end."""
    at = data.draw(st.integers(0, len(content) - 1))
    kind = data.draw(st.sampled_from(["flip", "hole", "cut"]))
    if kind == "cut":
        return content[:at]
    changed = bytearray(content)
    if kind == "flip":
        changed[at] ^= data.draw(st.integers(1, 255))
    else:
        changed[at : at + 64] = bytes(len(changed[at : at + 64]))
    return bytes(changed)


def facts(path: Path) -> Any:
    """The content that a reader returns, in a form that can be compared."""
    if path.name == "result.json":
        return json.dumps(TrainResult.load(path).to_json())
    if path.name == ARCH and path.parent.name == "s":
        found = load(path)
        return found.arch, found.metrics, found.provenance, found.task
    found_bundle = Bundle.load(path.parent)
    return found_bundle.card, found_bundle.curves, found_bundle.artifact.metrics, found_bundle.artifact.arch


@PROPERTY
@given(st.data())
@pytest.mark.parametrize("name", ["s/arch.json", "t/result.json", CARD, ARCH, CURVES])
def test_B4_damaged_results_are_never_loaded(name: str, results: Path, data: st.DataObject) -> None:
    """One line, or the same content if the damage changed no value."""
    path = results / name if "/" in name else results / "bundle" / name
    whole, expected = path.read_bytes(), facts(path)
    path.write_bytes(damaged(data, whole))
    try:
        with suppress(NASError):
            assert facts(path) == expected
    finally:
        path.write_bytes(whole)


def test_B4_an_arch_json_that_a_program_changed_on_purpose_is_read(place: Path) -> None:
    path = place / "s/arch.json"
    content = json.loads(path.read_text())
    content["metrics"]["auc"] = 0.25
    path.write_text(json.dumps(content, indent=1))
    with pytest.raises(NASError, match="does not match its checksum"):
        load(path)
    path.write_text(json.dumps(content))
    assert load(path).metrics["auc"] == 0.25


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    samples = [
        Sample(
            f"case {number}",
            rng.normal(size=(1, 4, 4, 4)).astype(np.float32),
            number % 2,
            f"patient {number}",
            (1.0, 2.0, 3.0),
            7.5,
            content=f"{number}" * 64,
        )
        for number in range(6)
    ]
    path = tmp_path_factory.mktemp("store") / "toy.h5"
    write_store(path, samples, name="toy", classes=("a", "b"), provenance={"licence": "CC0"})
    return path


def whole_content(path: Path) -> Any:
    store = VolumeStore(path)
    columns = (store.labels, store.groups, store.names, store.folds, store.spacing_mm, store.size_mm3)
    rest = (store.classes, store.scale, store.offset, store.sha256, dict(store.provenance), store.content_digests([1]))
    return [column.tolist() for column in columns], rest, store.read(range(len(store))).tobytes()


@PROPERTY
@given(st.data())
def test_B4_a_damaged_store_is_never_loaded(store: Path, tmp_path: Path, data: st.DataObject) -> None:
    copy = tmp_path / "copy.h5"
    copy.write_bytes(damaged(data, store.read_bytes()))
    expected = whole_content(store)
    with suppress(NASError):
        assert whole_content(copy) == expected


def test_B4_a_damaged_copy_of_the_source_is_made_anew(tmp_path: Path) -> None:
    """Damage that opening finds, and damage of a volume, which is found when it is read."""
    from nas.data.sources.lidc_shapes import LidcShapes

    class Toy(LidcShapes):
        name = "toy"
        classes = ("a", "b")

        def __init__(self, cache_dir: str) -> None:
            self.cache_dir = cache_dir

        def content(self) -> Mapping[str, Any]:
            return {}

        def preparation(self) -> Mapping[str, Any]:
            return {}

        def samples(self) -> Iterator[Sample]:
            for number in range(4):
                volume = np.random.default_rng(number).normal(size=(1, 8, 8, 8)).astype(np.float32)
                yield Sample(str(number), volume, number % 2, str(number))

    source = Toy(str(tmp_path))
    path = source.prepare().path
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    expected = source.prepare().read(range(4))
    with_volumes = bytearray(path.read_bytes())
    import h5py

    with h5py.File(path) as file:
        at = file["volumes"].id.get_chunk_info(2).byte_offset + 100
    with_volumes[at] ^= 0xFF
    path.write_bytes(with_volumes)
    with pytest.raises(DamagedStore, match="repeat the command"):
        source.prepare().read(range(4))
    np.testing.assert_array_equal(source.prepare().read(range(4)), expected)


PROBLEM = problem_of(SPACE, OBJECTIVES)


def history_of(scores: Mapping[str, tuple[int, float, float]], states: Mapping[int, State] | None = None) -> History:
    """Trials by number of the network: budget, score and cost."""
    trials = []
    for number, (row, (budget, score, macs)) in enumerate(scores.items()):
        record = records_of()[int(row.partition("/")[0])]
        state = (states or {}).get(number, State.COMPLETE)
        metrics = {"auc": score, "macs": macs} if state is State.COMPLETE else {}
        trials.append(
            replace(record, number=number, budget=budget, state=state, metrics=metrics, finished=number + 1.0)
        )
    return History(tuple(trials), OBJECTIVES, lambda genes_NG: np.zeros(len(genes_NG)))


@pytest.mark.parametrize(("keep", "kept"), [("all", {0, 1, 2, 3, 4}), ("front", {0, 1, 3}), ("best", {1, 3})])
def test_B5_kept_checkpoints(keep: Any, kept: set[int], tmp_path: Path) -> None:
    """Of a running trial (3) as well; a failed trial (4) and a dominated one (2) keep their curves only."""
    scores = {"0": (0, 0.7, 1.0), "1": (0, 0.9, 3.0), "2": (0, 0.6, 2.0), "3": (0, 0.0, 0.0), "4": (0, 0.0, 0.0)}
    history = history_of(scores, {3: State.RUNNING, 4: State.FAILED})
    context = RunContext(None, None, tmp_path, torch.device("cpu"), 0)  # type: ignore[arg-type]
    evaluator = Train()
    for trial in history:
        folder = evaluator.folder_of(Proposal(trial.arch), PROBLEM, context)
        for name in ("last.pt", "best.pt", CURVES):
            write_text(folder / name, "x")
    (tmp_path / "supernet").mkdir()
    (tmp_path / "supernet/last.pt").touch()
    CheckpointKeeper(keep, RandomSearch(), evaluator, PROBLEM, context).tidy(history)
    left = {trial.number for trial in history if (tmp_path / trial.arch.id / "best.pt").exists()}
    assert left == kept
    assert {trial.number for trial in history if (tmp_path / trial.arch.id / "last.pt").exists()} == kept
    assert all((tmp_path / trial.arch.id / CURVES).exists() for trial in history)
    assert (tmp_path / "supernet/last.pt").exists()
    with pytest.raises(NASError, match=r"study\.keep_checkpoints=all") if keep == "best" else pytest.raises(Exception):
        evaluator.network(Proposal(history[2].arch), PROBLEM, context)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_B5_a_promotion_finds_its_checkpoint(schedule: str, tmp_path: Path) -> None:
    """With a constant rate every network below the highest rung is kept; else a promotion starts again anyway."""
    evaluator = Train(TrainingSettings(epochs=9, schedule=schedule))
    strategy = SuccessiveHalving(eta=3, min_budget=1, max_budget=9)
    history = history_of({"0": (1, 0.9, 1.0), "1": (1, 0.5, 2.0), "2": (9, 0.4, 3.0), "2/low": (1, 0.3, 3.0)})
    context = RunContext(None, None, tmp_path, torch.device("cpu"), 0)  # type: ignore[arg-type]
    for trial in history:
        write_text(evaluator.folder_of(Proposal(trial.arch, trial.budget), PROBLEM, context) / "last.pt", "x")
    CheckpointKeeper("best", strategy, evaluator, PROBLEM, context).tidy(history)
    left = {path.parent.name for path in tmp_path.glob("*/last.pt")}
    ids = [trial.arch.id for trial in history]
    assert left == (set(ids[:3]) if schedule == "constant" else {f"{ids[0]}-1-epochs"})


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

    assert run_command(body, "interrupted") == INTERRUPTED
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

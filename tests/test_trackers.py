"""TensorBoard and MLflow by their own clients, several trackers together, and what a search and a training send."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.search.tracked import TrackedSearch
from experiments.trackers import build_trackers
from nas.data.sample import Sample
from nas.data.store_writer import write_store
from nas.errors import NASError
from nas.history import History, State, Trial
from nas.problem import Problem
from nas.report.examples import case_pictures, data_pictures
from nas.tasks.base import TestedCases
from nas.tracking.base import NO_TRACKING, Front, NoTracking, TrackedRun, Tracker, Trackers
from nas.tracking.front_picture import front_picture
from nas.tracking.mlflow_run import MLflowRun
from nas.tracking.tensorboard_files import TensorBoardFiles
from nas.tracking.visdom_board import VisdomBoard
from search_spaces.naslung import NASLungSpace
from tests.commands import Command
from tests.problems import problem_of
from tests.test_conformance import composed

FRONT = Front("macs", "auc", np.array([[1.0, 0.5], [2.0, 0.75]]), np.array([True, False]), ("trial 0", "trial 1"))


class Recorder(Tracker):
    """A tracker that fails from the call of some method on."""

    def __init__(self, failing: str = "") -> None:
        self.failing = failing
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def _call(self, method: str, *values: Any) -> None:
        if method == self.failing:
            raise ConnectionError("server gone\nlong story")
        self.calls.append((method, values))

    def start(self, run: TrackedRun) -> None:
        self._call("start", run)

    def scalar(self, plot: str, series: str, step: float, value: float) -> None:
        self._call("scalar", plot, series, step, value)

    def text(self, name: str, html: str) -> None:
        self._call("text", name)

    def front(self, front: Front) -> None:
        self._call("front", front)

    def picture(self, name: str, picture_HW3: np.ndarray, caption: str = "") -> None:
        self._call("picture", name, picture_HW3.shape, caption)

    def close(self) -> None:
        self._call("close")


def send(tracker: Tracker, run: TrackedRun, steps: range) -> None:
    tracker.start(run)
    for step in steps:
        tracker.scalar("search", "auc", step, 0.5 + step / 8)
    tracker.scalar("search", "auc", 9, float("nan"))
    tracker.front(FRONT)
    tracker.text("networks", "<b>two</b>")
    tracker.picture("sample 1", np.zeros((8, 8, 3), dtype=np.uint8), "nodule")
    tracker.close()


def test_a_tracker_that_fails_is_one_warning_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    good, bad = Recorder(), Recorder("scalar")
    both = Trackers({"bad": bad, "good": good})
    send(both, TrackedRun("run", Path("folder")), range(3))
    assert [name for name, _ in bad.calls] == ["start"]
    assert [name for name, _ in good.calls] == ["start", *["scalar"] * 4, "front", "text", "picture", "close"]
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.getMessage() == ("tracking=bad failed (ConnectionError: server gone); the run continues without it")


def test_an_interrupt_is_no_failure_of_a_tracker() -> None:
    class Interrupted(Tracker):
        def text(self, name: str, html: str) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Trackers({"a": Interrupted()}).text("a", "b")


def tensorboard_values(folder: Path) -> list[tuple[str, int]]:
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    events = [event for file in sorted(folder.glob("*tfevents*")) for event in EventFileLoader(str(file)).Load()]
    return [(value.tag, event.step) for event in events for value in event.summary.value]


def test_tensorboard_has_every_point_once_after_a_resume(tmp_path: Path) -> None:
    run = TrackedRun("run", tmp_path, {"seed": 3, "space": {"width": 8}})
    send(TensorBoardFiles(), run, range(3))
    send(TensorBoardFiles(), run, range(1, 5))
    values = tensorboard_values(tmp_path / "tensorboard")
    assert [step for tag, step in values if tag == "search/auc"] == [0, 1, 2, 3, 4]
    for tag in ("settings/text_summary", "Pareto front", "sample 1: nodule"):
        assert len([found for found, _ in values if found == tag]) == 1, tag
    other = TrackedRun("run", tmp_path, worker=2)
    send(TensorBoardFiles(), other, range(2))
    assert len(tensorboard_values(tmp_path / "tensorboard/worker-2")) > 2
    assert len(tensorboard_values(tmp_path / "tensorboard")) == len(values)


def test_mlflow_has_one_run_for_all_workers_and_every_point_once(tmp_path: Path) -> None:
    run = TrackedRun("study", tmp_path, {"seed": 3, "space": {"width": 8}, "long": "x" * 9000})
    uri = str(tmp_path / "mlruns")
    for steps, worker in ((range(3), 0), (range(1, 5), 0), (range(5, 7), 1)):
        send(MLflowRun(uri), TrackedRun(run.name, run.folder, run.settings, worker), steps)
    from mlflow.tracking import MlflowClient

    client = MlflowClient((tmp_path / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("voxnas")
    assert experiment is not None
    (found,) = client.search_runs([experiment.experiment_id])
    points = client.get_metric_history(found.info.run_id, "search/auc")
    assert [(point.step, point.value) for point in points] == [(step, 0.5 + step / 8) for step in range(7)]
    assert found.info.run_name == "study"
    assert found.data.params["space.width"] == "8"
    names = {file.path for folder in ("", "examples") for file in client.list_artifacts(found.info.run_id, folder)}
    assert {"front.png", "networks.html", "examples/sample 1.png"} <= names
    send(MLflowRun(uri), TrackedRun("study", tmp_path / "elsewhere"), range(1))
    assert len(client.search_runs([experiment.experiment_id])) == 2


def test_a_server_of_mlflow_that_is_gone_is_one_warning(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    tracker = Trackers({"mlflow": MLflowRun("http://127.0.0.1:9")})
    send(tracker, TrackedRun("study", tmp_path), range(3))
    (record,) = [record for record in caplog.records if record.name == "nas.tracking.base"]
    assert record.getMessage().startswith("tracking=mlflow failed")


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_a_missing_package_is_one_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(NASError, match=rf"pip install 'voxnas\[{name}\]'"):
        build_trackers(composed(f"tracking={name}").tracking)


def test_trackers_stand_side_by_side_in_the_configuration() -> None:
    words = ["tracking=[visdom,tensorboard,mlflow]", "tracking.visdom.port=1", "tracking.visdom.env=x"]
    trackers = build_trackers(composed(*words).tracking)
    assert isinstance(trackers, Trackers)
    assert {name: type(one) for name, one in trackers.trackers.items()} == {
        "visdom": VisdomBoard,
        "tensorboard": TensorBoardFiles,
        "mlflow": MLflowRun,
    }
    assert build_trackers(composed("tracking=none").tracking) is NO_TRACKING
    assert build_trackers(composed().tracking) is NO_TRACKING


def test_the_form_of_earlier_versions_is_read() -> None:
    old = {"_target_": "nas.VisdomBoard", "server": "http://localhost", "port": 1, "env": "x"}
    trackers = build_trackers(old)
    assert isinstance(trackers, Trackers)
    assert isinstance(trackers.trackers["VisdomBoard"], VisdomBoard)
    with pytest.raises(NASError, match="@package tracking"):
        build_trackers({**old, "mlflow": {"_target_": "nas.MLflowRun"}})
    with pytest.raises(NASError, match="tracking"):
        build_trackers({"mine": {"_target_": "nas.History"}})


@pytest.mark.slow
def test_a_search_and_a_training_are_tracked_once(command: Command) -> None:
    """The search is resumed with one more trial."""
    trackers = ["tracking=[tensorboard,mlflow]", "split.folds=3"]
    for trials in (1, 2):
        code, _, err = command.search(*trackers, f"study.trials={trials}")
        assert code == 0, err
        assert "tracking=" not in err
    few = [f"baselines.{name}=false" for name in ("volume", "features", "random_search")]
    code, _, err = command.train(
        "arch=outputs/s/arch.json", *trackers, *few, "baselines.published=null", "rounds=1", "resamples=20"
    )
    assert code == 0, err
    assert "tracking=" not in err
    values = tensorboard_values(command.folder / "outputs/s/tensorboard")
    for series in ("search/auc", "search/best so far", "macs of trials/macs", "seconds of trials/seconds"):
        assert sorted(step for tag, step in values if tag == series) == [0, 1], series
    assert [tag for tag, _ in values if tag.startswith("validation auc of trials/trial 1")]
    assert len([tag for tag, _ in values if tag.startswith("validation sample")]) == 4
    tags = [tag for tag, _ in tensorboard_values(command.folder / "outputs/train/t/tensorboard")]
    assert len([tag for tag in tags if tag.startswith("test case")]) == 3
    assert tags.count("test/auc") == 1
    from mlflow.tracking import MlflowClient

    client = MlflowClient((command.folder / "outputs/mlruns").as_uri())
    experiment = client.get_experiment_by_name("voxnas")
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"s", "t"}
    points = client.get_metric_history(runs["s"].info.run_id, "search/auc")
    assert sorted(point.step for point in points) == [0, 1]
    assert "test/auc" in runs["t"].data.metrics
    assert runs["s"].data.params["training.epochs"] == "1"


def test_the_base_does_nothing() -> None:
    send(NoTracking(), TrackedRun("run", Path("folder")), range(2))
    assert not Path("folder").exists()


def test_the_front_is_drawn() -> None:
    picture = front_picture(FRONT)
    assert picture.shape == (400, 600, 3)
    assert {(0x24, 0x68, 0xA8), (0xA0, 0xA0, 0xA0)} <= {tuple(colour) for colour in picture.reshape(-1, 3)}


def history_of(problem: Problem, scores: Mapping[int, tuple[float, str]]) -> History:
    space, records = problem.space, []
    for number, (score, worker) in scores.items():
        arch = space.repair([number % len(gene.choices) for gene in space.genes])
        metrics = {"auc": score, **problem.cost.all_of(arch, ["macs"])}
        records.append(Trial(number, arch, 0, State.COMPLETE, metrics, worker=worker, finished=float(number + 1)))
    return History(tuple(records), problem.objectives, lambda genes_NG: genes_NG.sum(axis=1))


def test_a_worker_sends_its_own_trials_and_the_front_of_all() -> None:
    problem = problem_of(NASLungSpace(), {"auc": "maximize", "macs": "minimize"})
    recorder = Recorder()
    search = TrackedSearch(Trackers({"one": recorder}), problem, worker=1)
    search.update(history_of(problem, {}))
    search.update(history_of(problem, {0: (0.5, "1"), 1: (0.75, "0")}))
    search.update(history_of(problem, {0: (0.5, "1"), 1: (0.75, "0")}))
    search.update(history_of(problem, {0: (0.5, "1"), 1: (0.75, "0"), 2: (0.625, "1")}))
    points = [values for name, values in recorder.calls if name == "scalar"]
    assert [values for values in points if values[0] == "search"] == [
        ("search", "auc", 0, 0.5),
        ("search", "best so far", 0, 0.5),
        ("search", "auc", 2, 0.625),
        ("search", "best so far", 2, 0.75),
    ]
    fronts = [values[0] for name, values in recorder.calls if name == "front"]
    assert [len(front.names) for front in fronts] == [2, 3]
    assert fronts[-1].best_N[list(fronts[-1].names).index("trial 1")]
    quiet = TrackedSearch(NO_TRACKING, problem, worker=1)
    quiet.update(history_of(problem, {0: (0.5, "1")}))
    assert quiet._sent == set()


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", ["classification", "segmentation", "detection", "regression"])
def test_pictures_of_samples(kind: str, dims: int, tmp_path: Path) -> None:
    rng, shape = np.random.default_rng(0), (1, 4 if dims == 3 else 1, 6, 8)
    samples = []
    for number in range(7):
        truth: dict[str, Any] = {
            "classification": {},
            "segmentation": {"mask_DHW": rng.integers(0, 2, size=shape[1:]).astype(np.uint8)},
            "detection": {"boxes_M7": np.array([[0, 1, 1, 1, 4, 5, 0]], dtype=np.float32)},
            "regression": {"value": 1.5},
        }[kind]
        label = number % 2 if kind == "classification" else 0
        volume = rng.integers(0, 255, size=shape).astype(np.uint8)
        samples.append(Sample(f"s{number}", volume, label, f"p{number}", **truth))
    classes = ("score",) if kind == "regression" else ("benign", "malignant")
    store = write_store(tmp_path / "store.h5", samples, name="small", classes=classes, provenance={})
    pictures = data_pictures(store, np.arange(1, 7), 3)
    assert [one.name for one in pictures] == ["s1", "s3", "s6"]
    for one in pictures:
        assert one.picture_HW3.dtype == np.uint8
        assert max(one.picture_HW3.shape) >= 192
    captions = {"classification": "malignant", "regression": "1.5"}
    assert pictures[0].caption == captions.get(kind, "")
    assert len(data_pictures(store, np.arange(2), 4)) == 2


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", ["classification", "segmentation", "detection", "regression"])
def test_pictures_of_tested_cases(kind: str, dims: int) -> None:
    rng, shape = np.random.default_rng(0), (4, 6, 8)[3 - dims :]
    images = rng.normal(size=(5, *shape))
    box = [*([1] * dims), *([3] * dims)]
    targets: Mapping[str, tuple[np.ndarray, np.ndarray]] = {
        "classification": (np.array([0, 1, 0, 1, 1]), rng.dirichlet([1, 1], size=5)),
        "segmentation": (rng.integers(0, 2, size=(5, *shape)).astype(np.uint8), rng.random((5, 2, *shape))),
        "detection": (np.array([[[*box, 0]]] * 5, dtype=np.float32), np.array([[[*box, 0.9, 0]]] * 5)),
        "regression": (rng.random(5).astype(np.float32), rng.random((5, 1))),
    }
    target, prediction = targets[kind]
    cases = TestedCases(
        prediction,
        target,
        np.arange(5),
        ["benign", "malignant"],
        lambda position: (f"case {position}", images[position]),
    )
    pictures = case_pictures(cases, kind)
    assert len(pictures) == 3
    for one in pictures:
        assert one.picture_HW3.dtype == np.uint8
        assert one.picture_HW3.ndim == 3
        assert max(one.picture_HW3.shape) >= 192
        assert one.picture_HW3.std() > 0
    if kind == "classification":
        assert "predicted: " in pictures[0].caption
    if kind == "detection":
        assert any((pictures[0].picture_HW3 == (255, 120, 40)).all(axis=-1).ravel())

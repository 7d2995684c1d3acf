"""The check of a task."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from nas.baselines.base import Baseline
from nas.data.splits import Split
from nas.data.store import VolumeStore
from nas.errors import NASError
from nas.metrics.metric import Metric, Scores
from nas.task_spec import TaskSpec
from nas.tasks.base import Task, TestedCases, task_of
from nas.testing.examples import drawn_store, tiny_network
from nas.testing.findings import joined, no_error, require

FOLDS = 3
DIRECTIONS = ("maximize", "minimize")


def check_task(task: Task, network: nn.Module | None = None, store: VolumeStore | None = None) -> None:
    """Check the properties of a task that trainings, tables and bundles need.

    Settings rebuild the task; the loss is a finite scalar with gradients; predictions are finite, of float32, and those
    of a batch are those of its images; the network's mode is restored. Scores have the declared metrics over all cases
    and over bootstrap samples, a correct prediction is at least as good as a wrong one, and predictions.csv has a value
    for each case. Baselines predict the test part of every round, do not depend on its targets, and repeat themselves.
    Check a task for 2D and for 3D.

    Args:
        task: Task to check, for 2D or 3D (`task.spec.dims`).
        network: A network of the task; if None, a small one with an output for each voxel (segmentation) or volume.
            A task of detection needs one.
        store: Data for the task; if None, small balls are drawn with labels, masks, boxes or real numbers, according to
            the kind.

    Raises:
        CheckFailed: For the first property that does not hold.
    """
    _check_declarations(task)
    require(
        network is not None or task.spec.kind != "detection",
        "a task of detection without a network",
        "a network whose output the task can read",
        "check_task(task, network)",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = tiny_network(task.spec) if network is None else network
    with tempfile.TemporaryDirectory() as folder:
        data = drawn_store(Path(folder) / "drawn.h5", task.spec) if store is None else store
        with no_error(
            f"require_data({data.kind})", "data of the kind of task.spec", "set spec.kind to that of the data"
        ):
            task.require_data(data)
        rows = np.arange(len(data))
        x = _images(data, rows)
        _check_loss(task, model, x, data.targets(rows))
        prediction = _check_predictions(task, model, x)
        _check_scores(task, prediction, data)
        _check_sections(task, prediction, data)
        changed = partial(drawn_store, Path(folder) / "changed.h5", task.spec) if store is None else None
        _check_baselines(task, prediction, data, changed)


def _images(store: VolumeStore, rows: np.ndarray) -> torch.Tensor:
    x_NCDHW = torch.from_numpy(store.read(rows).astype(np.float32) * store.scale + store.offset)
    return x_NCDHW if store.dims == 3 else x_NCDHW.flatten(1, 2)


def _check_declarations(task: Task) -> None:
    spec, metrics = getattr(task, "spec", None), getattr(task, "metrics", None)
    require(isinstance(spec, TaskSpec), f"spec={spec!r}", "a TaskSpec", "set self.spec in __init__")
    declared = isinstance(metrics, tuple) and metrics and all(isinstance(metric, Metric) for metric in metrics)
    require(
        declared, f"metrics={metrics!r}", "a tuple of Metric, the score first", 'metrics = (Metric("dice", "Dice"),)'
    )
    names = [metric.name for metric in task.metrics]
    require(len(set(names)) == len(names), f"metrics {', '.join(names)}", "different names", "declare each once")
    found = f"direction={task.metrics[0].direction!r} of {names[0]}"
    require(all(one.direction in DIRECTIONS for one in task.metrics), found, "maximize or minimize", "choose one")
    require(
        task.metrics[0].quick, f"the score {names[0]} with quick=False", "a score known after each epoch", "quick=True"
    )
    keep = "keep every argument of __init__ under its name, as JSON values"
    with no_error("identity", "settings that a bundle can record", keep):
        record = json.loads(json.dumps(dict(task.identity)))
        again = task_of(record, allow=[type(task).__module__.partition(".")[0]])
    require(again.identity == task.identity, f"another task from {record}", "settings that build it again", keep)


def _check_loss(task: Task, model: nn.Module, x: torch.Tensor, targets: np.ndarray) -> None:
    y = torch.from_numpy(targets)
    y = y if y.is_floating_point() else y.long()
    model.train()
    stable = "compute it from logits in a stable form, such as F.cross_entropy"
    for scale in (1.0, 1e4):
        for rows in (slice(None), slice(0, 1)):
            with no_error(f"loss() of outputs times {scale:g}", "a scalar", "see the error"):
                output = model(x[rows])
                scaled = output * scale if isinstance(output, torch.Tensor) else output
                loss = task.loss(scaled, y[rows])
            found = f"a loss of shape {list(loss.shape)} for {len(x[rows])} cases"
            require(loss.ndim == 0, found, "a scalar", "return the mean over the batch")
            found = f"a loss of {loss.item()} for {len(x[rows])} cases and outputs times {scale:g}"
            require(torch.isfinite(loss), found, "a finite loss", stable)
    loss = task.loss(model(x), y)
    require(loss.requires_grad, "a loss without gradients", "gradients of the network", "compute the loss with torch")
    model.zero_grad()
    loss.backward()
    finite = all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    moved = any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    require(finite and moved, "gradients that are zero or not finite", "gradients of the network", stable)
    model.zero_grad()


def _check_predictions(task: Task, model: nn.Module, x: torch.Tensor) -> np.ndarray:
    model.train()
    with no_error("predict()", "predictions (B, ...)", "see the error"):
        prediction = task.predict(model, x)
    mode = "with evaluation_mode(model), torch.inference_mode()"
    require(model.training, "a network in evaluation mode after predict()", "its own mode", mode)
    found = f"predictions of {tuple(prediction.shape)}, {prediction.dtype} for {len(x)} images"
    require(len(prediction) == len(x), found, "one for each image", "return (B, ...)")
    require(prediction.dtype == torch.float32, found, "float32", "model(x).float()")
    require(not prediction.requires_grad, "predictions with gradients", "none", mode)
    finite = "finite numbers"
    require(torch.isfinite(prediction).all(), "predictions that are not finite", finite, "model(x).float()")
    alone = torch.cat([task.predict(model, one[None]) for one in x[:3]])
    same = torch.allclose(alone, prediction[:3], atol=1e-4)
    require(same, "other predictions of an image alone than in a batch", "the same", f"{mode}, and no mean over images")
    return prediction.cpu().numpy()


def _check_scores(task: Task, prediction: np.ndarray, store: VolumeStore) -> None:
    rows = np.arange(len(store))
    targets, names = store.targets(rows), {metric.name for metric in task.metrics}
    for spacing_mm in (None, store.voxel_mm(rows)):
        with no_error("score()", "scores of all cases", "see the error"):
            scores = task.score(prediction, targets, spacing_mm)
            measured = dict(scores.over())
        found = f"the metrics {joined(measured)} from score()"
        fix = f"declare a Metric for {joined(set(measured) - names)}, and measure {joined(names - set(measured))}"
        require(set(measured) == names, found, f"those of task.metrics: {joined(names)}", fix)
        for name, value in measured.items():
            require(isinstance(value, float | int), f"{name}={value!r}", "a number", f"float({name})")
        score = measured[task.score_name]
        require(np.isfinite(score), f"{task.score_name}={score}", "a finite score of all cases", "see the formula")
    quick = set(task.score(prediction, targets, quick=True).over())
    missing = task.quick_metrics - quick
    require(not missing, f"no {joined(missing)} with quick=True", "the metrics with quick=True", "measure them too")
    _check_samples(task, scores, len(store))
    _check_columns(task, scores, store.classes, len(store))
    _check_direction(task, prediction, targets, store)


def _check_samples(task: Task, scores: Scores, n: int) -> None:
    whole, same = dict(scores.over()), dict(scores.over(np.arange(n)))
    equal = np.allclose([whole[name] for name in whole], [same.get(name, np.inf) for name in whole], equal_nan=True)
    require(equal, f"over() = {whole} and over(all rows) = {same}", "the same", "use the rows that over() is given")
    rng = np.random.default_rng(0)
    drawn = [dict(scores.over(rng.integers(n, size=n))) for _ in range(5)]
    found = "over(rows) with the same values for every bootstrap sample"
    vary = all(value == whole for value in drawn) and len(set(map(str, drawn))) == 1
    perfect = all(value in (0.0, 1.0, 100.0) for value in whole.values())
    require(not vary or perfect, found, "metrics of these rows", "use the rows that over() is given")


def _check_columns(task: Task, scores: Scores, classes: Sequence[str], n: int) -> None:
    with no_error("columns() or truth()", "columns of predictions.csv", "see the error"):
        columns = {**scores.columns(classes), **scores.truth(classes)}
    for name, values in columns.items():
        require(len(values) == n, f"{len(values)} values in the column {name}", f"{n}, one for each case", "all cases")
    if type(task).from_columns is Task.from_columns:
        return
    texts = {name: np.array([str(value) for value in values]) for name, values in columns.items()}
    with no_error("from_columns()", "scores of the columns of predictions.csv", "see the error"):
        try:
            again = dict(task.from_columns(texts, classes).over())
        except NASError:  # some tasks cannot be restored for some settings
            return
    whole = dict(scores.over())
    close = np.allclose([again.get(name, np.inf) for name in whole], list(whole.values()), atol=1e-3, equal_nan=True)
    require(close, f"{again} from the columns of {whole}", "the same metrics", "read the columns as they are written")


def _check_direction(task: Task, prediction: np.ndarray, targets: np.ndarray, store: VolumeStore) -> None:
    """Compare a correct with a wrong prediction, where the form of predictions shows what is correct."""
    classes = len(store.classes)
    if prediction.shape == (*targets.shape[:1], classes, *targets.shape[1:]) and targets.dtype.kind in "iu":
        axes = (0, targets.ndim, *range(1, targets.ndim))
        right = np.eye(classes, dtype=np.float32)[targets.astype(int)].transpose(axes)
        wrong = np.eye(classes, dtype=np.float32)[(targets.astype(int) + 1) % classes].transpose(axes)
    elif prediction.shape == targets.shape and targets.dtype.kind == "f":
        right, wrong = targets, targets[::-1] + 1
    else:
        return
    first = task.metrics[0]
    values = [
        dict(task.score(one, targets, store.voxel_mm(range(len(store)))).over())[first.name] for one in (right, wrong)
    ]
    require(
        first.sign * values[0] >= first.sign * values[1],
        f"{first.name}={values[0]:g} of correct and {values[1]:g} of wrong predictions, with {first.direction}",
        "a better score of correct predictions",
        f"direction={next(way for way in DIRECTIONS if way != first.direction)!r}, or correct the formula",
    )


def _check_sections(task: Task, prediction: np.ndarray, store: VolumeStore) -> None:
    targets = store.targets(range(len(store)))
    images = _images(store, np.arange(len(store))).numpy()
    cases = TestedCases(
        prediction, targets, store.groups, store.classes, lambda row: (str(store.names[row]), images[row, 0])
    )
    with no_error("sections()", "parts of a report", "see the error"):
        parts = task.sections(cases)
    found = f"sections() = {parts!r:.60}"
    require(all(isinstance(part, str) for part in parts), found, "a list of HTML texts", "nas.html.page.section")


def _check_baselines(task: Task, prediction: np.ndarray, store: VolumeStore, changed: object) -> None:
    baselines = [baseline for baseline in task.baselines() if baseline.applies(store)]
    names = [baseline.name for baseline in baselines]
    require(len(set(names)) == len(names), f"baselines {', '.join(names)}", "different names", "name each once")
    if not baselines:
        return
    rounds = Split(store, folds=FOLDS, given=False).holdout_rounds()
    tested = np.unique(np.concatenate([part.test for part in rounds]))
    for baseline in baselines:
        rows, values = _fitted(baseline, store, rounds)
        found = f"the rows {rows.tolist()} from the baseline {baseline.name}"
        require(
            np.array_equal(rows, tested), found, f"the tested rows {tested.tolist()}", "predict part.test of all rounds"
        )
        found = f"predictions of shape {values.shape} from the baseline {baseline.name}"
        expected = (len(rows), *prediction.shape[1:])
        require(
            values.shape == expected, found, f"{expected}, as predict() gives them", "return predictions of that form"
        )
        with no_error(f"score() of the baseline {baseline.name}", "scores", "return predictions as predict() does"):
            task.score(values, store.targets(rows))
        found = f"other predictions of the baseline {baseline.name} the second time"
        require(np.array_equal(_fitted(baseline, store, rounds)[1], values), found, "the same", "use the given seed")
        if callable(changed):
            other = _fitted(baseline, changed(hidden=tested.tolist()), rounds)[1]
            found = f"predictions of the baseline {baseline.name} that depend on the targets of the test part"
            own = "a fit to the training and validation part"
            require(np.allclose(other, values), found, own, "fit on part.train and part.valid alone")


def _fitted(baseline: Baseline, store: VolumeStore, rounds: Sequence) -> tuple[np.ndarray, np.ndarray]:
    with no_error(f"the baseline {baseline.name}", "predictions of the test part", "see the error"):
        rows, values = baseline.fit_and_predict(store, rounds, 0)
    return np.asarray(rows), np.asarray(values)

"""Collapsed trainings: what counts as one, how it is recorded, and that it is repeated once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nas.context import RunContext
from nas.evaluators import train as module
from nas.evaluators.train import Train, seed_of
from nas.found import warnings_of_search
from nas.history import History, Proposal, State, Trial
from nas.noise import Noise
from nas.report.curves import SearchCurves
from nas.tasks.classification import METRICS, Classification
from nas.tasks.segmentation import Segmentation
from nas.training.checkpoint import save_checkpoint
from nas.training.loop import FitResult
from tests.problems import problem_of
from tests.tables import OBJECTIVES, SPACE, records_of

PROBLEM = problem_of(SPACE, OBJECTIVES)
ARCH = records_of()[0].arch


@pytest.mark.parametrize(
    ("metrics", "spread", "reason"),
    [
        ({"auc": 0.8}, 0.1, ""),
        ({"auc": 0.503}, 0.1, "AUC of a guess"),
        ({"auc": 0.44}, 0.1, ""),
        ({"auc": 0.8}, 0.0, "constant output"),
    ],
)
def test_classification(metrics: dict[str, float], spread: float, reason: str) -> None:
    positive = 0.5 + spread * np.linspace(-1, 1, 6)
    assert Classification().collapsed(np.column_stack([1 - positive, positive]), metrics) == reason


def test_segmentation_with_a_class_that_is_never_found() -> None:
    task = Segmentation(outputs=3)
    prediction = np.random.default_rng(0).random((4, 3, 2, 2, 2))
    assert task.collapsed(prediction, {"dice": 0.4, "dice_1": 0.8, "dice_2": 0.0}) == "Dice of class 2 near 0"
    assert task.collapsed(prediction, {"dice": 0.4, "dice_1": 0.8, "dice_2": float("nan")}) == ""
    assert task.collapsed(prediction, {"dice": 0.4, "dice_1": 0.8, "dice_2": 0.02}) == ""


def fits(outcomes: list[str], seen: list[tuple[int, Path]]) -> Any:
    """A stand-in for `fit` that collapses in the given calls."""

    def fit(*arguments: Any, seed: int, folder: Path, **more: Any) -> FitResult:
        seen.append((seed, folder))
        return FitResult(1, {"auc": 0.5 + 0.1 * len(seen)}, 2, 3.0, (), outcomes[len(seen) - 1])

    return fit


@pytest.mark.parametrize(
    ("repeat", "outcomes", "found"),
    [
        (False, ["", ""], {"collapsed": 0.0, "epochs": 2.0, "seconds": 3.0, "auc": 0.6}),
        (False, ["constant output"], {"collapsed": 1.0, "epochs": 2.0, "seconds": 3.0, "auc": 0.6}),
        (True, [""], {"collapsed": 0.0, "repeated": 0.0, "epochs": 2.0, "seconds": 3.0, "auc": 0.6}),
        (True, ["AUC", ""], {"collapsed": 0.0, "repeated": 1.0, "epochs": 4.0, "seconds": 6.0, "auc": 0.7}),
        (True, ["AUC", "AUC"], {"collapsed": 1.0, "repeated": 1.0, "epochs": 4.0, "seconds": 6.0, "auc": 0.7}),
    ],
)
def test_a_collapsed_training_is_recorded_and_repeated_once(
    repeat: bool, outcomes: list[str], found: dict[str, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, Path]] = []
    monkeypatch.setattr(module, "fit", fits(outcomes, seen))
    context = RunContext(None, None, tmp_path, torch.device("cpu"), 7)  # type: ignore[arg-type]
    evaluator = Train(repeat_collapsed=repeat)
    assert evaluator.evaluate(Proposal(ARCH, replicate=1), PROBLEM, context) == found
    folder = tmp_path / f"{ARCH.id}-replicate-1"
    assert [where for _, where in seen] == [folder, folder / "again"][: len(seen)]
    assert seen[0][0] == seed_of(7, 1)
    assert len({seed for seed, _ in seen}) == len(seen)
    assert evaluator.identity["repeat_collapsed"] is repeat


def test_a_training_that_recovers_with_a_larger_budget_replaces_its_repetition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trainings that continue share a folder: the weights are those of the metrics, not of the earlier repetition."""
    outcomes, metrics = iter(["AUC", "", ""]), iter([0.5, 0.6, 0.9])

    def fit(model: nn.Module, *arguments: Any, folder: Path, **more: Any) -> FitResult:
        value = next(metrics)
        for weight in model.state_dict().values():
            weight.fill_(value)
        save_checkpoint(folder / "best.pt", {}, {"model": model.state_dict(), "metrics": {"auc": value}})
        rows = tuple({"epoch": float(epoch), "auc": value} for epoch in range(1, 10))
        return FitResult(1, {"auc": value}, 3, 1.0, rows, next(outcomes))

    monkeypatch.setattr(module, "fit", fit)
    context = RunContext(None, None, tmp_path, torch.device("cpu"), 7)  # type: ignore[arg-type]
    evaluator = Train(repeat_collapsed=True, schedule="constant")
    for budget, repeated, auc in ((3, 1.0, 0.6), (9, 0.0, 0.9)):
        found = evaluator.evaluate(Proposal(ARCH, budget), PROBLEM, context)
        assert (found["repeated"], found["auc"]) == (repeated, auc)
        network = evaluator.network(Proposal(ARCH, budget), PROBLEM, context)
        assert next(network.parameters()).detach().flatten()[0].item() == pytest.approx(auc)
    trial = Trial(0, ARCH, 3, State.COMPLETE, {"auc": 0.6, "epochs": 6.0}, finished=1.0)  # 3 epochs twice
    assert [row["epoch"] for row in SearchCurves(tmp_path).epochs(trial)] == [1.0, 2.0, 3.0]


def history_of(collapsed: list[float], repeated: float | None = None) -> History:
    more = {} if repeated is None else {"repeated": repeated}
    records = [
        Trial(
            number,
            records_of()[number // 2].arch,
            0,
            State.COMPLETE,
            {"auc": 0.8 - 0.3 * value + 0.01 * number, "macs": 1.0, "collapsed": value, **more},
            finished=1.0,
            replicate=number % 2,
        )
        for number, value in enumerate(collapsed)
    ]
    return History(tuple(records), OBJECTIVES, lambda genes_NG: genes_NG[:, 0])


def test_warnings_count_collapsed_trainings() -> None:
    texts = warnings_of_search(history_of([0, 1, 0, 0, 1, 0, 0, 0]), METRICS)
    assert [text for text in texts if "2 of 8 trainings collapsed" in text and "trials 1, 4;" in text]
    assert [text for text in texts if "evaluator.repeat_collapsed=true" in text]
    assert not [text for text in warnings_of_search(history_of([0, 0, 0, 0]), METRICS) if "collapsed" in text]
    (repeated,) = [text for text in warnings_of_search(history_of([0, 0, 0, 0], 1.0), METRICS) if "collapsed" in text]
    assert repeated == "Of 4 trainings 4 collapsed and were repeated."


def test_noise_names_collapsed_trainings_and_the_networks_without() -> None:
    found = Noise.of(history_of([0, 1, 0, 0, 1, 0, 0, 0, 0, 0]))
    assert found is not None
    rows = dict(found.rows())
    assert rows["collapsed"].startswith("2 of 10 evaluations")
    assert "ICC" in rows["collapsed"]

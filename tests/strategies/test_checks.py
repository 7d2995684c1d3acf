"""The conformance checks catch what they are there for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nas.architecture import Architecture
from nas.context import RunContext
from nas.data.loading import VolumeSet
from nas.data.store import VolumeStore
from nas.errors import TrialFailed
from nas.evaluators.base import Evaluator
from nas.evaluators.train import Train
from nas.history import History, Proposal, State
from nas.problem import Problem
from nas.space import SearchSpace
from nas.strategies.base import Strategy
from nas.strategies.random import RandomSearch
from nas.tasks.base import Task
from nas.testing import check_evaluator, check_strategy
from nas.training.settings import TrainingSettings
from search_spaces.naslung import NASLungSpace
from tests.problems import EvaluatorOf, context_in, problem_of
from tests.strategies.tables import Grid
from tests.training.blobs import blob_store, halves

NETWORKS = NASLungSpace(widths=(4, 8), max_depth=4)
ARCH = NETWORKS.from_stages([[4], [4], [8]])
PROBLEM = problem_of(NETWORKS, {"auc": "maximize"})


class Counting(Strategy):
    """Keeps a state that changes its answer."""

    def __init__(self) -> None:
        self.calls = 0

    def propose(self, space: SearchSpace, history: History, rng: np.random.Generator) -> Proposal | None:
        self.calls += 1
        return Proposal(space.sample(np.random.default_rng(self.calls)))


class Fractional(Strategy):
    """Asks for a budget that is no whole number."""

    def propose(self, space: SearchSpace, history: History, rng: np.random.Generator) -> Proposal | None:
        return Proposal(space.sample(rng), 2.0)  # type: ignore[arg-type]


class Blind(Strategy):
    """Does not look at what was tried, nor at constraints."""

    def propose(self, space: SearchSpace, history: History, rng: np.random.Generator) -> Proposal | None:
        return Proposal(space.sample(rng))


class Repeating(Strategy):
    """Trains its first network again and again."""

    def __init__(self, step: int) -> None:
        self.step = step

    def propose(self, space: SearchSpace, history: History, rng: np.random.Generator) -> Proposal | None:
        return Proposal(space.repair([0] * len(space.genes)), 50 + self.step * len(history))


class Outside(Strategy):
    """Makes its own genes."""

    def propose(self, space: SearchSpace, history: History, rng: np.random.Generator) -> Proposal | None:
        return Proposal(Architecture(space.fingerprint, (9,) * len(space.genes)))


class Changing(Strategy):
    """Edits the metrics of finished trials."""

    def propose(self, space: SearchSpace, history: History, rng: np.random.Generator) -> Proposal | None:
        for trial in history.complete():
            trial.metrics["score"] = 0.0  # type: ignore[index]
        return RandomSearch().propose(space, history, rng)


class OwnGenerator(Strategy):
    """Draws from NumPy's global generator."""

    def propose(self, space: SearchSpace, history: History, rng: np.random.Generator) -> Proposal | None:
        return Proposal(space.repair(np.random.randint(0, 5, len(space.genes)).tolist()))  # seeded by the test


class Greedy(Strategy):
    """Needs a finished trial."""

    def propose(self, space: SearchSpace, history: History, rng: np.random.Generator) -> Proposal | None:
        return Proposal(space.mutate(max(history.complete(), key=lambda trial: trial.metrics["score"]).arch, rng))


class Bare(Strategy):
    """Returns an architecture instead of a proposal."""

    def propose(self, space: SearchSpace, history: History, rng: np.random.Generator) -> Proposal | None:
        return space.sample(rng)  # type: ignore[return-value]


class Forgetful(RandomSearch):
    """Does not keep an argument."""

    def __init__(self, share: float = 0.5) -> None:
        super().__init__()


class Ended(Strategy):
    def propose(self, space: SearchSpace, history: History, rng: np.random.Generator) -> Proposal | None:
        return None


@pytest.mark.parametrize(
    ("strategy", "word"),
    [
        (Counting(), "pure function"),
        (Fractional(), "whole number"),
        (Blind(), "broken|twice"),
        (Repeating(0), "twice"),
        (Repeating(-1), "no larger budget"),
        (Repeating(1), "still running"),
        (Ended(), "no proposal"),
        (Outside(), "which the space does not have"),
        (Changing(), "which changed the history"),
        (OwnGenerator(), "two answers to one history"),
        (Greedy(), r"propose\(\) after 0 trials, which raised ValueError"),
        (Bare(), "a Architecture from propose"),
        (Forgetful(), "without the attribute 'share'"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_strategy_that_breaks_the_contract_is_caught(strategy: Strategy, word: str) -> None:
    np.random.seed(1)  # two equal draws of 25 possible ones would be another finding
    with pytest.raises(AssertionError, match=word) as caught:
        check_strategy(strategy, Grid((5, 5)), 30)
    assert re.fullmatch("got .*; expected .*; fix: .*", str(caught.value))


def test_a_checked_search_holds_a_running_and_a_failed_trial() -> None:
    states = [record.state for record in check_strategy(RandomSearch(), Grid((5, 5)))]
    assert (len(states), states[3], states[5]) == (12, State.RUNNING, State.FAILED)


@pytest.fixture
def context(tmp_path: Path) -> RunContext:
    train, valid = halves(blob_store(tmp_path / "blobs.h5"))
    return context_in(tmp_path / "runs", train, valid)


@pytest.mark.parametrize("schedule", ["constant", pytest.param("onecycle", marks=pytest.mark.slow)])
def test_the_evaluator_train_conforms(context: RunContext, schedule: str) -> None:
    settings = TrainingSettings(epochs=2, batch_size=16, precision="fp32", schedule=schedule)
    assert check_evaluator(Train(settings), PROBLEM, context, Proposal(ARCH, 3))["epochs"] == 3
    assert not context.folder.exists()


def peek(proposal: Proposal, context: RunContext) -> Mapping[str, float]:
    """Reads the last row of the store, which is of no part of a narrowed context."""
    store = context.train.store
    return {"auc": float(VolumeSet(store, [len(store) - 1], "cpu").store.read([len(store) - 1]).mean())}


def another(proposal: Proposal, context: RunContext) -> Mapping[str, float]:
    return {"auc": float(len(VolumeStore(context.train.store.path.parent / "other.h5")))}


def drifting(proposal: Proposal, context: RunContext) -> Mapping[str, float]:
    context.folder.mkdir(parents=True, exist_ok=True)
    (context.folder / str(len(list(context.folder.iterdir())))).touch()
    return {"auc": float(len(list(context.folder.iterdir())))}


def failing(proposal: Proposal, context: RunContext) -> Mapping[str, float]:
    raise TrialFailed("not scored")


@pytest.mark.parametrize(
    ("evaluator", "word"),
    [
        (peek, "no part of the context"),
        (another, "no store of the context"),
        (drifting, "second time"),
        (lambda proposal, context: {"auc": torch.rand(()).item()}, "second time"),
        (lambda proposal, context: {"accuracy": 1.0}, "no auc"),
        (lambda proposal, context: {"auc": float("nan")}, "not finite"),
        (lambda proposal, context: {"auc": "0.5"}, "no number"),
        (lambda proposal, context: [0.5], "a list from evaluate"),
        (lambda proposal, context: {"auc": 1 / 0}, r"evaluate\(\) for classification in 3D, which raised ZeroDivision"),
        (failing, "raised TrialFailed: not scored"),
    ],
)
def test_an_evaluator_that_breaks_the_contract_is_caught(context: RunContext, evaluator, word: str) -> None:  # type: ignore[no-untyped-def]
    blob_store(Path(context.train.store.path).parent / "other.h5", n=4)
    store = context.train.store
    narrowed = replace(context, valid=VolumeSet(store, range(40, 50), "cpu"))
    with pytest.raises(AssertionError, match=word) as caught:
        check_evaluator(EvaluatorOf(evaluator), PROBLEM, narrowed, Proposal(ARCH))
    assert re.fullmatch("got .*; expected .*; fix: .*", str(caught.value))


class Zero(Evaluator):
    """Scores of 0, whatever the kind of task, with a mistake."""

    def __init__(self, mistake: str = "") -> None:
        self.mistake = mistake

    def metrics(self, task: Task) -> frozenset[str]:
        return frozenset({task.score_name, *(["margin"] if self.mistake == "announces" else [])})

    def evaluate(self, proposal: Proposal, problem: Problem, context: RunContext) -> Mapping[str, float]:
        if self.mistake == "changes":
            problem.objectives["seconds"] = "minimize"  # type: ignore[index]
        name = "auc" if self.mistake == "named" else problem.task.score_name
        return {name: 0.0}


@pytest.mark.parametrize(
    ("mistake", "word"),
    [
        ("announces", r"no margin among the metrics auc for classification in 3D, although metrics\(\) announces it"),
        ("changes", "which changed objectives of the problem"),
        ("named", "no dice among the metrics auc for segmentation in 2D"),
    ],
)
def test_evaluators_are_checked_on_drawn_problems(mistake: str, word: str) -> None:
    with pytest.raises(AssertionError, match=word):
        check_evaluator(Zero(mistake))


def test_an_evaluator_for_any_kind_of_metric() -> None:
    assert check_evaluator(Zero()) == {"mae": 0.0}

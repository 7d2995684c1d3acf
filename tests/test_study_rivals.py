"""What a worker leaves behind that dies at the worst moment, and studies that are begun twice at once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from nas.context import RunContext
from nas.errors import NASError
from nas.history import Proposal, State
from nas.multiobjective.constraints import Constraint
from nas.search import SearchJob, search
from nas.strategies.random import RandomSearch
from nas.study.agreement import MAKING
from nas.study.reader import SPEC
from nas.study.study import Study
from tests.faults.worker import NAME, OBJECTIVES, Boxes, boxes_problem
from tests.problems import EvaluatorOf


def study_of(path: Path, lease_s: float = 60.0, constraints: Sequence[Constraint] = (), **spec: Any) -> Study:
    problem = boxes_problem(OBJECTIVES, constraints)
    return Study(f"sqlite:///{path}/study.db", NAME, problem, spec, lease_s=lease_s)


class Died(BaseException):
    pass


def claim_and_die(study: Study, proposal: Proposal) -> None:
    """The trial is written; the worker is gone before it looks for rivals."""
    with mock.patch.object(study, "records", side_effect=Died), pytest.raises(Died):
        study.claim(proposal, "dead")


@pytest.mark.parametrize("finished", [True, False])
def test_a_losing_claim_whose_worker_died_is_not_trained_again(finished: bool, tmp_path: Path) -> None:
    first, second = study_of(tmp_path, 0.05), study_of(tmp_path, 0.05)
    proposal = Proposal(Boxes().sample(np.random.default_rng(0)))
    ticket = first.claim(proposal, "0")
    assert ticket is not None
    claim_and_die(second, proposal)
    if finished:
        first.finish(ticket, {"score": 0.5, "params": 1.0})
    third = study_of(tmp_path, 0.05)
    found = {third.take_over("2")}
    for _ in range(40):  # until the leases have run out by its clock
        found.add(third.take_over("2"))
        time.sleep(0.01)
    numbers = [one.number for one in found if one is not None]
    assert numbers == ([] if finished else [ticket.number])
    assert [record.number for record in third.records() if record.state is not State.FAILED] == [ticket.number]


def test_two_who_begin_a_study_with_different_settings(tmp_path: Path) -> None:
    """Both have seen that there is no spec yet; the second writer sees the first spec."""
    seen = study_of(tmp_path, data="a")
    attrs, hidden = seen.store.attrs(), {}

    def before_a(self: Any) -> dict[str, Any]:
        hidden["calls"] = hidden.get("calls", 0) + 1
        return {} if hidden["calls"] == 1 else attrs

    with (
        mock.patch("nas.study.storage.Store.attrs", before_a),
        pytest.raises(NASError, match=r"data b .*expected data a"),
    ):
        study_of(tmp_path, data="b")
    again = seen.store.attrs()
    assert again[SPEC]["data"] == "a"
    assert [spec["data"] for key, spec in again.items() if key.startswith(MAKING) and spec] == ["a"]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"settings": {"epochs": 3, "augment": {"shift": 1}}}, "got strategy.*augment.shift 1 .*augment.shift 2,"),
        ({"settings": {"epochs": 3, "augment": {"shift": 2, "gamma": 0}}}, "augment.gamma 0 .*augment.gamma absent,"),
        ({"settings": {"epochs": 3, "augment": {"shift": 2, "gamma": None}}}, "gamma null .*gamma absent,"),
        ({"settings": {"epochs": 3, "augment": {"shift": 2, "gamma": "absent"}}}, "gamma absent .*gamma absent,"),
        ({"settings": None}, 'got strategy.settings null .* strategy.settings {"epochs": 3, .*}, with which'),
    ],
)
def test_the_setting_that_differs_is_named(other: Any, said: str, tmp_path: Path) -> None:
    study_of(tmp_path, strategy={"settings": {"epochs": 3, "augment": {"shift": 2}}})
    with pytest.raises(NASError, match=said):
        study_of(tmp_path, strategy=other)


@pytest.mark.parametrize(
    ("objectives", "lease_s", "said"),
    [({"score": "max"}, 60.0, "score: max"), (OBJECTIVES, -1.0, "lease_s=-1"), (OBJECTIVES, "long", "lease_s=long")],
)
def test_settings_that_cannot_work(objectives: dict[str, str], lease_s: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(NASError, match=said):
        Study(f"sqlite:///{tmp_path}/study.db", NAME, boxes_problem(objectives), {}, lease_s=lease_s)


@pytest.mark.parametrize(
    ("trials", "limit", "said"),
    [
        ("abc", None, "study.trials=abc.*at least 1"),
        (0, None, "study.trials=0"),
        (3, "abc", "time_limit_s=abc.*above 0"),
        (3, -1.0, "time_limit_s=-1.0"),
        (True, None, "study.trials=true"),
    ],
)
def test_numbers_of_trials_and_limits_that_cannot_work(trials: Any, limit: Any, said: str) -> None:
    nothing: Any = None
    with pytest.raises(NASError, match=said):
        SearchJob(nothing, nothing, nothing, nothing, trials, limit)


def job_of(folder: Path, study: Study, function: Any, trials: int) -> SearchJob:
    nothing: Any = None
    context = RunContext(nothing, nothing, folder, torch.device("cpu"), 0)
    return SearchJob(study.problem, RandomSearch(), EvaluatorOf(function), context, trials)


def test_a_study_whose_trials_failed_goes_on_with_the_next_command(tmp_path: Path) -> None:
    """Five failures in a row stop a worker, not the study."""
    study, fails = study_of(tmp_path), [True]

    def evaluator(proposal: Proposal, context: RunContext) -> dict[str, float]:
        return {"score": float("nan") if fails[0] else 0.5}

    for _ in range(2):
        with pytest.raises(NASError, match="5 failed trials in a row"):
            search(job_of(tmp_path, study, evaluator, 30), study)
    fails[0] = False
    history = search(job_of(tmp_path, study, evaluator, 12), study)
    assert [record.state for record in history] == [State.FAILED] * 10 + [State.COMPLETE] * 2


def test_a_constrained_metric_that_is_no_number_fails_its_trial(tmp_path: Path) -> None:
    study = study_of(tmp_path, constraints=[Constraint.parse("distance<=5")])
    values = iter([1.0, float("nan"), 2.0, float("inf"), 9.0])

    def evaluator(proposal: Proposal, context: RunContext) -> dict[str, float]:
        return {"score": 0.5, "distance": next(values)}

    history = search(job_of(tmp_path, study, evaluator, 5), study)
    complete, failed = State.COMPLETE, State.FAILED
    assert [record.state for record in history] == [complete, failed, complete, failed, complete]
    assert "distance<=5" in history[1].reason
    assert {record.metrics["distance"] for record in history.front()} <= {1.0, 2.0}

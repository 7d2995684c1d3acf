"""The store: records, claims, take-over, and what a damaged or foreign store answers."""

from __future__ import annotations

import csv
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.api.searching import run_search
from nas.context import RunContext
from nas.data.sources.lidc_shapes import LidcShapes
from nas.data.splits import Split
from nas.data.store import VolumeStore
from nas.errors import NASError, TrialFailed
from nas.evaluators.base import Evaluator
from nas.found import SearchResult
from nas.history import Proposal, State
from nas.problem import Problem
from nas.strategies.random import RandomSearch
from nas.study.lease import BEAT, OWNER, TAKING
from nas.study.study import Study
from nas.trials_csv import write_csv
from nas.utils.process import new_worker_id
from search_spaces.naslung import NASLungSpace
from tests.problems import EvaluatorOf
from tests.problems import study_of as make_study
from tests.processes import PROCESSES

OBJECTIVES = {"auc": "maximize", "macs": "minimize"}
SPEC = {"data": "abc", "split": "def"}
SPACE = NASLungSpace(widths=(4, 8), max_depth=5)


def url(folder: Path) -> str:
    return f"sqlite:///{folder}/study.db"


def attach(folder: Path, **spec: str) -> Study:
    return make_study(url(folder), "s", SPACE, OBJECTIVES, {**SPEC, **spec})


def cost(genes_NG: np.ndarray) -> np.ndarray:
    return genes_NG.sum(axis=1).astype(float)


def proposals(count: int) -> list[Proposal]:
    every = SPACE.enumerate()
    assert every is not None
    return [Proposal(SPACE.architecture(row), 3) for row in every[:count].tolist()]


def test_records_of_every_end(tmp_path: Path) -> None:
    study = attach(tmp_path)
    done, failed, running = [study.claim(p, "0") for p in proposals(3)]
    assert done is not None
    assert failed is not None
    assert running is not None
    study.finish(done, {"auc": 0.8, "macs": 5.0, "extra": 1.0})
    study.fail(failed, "loss became\nNaN")
    for view in (study, attach(tmp_path)):
        records = view.records()
        assert [record.state for record in records] == [State.COMPLETE, State.FAILED, State.RUNNING]
        assert records[0].metrics == {"auc": 0.8, "macs": 5.0, "extra": 1.0}
        assert records[0].arch == proposals(1)[0].arch
        assert records[0].budget == 3
        assert records[1].reason == "loss became NaN"
        assert records[0].finished >= records[0].started > 0
    assert [r.number for r in study.history().front()] == [0]


def test_replicates_of_a_network_are_claimed_each_for_itself(tmp_path: Path) -> None:
    study, (proposal,) = attach(tmp_path), proposals(1)
    for replicate, score in enumerate((0.9, 0.5)):
        claim = study.claim(replace(proposal, replicate=replicate), "0")
        assert claim is not None
        study.finish(claim, {"auc": score, "macs": 5.0})
    assert study.claim(replace(proposal, replicate=1), "0") is None
    history = attach(tmp_path).history()
    assert [record.replicate for record in history] == [0, 1]
    assert history.best.metrics["auc"] == pytest.approx(0.7)
    assert history.statistic(history.best, "auc").count == 2


def test_an_architecture_is_claimed_once(tmp_path: Path) -> None:
    study, other = attach(tmp_path), attach(tmp_path)
    proposal = proposals(1)[0]
    first = study.claim(proposal, "0")
    assert first is not None
    assert other.claim(proposal, "1") is None
    assert other.claim(Proposal(proposal.arch, 9), "1") is not None  # another budget is another trial
    study.fail(first, "x")
    assert other.claim(proposal, "1") is not None  # a failed one may be tried again
    assert [record.number for record in study.records()] == [0, 2, 3]


def test_a_value_that_is_missing_or_not_finite(tmp_path: Path) -> None:
    study = attach(tmp_path)
    ticket = study.claim(proposals(1)[0], "0")
    assert ticket is not None
    with pytest.raises(NASError, match="no value for the objective macs"):
        study.finish(ticket, {"auc": 0.5})
    for metrics in ({"auc": float("nan"), "macs": 1.0}, {"auc": 0.5, "macs": float("inf")}):
        with pytest.raises(TrialFailed, match="finite"):
            study.finish(ticket, metrics)
    assert study.records()[0].state is State.RUNNING


def claim_and_end(folder: Path) -> None:
    attach(folder).claim(proposals(1)[0], "0")


def test_the_trial_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    process = PROCESSES.Process(target=claim_and_end, args=(tmp_path,))
    process.start()
    process.join(400)
    assert process.exitcode == 0
    study = attach(tmp_path)
    ticket = study.take_over()
    assert ticket is not None
    assert ticket.proposal == proposals(1)[0]
    assert study.take_over() is None  # now it is ours, and we live
    study.finish(ticket, {"auc": 0.5, "macs": 1.0})
    assert len(study.records()) == 1


def test_a_released_trial_is_taken_over(tmp_path: Path) -> None:
    study = attach(tmp_path)
    ticket = study.claim(proposals(1)[0], "0")
    assert ticket is not None
    assert study.renew(ticket, 1, 1)
    assert attach(tmp_path).take_over() is None
    study.release(ticket)
    again = attach(tmp_path).take_over()
    assert again is not None
    assert again.number == ticket.number


def test_a_trial_that_another_worker_is_taking_over_is_left_to_it(tmp_path: Path) -> None:
    """A claimant that died does not hide a later one that lives and has not yet written itself as the owner."""
    study, dead = attach(tmp_path), {**new_worker_id(), "pid": 2**22 + 1}
    ticket = study.claim(proposals(1)[0], "0")
    assert ticket is not None
    study.release(ticket)
    study.store.set_trial_attr(ticket.trial_id, f"{TAKING}1:dead", dead)
    study.store.set_trial_attr(ticket.trial_id, f"{TAKING}2:alive", new_worker_id())
    assert attach(tmp_path).take_over() is None
    study.store.set_trial_attr(ticket.trial_id, f"{TAKING}2:alive", dead)
    taken = attach(tmp_path).take_over()
    assert taken is not None
    assert taken.attempt == 3


def test_a_write_that_arrives_late_does_not_undo_a_take_over(tmp_path: Path) -> None:
    """A server may apply the last write of a worker after it has died and its trial has a new owner."""
    study = attach(tmp_path)
    ticket = study.claim(proposals(1)[0], "0")
    assert ticket is not None
    before = study.store.trial(ticket.trial_id).user_attrs
    study.release(ticket)
    other = attach(tmp_path)
    taken = other.take_over()
    assert taken is not None
    assert other.renew(taken, 1, 3)
    for key in (OWNER, BEAT):
        study.store.set_trial_attr(ticket.trial_id, key, before[key])
    assert not study.renew(ticket, 2, 1)
    assert other.renew(taken, 2, 3)
    assert other.attempts()[ticket.number].epoch == 3


def test_a_late_result_does_not_overwrite(tmp_path: Path) -> None:
    study = attach(tmp_path)
    ticket = study.claim(proposals(1)[0], "0")
    assert ticket is not None
    study.fail(ticket, "gone")
    study.finish(ticket, {"auc": 0.9, "macs": 1.0})
    assert attach(tmp_path).records()[0].state is State.FAILED


@pytest.mark.parametrize(("key", "value"), [("data", "other"), ("split", "other"), ("cost", "params")])
def test_other_settings_are_refused_by_name(tmp_path: Path, key: str, value: str) -> None:
    attach(tmp_path)
    with pytest.raises(NASError, match=f"got {key}"):
        attach(tmp_path, **{key: value})


def test_another_space_and_other_objectives_are_refused(tmp_path: Path) -> None:
    attach(tmp_path)
    with pytest.raises(NASError, match="space"):
        make_study(url(tmp_path), "s", NASLungSpace(), OBJECTIVES, SPEC)
    with pytest.raises(NASError, match="objectives"):
        make_study(url(tmp_path), "s", SPACE, {"accuracy": "maximize", "macs": "minimize"}, SPEC)


def test_a_store_that_is_cut_short(tmp_path: Path) -> None:
    attach(tmp_path).close()
    file = tmp_path / "study.db"
    file.write_bytes(file.read_bytes()[:5000])
    before = file.read_bytes()
    with pytest.raises(NASError, match="move a damaged"):
        attach(tmp_path)
    assert file.read_bytes() == before


def test_a_store_that_is_no_store() -> None:
    with pytest.raises(NASError, match=r"study\.url=nonsense"):
        make_study("nonsense://x", "s", SPACE, OBJECTIVES, SPEC)


def test_export(tmp_path: Path) -> None:
    study = attach(tmp_path)
    ticket = study.claim(proposals(1)[0], "7")
    assert ticket is not None
    study.finish(ticket, {"auc": 0.75, "macs": 2.0})
    write_csv(tmp_path / "trials.csv", study.records())
    rows = list(csv.DictReader((tmp_path / "trials.csv").read_text().splitlines()))
    assert rows[0]["auc"] == "0.75"
    assert rows[0]["worker"] == "7"
    assert rows[0]["state"] == "complete"


def work(folder: str, worker: int) -> None:
    study = attach(Path(folder))
    for proposal in proposals(12):
        ticket = study.claim(proposal, str(worker))
        if ticket is not None:
            study.finish(ticket, {"auc": 0.5, "macs": 1.0})


def test_several_processes_on_a_new_store(tmp_path: Path) -> None:
    """They race to create it and for every architecture; each architecture is finished exactly once."""
    workers = [PROCESSES.Process(target=work, args=(str(tmp_path), number)) for number in range(3)]
    for process in workers:
        process.start()
    for process in workers:
        process.join(400)
    assert [process.exitcode for process in workers] == [0, 0, 0]
    records = attach(tmp_path).records()
    done = [record.arch.id for record in records if record.state is State.COMPLETE]
    assert len(done) == len(set(done))
    assert len(done) >= 10  # two rivals may both withdraw from one


@pytest.mark.parametrize("error", [OSError(28, "no space left on device"), NASError("a", "b", "c")], ids=str)
def test_an_error_of_the_machine_or_the_settings_releases_the_trial(
    error: Exception, tmp_path: Path, store: VolumeStore
) -> None:
    """It is no fault of the network, which another worker evaluates later."""

    errors = [error]

    def fails_once(proposal: Proposal, context: RunContext) -> dict[str, float]:
        if errors:
            raise errors.pop()
        return {"auc": 0.5}

    with pytest.raises(type(error)):
        search_with(EvaluatorOf(fails_once), store, tmp_path)
    found = search_with(EvaluatorOf(fails_once), store, tmp_path)
    assert [(trial.number, trial.state) for trial in found.history] == [(0, State.COMPLETE)]


def test_no_trial_begins_after_the_time_is_used_up(tmp_path: Path, store: VolumeStore) -> None:
    def slow(proposal: Proposal, context: RunContext) -> dict[str, float]:
        time.sleep(0.05)
        return {"auc": 0.5}

    problem = Problem.of(SPACE, store, objectives={"auc": "maximize"})
    words: dict[str, Any] = {"strategy": RandomSearch(), "evaluator": EvaluatorOf(slow), "trials": 50}
    for _ in range(2):  # the second command has no time left
        found = run_search(problem, Split(store, folds=3), **words, time="0.01s", folder=tmp_path)
        assert len(found.history) == 1
    with pytest.raises(NASError, match="90s, 30min, 2h or 1d"):
        run_search(problem, Split(store, folds=3), **words, time="soon", folder=tmp_path / "other")


def test_a_search_without_a_finished_trial(tmp_path: Path, store: VolumeStore) -> None:
    def fails(proposal: Proposal, context: RunContext) -> dict[str, float]:
        raise TrialFailed("loss became NaN")

    with pytest.raises(NASError, match="without a finished trial, the last failed with 'loss became NaN'"):
        search_with(EvaluatorOf(fails), store, tmp_path)
    with pytest.raises(NASError, match="no network that keeps macs<=1"):
        search_with(EvaluatorOf(fails), store, tmp_path / "limited", constraints=["macs<=1"])


@pytest.fixture(scope="module")
def store(data_cache: Path) -> VolumeStore:
    return LidcShapes(size=16, spacing_mm=2.0, cache_dir=str(data_cache)).prepare()


def search_with(evaluator: Evaluator, store: VolumeStore, folder: Path, **limits: Sequence[str]) -> SearchResult:
    folder.mkdir(exist_ok=True)
    problem = Problem.of(SPACE, store, objectives={"auc": "maximize"}, **limits)  # type: ignore[arg-type]
    return run_search(
        problem, Split(store, folds=3), strategy=RandomSearch(), evaluator=evaluator, trials=1, folder=folder
    )

"""Replicates of a search and the confirmation of its best networks, with evaluators that take no time."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from experiments.search import random_counterpart
from experiments.search.results import summary
from nas.architecture import Architecture
from nas.artifact import load
from nas.budget import SearchEnd
from nas.comparison.searches import _read_trials
from nas.confirmation import candidates, further_replicate, next_confirmation
from nas.context import RunContext
from nas.errors import NASError, TrialFailed
from nas.evaluators.tabular import LookUp, Tabular
from nas.found import SearchResult
from nas.history import CONFIRMATION, History, Proposal, State, Trial
from nas.provenance import DataFacts, Replication, SearchRecord, SplitFacts
from nas.search import SearchJob, search
from nas.strategies.fidelity.asha import ASHA
from nas.strategies.fidelity.strategy import MultiFidelity
from nas.strategies.partial_order.strategy import PartialOrderPruning
from nas.strategies.prior import Prior
from nas.strategies.random import RandomSearch
from nas.study.study import Study
from nas.trials_table import write_h5
from tests.confirmations import NETWORKS, OBJECTIVES, history_with
from tests.problems import EvaluatorOf, problem_of
from tests.report_pages import write_search
from tests.strategies.tables import Grid, empty, extended, hill, record
from tests.strategies.test_every_strategy import MAKE, SLOW
from tests.tables import SPACE, records_of, table_of
from tests.test_noise_of_search import trials_of

NOTHING: Any = None


def noisy(proposal: Proposal, context: RunContext) -> dict[str, float]:
    """Networks of equal quality except the fifth, with noise that follows from network and replicate."""
    number = NETWORKS.index(proposal.arch)
    rng = np.random.default_rng([number, proposal.replicate])
    return {"auc": 0.7 + 0.1 * (number == 5) + 0.03 * rng.normal(), "macs": float(number)}


def job_of(folder: Path, study: Study, trials: int, function: Any = noisy, **replication: Any) -> SearchJob:
    context = RunContext(NOTHING, NOTHING, folder, torch.device("cpu"), 0)
    return SearchJob(
        study.problem, RandomSearch(), EvaluatorOf(function), context, trials, replication=Replication(**replication)
    )


def study_of(folder: Path) -> Study:
    return Study(f"sqlite:///{folder}/study.db", "s", problem_of(SPACE, OBJECTIVES), {})


def test_every_network_is_evaluated_in_all_replicates_before_the_next(tmp_path: Path) -> None:
    study = study_of(tmp_path)
    history = search(job_of(tmp_path, study, 10, replicates=3), study)
    assert [trial.replicate for trial in history] == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]
    assert list(Counter(trial.arch.id for trial in history).values()) == [3, 3, 3, 1]
    assert history.statistic(history[0], "auc").count == 3


def test_a_network_that_failed_is_not_repeated(tmp_path: Path) -> None:
    study = study_of(tmp_path)

    def evaluator(proposal: Proposal, context: RunContext) -> dict[str, float]:
        return noisy(proposal, context) | ({"auc": float("nan")} if context.trial == 2 else {})

    history = search(job_of(tmp_path, study, 5, evaluator, replicates=2), study)
    assert [trial.replicate for trial in history] == [0, 1, 0, 0, 1]
    assert history[2].state is State.FAILED


def test_confirmation_answers_with_means_of_unused_replicates(tmp_path: Path) -> None:
    study = study_of(tmp_path)
    history = search(job_of(tmp_path, study, 19, confirm=4, confirm_replicates=6), study)
    searched, confirmed = history.searched, history.confirmed
    assert len(searched) == 19
    best_seen = {trial.arch for trial in sorted(searched, key=lambda one: -one.metrics["auc"])[:4]}
    assert {trial.arch for trial in confirmed} == best_seen
    counts = Counter(trial.arch for trial in confirmed)
    assert min(counts.values()) >= 2
    assert max(counts.values()) <= 6
    assert counts[history.best.arch] == max(counts.values())
    values = [trial.metrics["auc"] for trial in confirmed if trial.arch == history.best.arch]
    assert history.best.metrics["auc"] == pytest.approx(np.mean(values))
    assert history.statistic(history.best, "auc").count == len(values)
    assert history.best.arch == NETWORKS[5]
    assert history.best.metrics["auc"] < max(trial.metrics["auc"] for trial in history)
    again = search(job_of(tmp_path, study, 19, confirm=4, confirm_replicates=6), study)
    assert len(again) == len(history)  # nothing is left to do


def test_a_confirmation_is_added_to_a_finished_search_and_leaves_its_trials_alone(tmp_path: Path) -> None:
    study = study_of(tmp_path)
    before = search(job_of(tmp_path, study, 4), study)
    after = search(job_of(tmp_path, study, 4, confirm=2, confirm_replicates=2), study)
    assert after.searched.records == before.records
    assert len(after.confirmed) == 4
    more = search(job_of(tmp_path, study, 6), study)
    (tmp_path / "plain").mkdir()
    fresh = study_of(tmp_path / "plain")
    plain = search(job_of(tmp_path, fresh, 6), fresh)
    assert [trial.arch for trial in more.searched] == [trial.arch for trial in plain]


def test_further_replicates_fill_gaps_at_every_budget() -> None:
    arch = NETWORKS[0]
    records = [
        Trial(n, arch, budget, State.RUNNING, replicate=r) for n, (budget, r) in enumerate([(1, 0), (3, 0), (1, 2)])
    ]
    history = History(tuple(records), OBJECTIVES, lambda genes_NG: genes_NG[:, 0])
    assert further_replicate(history, 1) is None
    assert further_replicate(history, 3) == Proposal(arch, 1, 1)


def test_more_replicates_than_the_evaluator_has_are_refused(tmp_path: Path) -> None:
    job = job_of(tmp_path, study_of(tmp_path), 5, replicates=2, confirm=1, confirm_replicates=2)
    job.evaluator.replicates = 3
    with pytest.raises(NASError, match=r"study.replicates=2 and study.confirm_replicates=2 .* at most 3"):
        job._check_replication()
    with pytest.raises(NASError, match=r"study.replicates=0"):
        job_of(tmp_path, study_of(tmp_path), 5, replicates=0)


def test_each_replicate_has_its_fold() -> None:
    folds = tuple((f"train{n}", f"valid{n}") for n in range(3))
    context = RunContext(NOTHING, NOTHING, Path(), torch.device("cpu"), 0, folds=folds)  # type: ignore[arg-type]
    assert [context.of_replicate(n).valid for n in (0, 2, 3, CONFIRMATION)] == ["valid0", "valid2", "valid0", "valid1"]


def test_files_report_and_summary_show_means_with_errors(tmp_path: Path) -> None:
    history = history_with({0: [0.80, 0.82, 0.81], 1: [0.81, 0.79, 0.83], 2: [0.6, 0.62]})
    records = [replace(one, metrics={**one.metrics, "macs": 1e6 * (1 + NETWORKS.index(one.arch))}) for one in history]
    history = replace(history, records=tuple(records), objectives={"auc": "maximize", "macs": "minimize"})
    search_record = SearchRecord(
        "s", 0, -1, 0, 0, DataFacts("x", "0", 1), SplitFacts("0"), replication=Replication(confirm=3)
    )
    result = SearchResult(history, problem_of(SPACE, history.objectives), search_record)
    result.save(tmp_path)
    best = load(tmp_path / "arch.json")
    assert best.metrics["auc"] == pytest.approx(0.81)
    search_of_best = best.provenance.search
    assert search_of_best is not None
    assert (search_of_best.evaluations, search_of_best.confirmed, search_of_best.trials) == (3, True, 4)
    assert search_of_best.standard_error["auc"] == pytest.approx(0.01 / np.sqrt(3))
    assert search_of_best.replication.confirm == 3
    front = {load(path).arch for path in (tmp_path / "pareto").glob("*.json")}
    assert front == {NETWORKS[0]}  # the dearer ones are no better; the searched ones do not count
    with open(tmp_path / "trials.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["evaluations"] for row in rows] == ["1"] * 4 + ["3"] * 6 + ["2"] * 2
    assert float(rows[4]["score_mean"]) == pytest.approx(0.81)
    assert rows[0]["score_standard_error"] == ""
    trials, *_ = _read_trials(tmp_path / "trials.csv")
    assert set(trials[0].metrics) == {"auc", "macs"}
    text = summary(result, tmp_path, SearchEnd("The search ended.", 1.0, 1.0, 1))
    assert "Pareto front of 3 confirmed networks, of 4 trained" in text
    assert "0.810 ± 0.0058 (n=3)" in text
    page = write_search(tmp_path / "report.html", history, space=SPACE)
    for words in ("0.810 ± 0.0058 (n=3)", "were trained again", "Noise of the evaluations", "8 trainings"):
        assert words in page.text


@pytest.mark.parametrize("name", sorted(set(MAKE) - set(SLOW)))
def test_every_strategy_works_with_replicates(name: str) -> None:
    """The loop adds replicates; no evaluation is proposed twice, and every network has all of them."""
    strategy, space, history = MAKE[name](), Grid((5, 4, 4, 3), mixed=True), empty()
    for number in range(40):
        proposal = further_replicate(history, 2) or strategy.propose(space, history, np.random.default_rng(number))
        assert proposal is not None
        assert proposal not in [trial.proposal for trial in history]
        metrics = hill(proposal.arch.genes)
        metrics["score"] += float(np.random.default_rng([number, proposal.replicate]).normal())
        trial = record(number, proposal.arch, metrics, proposal.budget)
        history = extended(history, replace(trial, replicate=proposal.replicate))
    counts = Counter((trial.arch.id, trial.budget) for trial in history)
    assert set(counts.values()) == {2}


def test_candidates_have_the_largest_budget_of_the_search() -> None:
    records = [
        Trial(number, NETWORKS[number], budget, State.COMPLETE, {"auc": auc}, finished=1.0)
        for number, (budget, auc) in enumerate([(1, 0.9), (9, 0.7), (9, 0.8)])
    ]
    history = History(tuple(records), OBJECTIVES, lambda genes_NG: genes_NG[:, 0])
    found = next_confirmation(history, Replication(confirm=3))
    assert found == Proposal(NETWORKS[2], 9, CONFIRMATION)
    assert [trial.arch for trial in candidates(history, 3)] == [NETWORKS[2], NETWORKS[1]]


def test_the_random_counterpart_has_the_same_confirmation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def run_search(problem: Any, split: Any, **settings: Any) -> SimpleNamespace:
        asked.update(settings)
        return SimpleNamespace(best="chosen")

    replication = Replication(replicates=2, rotate_folds=True, confirm=3, confirm_replicates=4)
    problem = problem_of(SPACE, OBJECTIVES)
    monkeypatch.setattr(random_counterpart, "run_search", run_search)
    monkeypatch.setattr(random_counterpart, "_repetition", lambda *_: (problem, RandomSearch(), EvaluatorOf(noisy)))
    facts = (DataFacts("x", "0", 1), SplitFacts("0"))
    search_record = SearchRecord("s", 12, -1, 0, 5, *facts, replication=replication)
    setting: Any = SimpleNamespace(split=None, device="cpu")
    found = random_counterpart.random_search_network(NOTHING, search_record, tmp_path, setting)
    assert found == "chosen"
    assert asked.items() >= {"trials": 12, "seed": 5, **asdict(replication)}.items()


def test_a_confirmation_halves_the_loss_and_removes_most_of_the_optimism() -> None:
    """50 networks, as much noise as difference: the numbers in docs/how-to/noise.md are those of 150 repeats."""
    networks = [Architecture("s", (number,)) for number in range(50)]
    found = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        true = rng.normal(size=50)
        records = [
            Trial(number, arch, 0, State.COMPLETE, {"auc": float(true[number] + rng.normal())}, finished=1.0 + number)
            for number, arch in enumerate(networks)
        ]
        history = History(tuple(records), OBJECTIVES, lambda genes_NG: genes_NG[:, 0])
        best = history.best
        row = [best.metrics["auc"] - true[best.arch.genes[0]], true.max() - true[best.arch.genes[0]]]
        while (wanted := next_confirmation(history, Replication(confirm=5))) is not None:
            value = float(true[wanted.arch.genes[0]] + rng.normal())
            trial = Trial(len(history), wanted.arch, 0, State.COMPLETE, {"auc": value}, finished=99.0)
            history = replace(history, records=(*history.records, replace(trial, replicate=wanted.replicate)))
        best = history.best
        row += [best.metrics["auc"] - true[best.arch.genes[0]], true.max() - true[best.arch.genes[0]]]
        found.append([*row, len(history.confirmed)])
    optimism, loss, optimism_after, loss_after, trainings = np.mean(found, axis=0)
    assert optimism > 1.4
    assert optimism_after < optimism / 3
    assert loss_after < 0.6 * loss
    assert 10 <= trainings <= 25


def test_a_table_confirms_with_its_last_replicates() -> None:
    value_NR = np.arange(12.0).reshape(4, 3)
    look_up = LookUp(table_of(trials_of(value_NR)))
    assert look_up.replicates == 3
    found = [look_up(Proposal(NETWORKS[1], 0, replicate))["auc"] for replicate in (0, CONFIRMATION, CONFIRMATION + 1)]
    assert found == [3.0, 5.0, 4.0]
    with pytest.raises(TrialFailed, match="does not hold"):
        look_up(Proposal(NETWORKS[1], 0, CONFIRMATION + 3))


def test_a_table_of_a_search_with_a_confirmation(tmp_path: Path) -> None:
    """Only few of its networks were confirmed, so that a search cannot use these replicates; as a prior they count."""
    trials = [*trials_of(np.arange(8.0).reshape(4, 2)), *trials_of(np.array([[0.5, 0.7]]), CONFIRMATION)]
    table = table_of([replace(trial, number=number) for number, trial in enumerate(trials)])
    assert LookUp(table).replicates == 2
    assert LookUp(table)(Proposal(NETWORKS[0], 0, CONFIRMATION))["auc"] == 1.0
    write_h5(tmp_path / "t.h5", table)
    job = job_of(tmp_path, study_of(tmp_path), 4, replicates=2, confirm=2)
    with pytest.raises(NASError, match="Tabular, which gives 2 for each network"):
        replace(job, evaluator=Tabular(tmp_path / "t.h5")).check()
    history = History((), OBJECTIVES, lambda genes_NG: genes_NG[:, 0])
    known = {trial.arch: trial.metrics["auc"] for trial in Prior(table).trials(SPACE, history)}
    assert [known[arch] for arch in NETWORKS[:4]] == [pytest.approx(0.6), 2.5, 4.5, 6.5]


def test_a_margin_from_noise_needs_replicates(tmp_path: Path) -> None:
    """With a table of single trainings every second training fails, and nothing is ever pruned."""
    write_h5(tmp_path / "t.h5", table_of(records_of()))
    job = replace(job_of(tmp_path, study_of(tmp_path), 4), evaluator=Tabular(tmp_path / "t.h5"))
    rule = ASHA(3, 3, 9)
    for strategy in (PartialOrderPruning(margin="auto"), MultiFidelity(PartialOrderPruning(margin="auto"), rule)):
        with pytest.raises(NASError, match=r"strategy\.margin=auto with Tabular, which gives one result"):
            replace(job, strategy=strategy).check()
    replace(job, strategy=PartialOrderPruning(margin=0.01)).check()


def result_of(study: Study, history: History, **replication: Any) -> SearchResult:
    facts = (DataFacts("x", "0", 1), SplitFacts("0"))
    return SearchResult(
        history, study.problem, SearchRecord("s", 1, -1, 0, 0, *facts, replication=Replication(**replication))
    )


def test_a_network_whose_replicates_are_incomplete_is_named(tmp_path: Path) -> None:
    """The trials end after one evaluation of the last network, and its luck makes it the best."""
    study = study_of(tmp_path)

    def lucky(proposal: Proposal, context: RunContext) -> dict[str, float]:
        return {"auc": 0.99 if context.trial == 4 else 0.7, "macs": 1.0}

    history = search(job_of(tmp_path, study, 5, lucky, replicates=2), study)
    (text,) = [text for text in result_of(study, history, replicates=2).warnings if "fewer than 2" in text]
    assert f"{history[4].arch.id} (1)" in text
    assert "study.trials=6 completes them" in text
    history = search(job_of(tmp_path, study, 6, lucky, replicates=2), study)
    assert not [text for text in result_of(study, history, replicates=2).warnings if "fewer than" in text]


def test_a_better_network_after_the_confirmation_is_named(tmp_path: Path) -> None:
    study = study_of(tmp_path)

    def rising(proposal: Proposal, context: RunContext) -> dict[str, float]:
        return {"auc": 0.6 + 0.01 * context.trial - 0.1 * (proposal.replicate >= CONFIRMATION), "macs": 1.0}

    history = search(job_of(tmp_path, study, 3, rising, confirm=2, confirm_replicates=2), study)
    assert not [text for text in result_of(study, history, confirm=2).warnings if "after the confirmation" in text]
    history = search(job_of(tmp_path, study, 5, rising), study)
    (text,) = [text for text in result_of(study, history).warnings if "after the confirmation" in text]
    assert history.searched[-1].arch.id in text
    assert "study.confirm=2 confirms it" in text
    assert history.best.arch != history.searched[-1].arch
    history = search(job_of(tmp_path, study, 5, rising, confirm=2, confirm_replicates=2), study)
    assert not [text for text in result_of(study, history, confirm=2).warnings if "after the confirmation" in text]

"""Multi-fidelity searches and searches that start from another study, as commands and with real trainings."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

import run_search
from experiments.hydra_main import take_passwords
from experiments.search.strategies import read_trials
from nas.artifact import Artifact, SpaceFacts
from nas.comparison.searches import CONTINUED, read_search
from nas.errors import NASError
from nas.evaluators.train import Train
from nas.history import Proposal, State
from nas.provenance import Provenance, SearchRecord
from nas.search import SearchJob, search
from nas.strategies.evolution import RegularizedEvolution
from nas.strategies.fidelity.asha import ASHA
from nas.strategies.fidelity.strategy import MultiFidelity
from nas.study.password import HOST, VARIABLE, with_password
from nas.study.study import Study
from nas.task_spec import TaskSpec
from nas.training.settings import EXTENDABLE, TrainingSettings
from nas.trials_csv import write_csv
from nas.trials_table import TrialsTable, write_h5
from search_spaces.naslung import NASLungSpace
from tests.commands import Command, refused
from tests.comparisons import DATA, SPLIT
from tests.problems import context_in, problem_of
from tests.tables import DATA_WORDS, OBJECTIVES, SPACE, SPACE_WORDS, curve_of, records_of, table_of
from tests.training.blobs import blob_store, halves

RULE = ["fidelity.min_budget=1", "training.epochs=9"]


def curves() -> TrialsTable:
    trials = [trial for record in records_of() for trial in curve_of(record, (1, 3, 9))]
    return table_of([replace(trial, number=number) for number, trial in enumerate(trials)])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_h5(tmp_path / "curves.h5", curves())
    return tmp_path / "curves.h5"


def rows_of(folder: Path) -> list[Mapping[str, str]]:
    return list(csv.DictReader((folder / "trials.csv").read_text().splitlines()))


def test_a_search_with_real_trainings(tmp_path: Path) -> None:
    """Promotions continue under warm restarts, bit for bit as if trained in one go; a resumed search continues; only
    what may continue or is in the front keeps its weights."""
    space = NASLungSpace(widths=(4, 8), max_depth=4)
    problem = problem_of(space, {"auc": "maximize"})
    context = context_in(tmp_path / "runs", *halves(blob_store(tmp_path / "blobs.h5")))
    settings = TrainingSettings(epochs=4, batch_size=8, precision="fp32", schedule="warm_restarts", restarts=(1, 2, 4))
    strategy = MultiFidelity(RegularizedEvolution(4, 2), ASHA(2, 1, 4))
    epochs: list[int] = []
    evaluator, counted = Train(settings), replace(context, on_epoch=lambda epoch, _: epochs.append(epoch))
    for trials in (5, 9):
        study = Study(f"sqlite:///{tmp_path}/study.db", "s", problem, {})
        history = search(SearchJob(problem, strategy, evaluator, counted, trials, keep_checkpoints="front"), study)
        study.close()
    assert [trial.state for trial in history] == [State.COMPLETE] * 9
    budgets = {trial.arch: max(t.budget for t in history if t.arch == trial.arch) for trial in history}
    assert sorted(set(budgets.values())) == [1, 2, 4]
    assert len(epochs) == sum(budgets.values())  # no epoch twice
    (longest,) = (trial for trial in history if trial.budget == 4)
    direct = evaluator.evaluate(Proposal(longest.arch, 4), problem, replace(context, folder=tmp_path / "direct"))
    assert {**direct, "seconds": 0} == {**{k: longest.metrics[k] for k in direct}, "seconds": 0}
    unfinished = {arch.id for arch, budget in budgets.items() if budget < 4}
    kept = {folder.name for folder in context.folder.iterdir() if list(folder.glob("*.pt"))}
    assert kept == unfinished | {history.best.arch.id, longest.arch.id}


def test_a_search_on_a_table_is_planned_resumed_and_repeated(path: Path, command: Command) -> None:
    """The table has the curves of all networks; the default name of the study contains the rule."""
    words = [f"evaluator.path={path}", "evaluator=tabular", "strategy=random", *SPACE_WORDS, *DATA_WORDS]
    asha = [*words, "fidelity=asha", *RULE]
    code, out, err = command(run_search.main, *asha, "study.trials=20", "dry_run=true")
    assert code == 0, err
    assert "outputs/naslung-random-asha-seed0" in out
    for trials in (12, 20):
        code, _, err = command(run_search.main, *asha, f"study.trials={trials}")
        assert code == 0, err
    rows = rows_of(command.folder / "outputs/naslung-random-asha-seed0")
    sizes = [sum(row["budget"] == budget for row in rows) for budget in ("1", "3", "9")]
    assert sum(sizes) == 20
    assert sizes[0] > sizes[1] > sizes[2] > 0
    refused(command(run_search.main, *asha, "fidelity.max_budget=4"), "a proposal for 4 epochs", "1, 3, 9")
    refused(command(run_search.main, *words, "fidelity=asha", "training.epochs=5"), "fidelity.min_budget=9")


@pytest.mark.slow
def test_a_search_starts_from_another_study(path: Path, command: Command) -> None:
    """A table, and the store that a search has just written; the content is recorded and not the place."""
    words = [f"evaluator.path={path}", "evaluator=tabular", *SPACE_WORDS, *DATA_WORDS, "study.trials=4"]
    first = [*words, "strategy=regularized_evolution", "study.name=first", f"warm_start={path}"]
    assert command(run_search.main, *first)[0] == 0
    known = read_trials(str(path))
    best = max(range(len(known)), key=lambda row: (known.budgets_N[row], known.metrics["auc"][row]))
    rows = rows_of(command.folder / "outputs/first")
    assert rows[0]["genes"] == " ".join(map(str, known.genes_NG[best]))
    (command.folder / "copy.h5").write_bytes(path.read_bytes())
    assert command(run_search.main, *first[:-1], "warm_start=copy.h5", "study.trials=5")[0] == 0
    code, _, err = command(
        run_search.main, *words, "strategy=predictor", "study.name=p", "warm_start='outputs/first#first'"
    )
    assert code == 0, err
    refused(command(run_search.main, *first[:-1]), "strategy", "with which it was created")
    refused(command(run_search.main, *words, "strategy=random", "warm_start=x.h5"), "warm_start=x.h5 with RandomSearch")
    for place in ("x.h5", "outputs/first#second", "nowhere"):
        answer = command(run_search.main, *words, "strategy=predictor", f"warm_start='{place}'")
        refused(answer, f"warm_start={place}")
    other = NASLungSpace(widths=(4, 8), max_depth=3)
    write_h5(command.folder / "other.h5", replace(known, space=SpaceFacts.of(other)))
    refused(command(run_search.main, *words, "strategy=predictor", "warm_start=other.h5"), "trials of the same space")


def test_a_password_of_the_other_study_is_kept_out_of_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.setenv(HOST, "")
    (word,) = take_passwords(["warm_start='postgresql://me:secret@host/base#first'"])
    assert word == "warm_start='postgresql://me@host/base#first'"
    assert with_password("postgresql://me@host/base") == "postgresql://me:secret@host/base"


def test_a_strategy_that_takes_no_trials_of_another_study_refuses_them(command: Command) -> None:
    words = ["strategy=priorband", *RULE[1:], "strategy.min_budget=1", *SPACE_WORDS, *DATA_WORDS]
    refused(command(run_search.main, *words, "warm_start=x.h5"), "warm_start=x.h5 with PriorBand")


def test_trials_that_cannot_be_read(tmp_path: Path) -> None:
    for text in (str(tmp_path / "t.h5"), str(tmp_path), f"{tmp_path}#x"):
        with pytest.raises(NASError, match="warm_start="):
            read_trials(text)


@pytest.mark.parametrize(("schedule", "factor"), [("constant", 9), ("warm_restarts", 9), ("cosine", 12)])
def test_a_comparison_counts_each_epoch_once(schedule: str, factor: int, tmp_path: Path) -> None:
    """A trial that continued has the epochs and seconds of the whole training, one that began anew its own."""
    records = records_of()[:2]
    trials = [trial for one in records for trial in curve_of(one, (3, 9))][:3]
    costs = ({"epochs": trial.budget, "seconds": 2.0 * trial.budget} for trial in trials)
    trials = [
        replace(trial, number=number, metrics={**trial.metrics, **cost})
        for number, (trial, cost) in enumerate(zip(trials, costs, strict=True))
    ]
    config = {"evaluator": {"settings": {"schedule": schedule}}}
    record = SearchRecord("s", 3, 1, 9, 0, DATA, SPLIT, objectives=OBJECTIVES, config=config)
    chosen = trials[1]
    Artifact(SPACE, chosen.arch, TaskSpec(), chosen.metrics, Provenance(search=record)).save(tmp_path / "arch.json")
    write_csv(tmp_path / "trials.csv", trials)
    outcome = read_search(tmp_path)
    assert outcome.epochs == factor + 3
    assert outcome.seconds_N.sum() == 2 * (factor + 3)
    assert set(CONTINUED) == set(EXTENDABLE)

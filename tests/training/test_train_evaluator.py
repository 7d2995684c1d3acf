"""The evaluator `train`: seeds, budgets and resuming by architecture, on a small real space."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nas.context import RunContext
from nas.errors import NASError
from nas.evaluators.train import Train, seed_of
from nas.history import Proposal
from nas.training.loop import FitResult
from nas.training.settings import TrainingSettings
from search_spaces.naslung import NASLungSpace
from tests.problems import context_in, problem_of
from tests.training.blobs import blob_store, halves

SPACE = NASLungSpace(widths=(4, 8), max_depth=4)
ARCH = SPACE.from_stages([[4], [4], [8]])
PROBLEM = problem_of(SPACE, {"auc": "maximize"})
SETTINGS = TrainingSettings(epochs=2, batch_size=8, precision="fp32")


@pytest.fixture
def context(tmp_path: Path) -> RunContext:
    train, valid = halves(blob_store(tmp_path / "blobs.h5"))
    return context_in(tmp_path / "runs", train, valid)


def without_time(metrics):  # type: ignore[no-untyped-def]
    return {name: value for name, value in metrics.items() if name != "seconds"}


def test_the_same_seed_and_architecture_give_the_same_metrics(context: RunContext, tmp_path: Path) -> None:
    first = Train(SETTINGS).evaluate(Proposal(ARCH), PROBLEM, context)
    torch.manual_seed(123)
    second = Train(SETTINGS).evaluate(Proposal(ARCH), PROBLEM, replace(context, folder=tmp_path / "again"))
    other = Train(SETTINGS).evaluate(Proposal(ARCH), PROBLEM, replace(context, folder=tmp_path / "other", seed=1))
    assert without_time(first) == without_time(second)
    assert first["log_loss"] != other["log_loss"]
    assert first["epochs"] == 2
    assert first["seconds"] > 0
    assert {"auc", "accuracy", "sensitivity", "specificity"} <= set(first)


def test_a_killed_evaluation_goes_on_where_it_was(context: RunContext, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    def killed(epoch: int, epochs: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Train(SETTINGS).evaluate(Proposal(ARCH), PROBLEM, replace(context, on_epoch=killed))
    resumed = Train(SETTINGS).evaluate(
        Proposal(ARCH), PROBLEM, replace(context, on_epoch=lambda *call: seen.append(call))
    )
    straight = Train(SETTINGS).evaluate(Proposal(ARCH), PROBLEM, replace(context, folder=tmp_path / "straight"))
    assert seen == [(2, 2)]
    assert without_time(resumed) == without_time(straight)
    assert (context.folder / ARCH.id / "best.pt").is_file()


@pytest.mark.parametrize(("schedule", "trained"), [("constant", [3]), ("onecycle", [1, 2, 3]), ("warm_restarts", [3])])
def test_a_budget_replaces_the_epochs_and_continues_where_the_schedule_permits(
    context: RunContext, tmp_path: Path, schedule: str, trained: list[int]
) -> None:
    restarts = (2, 3) if schedule == "warm_restarts" else ()
    evaluator = Train(replace(SETTINGS, schedule=schedule, restarts=restarts, validate_every=len(restarts) + 1))
    assert evaluator.evaluate(Proposal(ARCH), PROBLEM, context)["epochs"] == 2
    seen: list[int] = []
    longer = evaluator.evaluate(
        Proposal(ARCH, budget=3), PROBLEM, replace(context, on_epoch=lambda epoch, _: seen.append(epoch))
    )
    assert seen == trained
    direct = evaluator.evaluate(Proposal(ARCH, budget=3), PROBLEM, replace(context, folder=tmp_path / "direct"))
    assert without_time(longer) == without_time(direct)
    assert longer["epochs"] == 3


def test_seeds_differ_by_study_and_replicate_alone() -> None:
    seeds = [seed_of(study, replicate) for study in range(5) for replicate in range(5)]
    assert len(set(seeds)) == 25
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_networks_of_one_replicate_have_the_same_seed_and_replicates_have_folders(
    context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []

    def note_seed(*arguments: Any, seed: int, **settings: Any) -> FitResult:
        seeds.append(seed)
        return FitResult(1, {"auc": 0.5}, 1, 0.0, ())

    monkeypatch.setattr("nas.evaluators.train.fit", note_seed)
    evaluator, other = Train(SETTINGS), SPACE.from_stages([[4], [8], [8]])
    wanted = [Proposal(ARCH), Proposal(other), Proposal(ARCH, replicate=1), Proposal(other, replicate=1)]
    for proposal in wanted:
        evaluator.evaluate(proposal, PROBLEM, context)
    assert seeds == [seed_of(context.seed, replicate) for replicate in (0, 0, 1, 1)]
    assert len({evaluator.folder_of(proposal, PROBLEM, context) for proposal in wanted}) == 4


def test_budgets_have_to_be_restarts(caplog: pytest.LogCaptureFixture) -> None:
    warm = Train(replace(SETTINGS, schedule="warm_restarts", restarts=(1, 3, 9)))
    warm.check_budgets((1, 3))
    Train(replace(SETTINGS, schedule="constant")).check_budgets((1, 2))
    assert not caplog.records
    with pytest.raises(NASError, match=r"fix: training\.restarts=\[1,4\]"):
        warm.check_budgets((1, 4))
    Train(SETTINGS).check_budgets((1, 2))
    assert "begins anew" in caplog.text

"""Checkpoints that a search keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nas.context import RunContext
from nas.errors import NASError
from nas.evaluators.train import Train
from nas.history import CONFIRMATION, History, Proposal, State
from nas.kept_checkpoints import CheckpointKeeper
from nas.provenance import Replication
from nas.strategies.fidelity.asha import ASHA
from nas.strategies.fidelity.strategy import MultiFidelity
from nas.strategies.random import RandomSearch
from nas.training.curves import CURVES
from nas.training.settings import TrainingSettings
from nas.utils.files import write_text
from tests.problems import problem_of
from tests.tables import OBJECTIVES, SPACE, records_of

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
    """A running trial (3) keeps them too; a failed trial (4) and a dominated one (2) keep their curves only."""
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
    strategy = MultiFidelity(RandomSearch(), ASHA(eta=3, min_budget=1, max_budget=9))
    history = history_of({"0": (1, 0.9, 1.0), "1": (1, 0.5, 2.0), "2": (9, 0.4, 3.0), "2/low": (1, 0.3, 3.0)})
    context = RunContext(None, None, tmp_path, torch.device("cpu"), 0)  # type: ignore[arg-type]
    for trial in history:
        write_text(evaluator.folder_of(Proposal(trial.arch, trial.budget), PROBLEM, context) / "last.pt", "x")
    CheckpointKeeper("best", strategy, evaluator, PROBLEM, context).tidy(history)
    left = {path.parent.name for path in tmp_path.glob("*/last.pt")}
    ids = [trial.arch.id for trial in history]
    assert left == (set(ids[:3]) if schedule == "constant" else {f"{ids[0]}-1-epochs"})


def test_weights_of_a_network_whose_mean_may_still_change_are_kept(tmp_path: Path) -> None:
    """A network that lies behind after its first replicate may be the best by the mean of all."""
    history = history_of({"0": (0, 0.9, 1.0), "1": (0, 0.5, 2.0), "2": (0, 0.4, 3.0), "2/again": (0, 0.4, 3.0)})
    records = [*history.records[:3], replace(history[3], replicate=1)]
    context = RunContext(None, None, tmp_path, torch.device("cpu"), 0)  # type: ignore[arg-type]
    evaluator = Train()
    for trial in records:
        write_text(evaluator.folder_of(trial.proposal, PROBLEM, context) / "best.pt", "x")
    again = evaluator.folder_of(records[1].proposal, PROBLEM, context) / "again/best.pt"
    write_text(again, "x")
    keeper = CheckpointKeeper("best", RandomSearch(), evaluator, PROBLEM, context, Replication(replicates=2))
    keeper.tidy(replace(history, records=tuple(records)))
    left = {path.parent.name for path in tmp_path.glob("*/best.pt")}
    assert left == {trial.arch.id for trial in records[:2]}
    assert again.exists()
    confirmed = [replace(one, replicate=CONFIRMATION) for one in records[:3]]
    for trial in confirmed:
        write_text(evaluator.folder_of(trial.proposal, PROBLEM, context) / "best.pt", "x")
    keeper.tidy(replace(history, records=(*records, *confirmed)))
    assert all((evaluator.folder_of(trial.proposal, PROBLEM, context) / "best.pt").exists() for trial in confirmed)


@pytest.mark.parametrize(("keep", "kept"), [("best", {0}), ("front", {0, 1, 2})])
def test_B5_a_search_that_has_ended_keeps_the_best_alone(keep: Any, kept: set[int], tmp_path: Path) -> None:
    evaluator = Train(TrainingSettings(epochs=9, schedule="constant"))
    strategy = MultiFidelity(RandomSearch(), ASHA(eta=3, min_budget=1, max_budget=9))
    history = history_of({"0": (1, 0.9, 1.0), "1": (1, 0.5, 2.0), "2": (3, 0.4, 3.0), "3": (9, 0.3, 4.0)})
    context = RunContext(None, None, tmp_path, torch.device("cpu"), 0)  # type: ignore[arg-type]
    for trial in history:
        write_text(evaluator.folder_of(Proposal(trial.arch, trial.budget), PROBLEM, context) / "last.pt", "x")
    keeper = CheckpointKeeper(keep, strategy, evaluator, PROBLEM, context)
    keeper.tidy(history)
    assert len(list(tmp_path.glob("*/last.pt"))) == 4
    keeper.tidy(history, has_ended=True)
    names = {path.parent.name for path in tmp_path.glob("*/last.pt")}
    assert {trial.number for trial in history if trial.arch.id in names} >= kept
    assert (len(names) == 1) == (keep == "best")

"""Training a supernet: halves by patient, warm-up, resumed bit for bit, a target cost, the answer under torchrun."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nas.context import RunContext
from nas.cost.model import CostModel
from nas.data.loading import VolumeSet
from nas.errors import NASError
from nas.evaluators.supernet import InheritedWeights
from nas.history import History, Proposal, State, Trial
from nas.problem import Problem
from nas.space import SearchSpace
from nas.strategies.differentiable import Differentiable, costs_of
from nas.supernets.base import Supernet
from nas.supernets.loading import PICTURE, load_supernet
from nas.supernets.settings import ArchitectureSettings
from nas.supernets.shared import supernet_of
from nas.supernets.trainer import SupernetTraining, halves
from nas.tasks.segmentation import Segmentation
from nas.testing import check_evaluator
from nas.tracking.base import NO_TRACKING, NoTracking, Tracker
from nas.training.curves import CURVES
from nas.training.settings import TrainingSettings
from search_spaces.dints import DiNTSSpace
from search_spaces.unet import UNetSpace
from tests.processes import run_ranks
from tests.training.test_segmentation_training import Parts, ball_parts

CPU = torch.device("cpu")
SETTINGS = TrainingSettings(epochs=4, batch_size=3, lr=0.02, precision="fp32")
TASK = Segmentation(dims=2)
SPACES: dict[str, SearchSpace] = {
    "dints": DiNTSSpace(2, 2, 1 / 16, spatial_dims=2),
    "shared": UNetSpace(depths=(1, 2), widths=(4, 8), block_counts=(1,), kernels=(3,), spatial_dims=2),
}


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    return ball_parts(tmp_path_factory.mktemp("balls"), 2)


def made(
    parts: Parts,
    folder: Path,
    space: SearchSpace | None = None,
    settings: TrainingSettings = SETTINGS,
    tracker: Tracker = NO_TRACKING,
    **architecture: Any,
) -> SupernetTraining:
    space = space or SPACES["dints"]
    torch.manual_seed(0)
    supernet = supernet_of(space, TASK.spec)
    costs = costs_of(CostModel(space, TASK.spec, parts[0].shape, "macs"))
    options = ArchitectureSettings(**{"lr": 0.1, **architecture})
    return SupernetTraining(
        supernet,
        TASK,
        *parts,
        settings,
        options,
        costs,
        seed=3,
        device=CPU,
        folder=folder,
        fingerprint="test",
        tracker=tracker,
    )


def alphas(supernet: Supernet) -> dict[str, torch.Tensor]:
    return {name: alpha.detach().clone() for name, alpha in supernet.architecture_parameters().items()}


def test_the_halves_share_no_patient(parts: Parts) -> None:
    train, _ = parts
    for seed in range(5):
        first, second = halves(train, seed)
        assert sorted([*first.indices, *second.indices]) == sorted(train.indices)
        assert not set(train.store.groups[first.indices]) & set(train.store.groups[second.indices])
        assert abs(len(first) - len(second)) <= 1
    with pytest.raises(NASError, match="a training part of 1 "):
        halves(VolumeSet(train.store, [0], CPU), 0)


@pytest.mark.parametrize("name", SPACES)
def test_probabilities_move_after_the_warm_up_only(name: str, parts: Parts, tmp_path: Path) -> None:
    training = made(parts, tmp_path, SPACES[name], replace(SETTINGS, schedule="constant"), warm_up=0.5)
    seen = [alphas(training.supernet)]
    training.run(lambda epoch, epochs: seen.append(alphas(training.supernet)))
    moved = [any(not torch.equal(before[key], after[key]) for key in before) for before, after in pairwise(seen)]
    assert moved == [False, False, True, True]
    assert [row["epoch"] for row in training.history] == [1, 2, 3, 4]
    assert {"loss", "dice supernet", "dice decoded"} <= set(training.history[0])
    assert "architecture loss" in training.history[3]
    assert len((tmp_path / CURVES).read_text().splitlines()) == 5
    assert (tmp_path / PICTURE).read_text().startswith("<")


@pytest.mark.parametrize("name", ["dints", pytest.param("shared", marks=pytest.mark.slow)])
def test_a_killed_search_goes_on_bit_for_bit(name: str, parts: Parts, tmp_path: Path) -> None:
    whole = made(parts, tmp_path / "whole", SPACES[name], target=2e5)
    whole.run()
    for stop in (1, 3):

        def kill(epoch: int, epochs: int, stop: int = stop) -> None:
            if epoch == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            made(parts, tmp_path / "cut", SPACES[name], target=2e5).run(kill)
    again = made(parts, tmp_path / "cut", SPACES[name], target=2e5)
    again.run()
    expected, found = whole.supernet.state_dict(), again.supernet.state_dict()
    assert expected.keys() == found.keys()
    assert all(torch.equal(value, found[key]) for key, value in expected.items() if isinstance(value, torch.Tensor))
    timeless = [{key: value for key, value in row.items() if key != "seconds"} for row in whole.history]
    assert timeless == [{key: value for key, value in row.items() if key != "seconds"} for row in again.history]
    assert whole.decoded() == again.decoded()


def test_another_search_does_not_go_on_there(parts: Parts, tmp_path: Path) -> None:
    made(parts, tmp_path).run()
    with pytest.raises(NASError, match="architecture="):
        made(parts, tmp_path, warm_up=0.25).run()


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_the_target_cost_is_reached(share: float, parts: Parts, tmp_path: Path) -> None:
    """From the expected cost of equal probabilities to a smaller one, within 10 %: expected and decoded."""
    space = DiNTSSpace(4, 3, 1 / 16, spatial_dims=2)
    costs = costs_of(CostModel(space, TASK.spec, parts[0].shape, "macs"))
    torch.manual_seed(0)
    target = share * supernet_of(space, TASK.spec).expected_cost(costs).item()
    settings = replace(SETTINGS, epochs=20, batch_size=2)
    training = made(parts, tmp_path, space, settings, warm_up=0.1, lr=0.2, target=target, validate_every=20)
    training.run()
    assert training.supernet.expected_cost(costs).item() == pytest.approx(target, rel=0.1)
    arch = training.decoded()
    assert float(costs.of_genes(np.array([arch.genes]))[0]) == pytest.approx(target, rel=0.1)


def problem(space: SearchSpace, cost: CostModel | None = None) -> Problem:
    return Problem(space, TASK, cost or CostModel(space, TASK.spec, (1, 16, 16), "macs"), {"dice": "maximize"})


def prepare(strategy: Differentiable, parts: Parts, folder: Path, space: SearchSpace, cost: CostModel) -> None:
    strategy.prepare(problem(space, cost), RunContext(*parts, folder, CPU, 0))


def test_the_strategy_proposes_the_answer_first(parts: Parts, tmp_path: Path) -> None:
    space = SPACES["dints"]
    cost = CostModel(space, TASK.spec, parts[0].shape, "macs")
    strategy = Differentiable(SETTINGS, lr=0.1)
    prepare(strategy, parts, tmp_path, space, cost)
    supernet = load_supernet(tmp_path / "supernet" / "last.pt", space, TASK.spec, parts[0])
    best = [found.arch for found in supernet.decode(3)]
    history = History((), {"dice": "maximize"}, cost)
    first = strategy.propose(space, history, np.random.default_rng(0))
    assert first == Proposal(best[0])

    budget = 0.7 * cost.of(best[0])
    small = Differentiable(SETTINGS, lr=0.1, budget=budget)
    prepare(small, parts, tmp_path / "small", space, cost)
    proposal = small.propose(space, history, np.random.default_rng(0))
    assert proposal is not None
    assert cost.of(proposal.arch) <= budget
    for limit in ("budget", "target"):
        with pytest.raises(NASError, match=f"a {limit} of 1; .*smallest feasible architecture"):
            Differentiable(SETTINGS, **{limit: 1.0}).check(problem(space, cost))
    with pytest.raises(NASError, match=r"strategy.target=1e\+12"):
        Differentiable(SETTINGS, target=1e12).check(problem(space, cost))


def test_every_proposal_is_near_the_target_and_within_the_budget(parts: Parts, tmp_path: Path) -> None:
    space = DiNTSSpace(4, 3, 1 / 16, spatial_dims=2)
    cost = CostModel(space, TASK.spec, parts[0].shape, "macs")
    target = 0.6 * supernet_of(space, TASK.spec).expected_cost(costs_of(cost)).item()
    strategy = Differentiable(replace(SETTINGS, epochs=1), target=target, budget=1.05 * target)
    prepare(strategy, parts, tmp_path, space, cost)
    records: list[Trial] = []
    for number in range(12):
        history = History(records, {"dice": "maximize"}, cost)
        proposal = strategy.propose(space, history, np.random.default_rng(number))
        assert proposal is not None
        least = 0.9 if number else 0.8  # the answer is as near as there is
        assert least * target <= cost.of(proposal.arch) <= 1.05 * target
        records.append(Trial(number, proposal.arch, 0, State.COMPLETE, {"dice": 0.5}, finished=1.0))
    assert len({record.arch for record in records}) == 12


class Board(NoTracking):
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.curves: dict[str, list[float]] = {}
        self.texts: list[str] = []

    def scalar(self, plot: str, series: str, step: float, value: float) -> None:
        self.curves.setdefault(series, []).append(value)

    def text(self, name: str, html: str) -> None:
        self.texts.append(html)


def test_the_board_shows_curves_and_the_topology_as_it_sharpens(parts: Parts, tmp_path: Path) -> None:
    board = Board()
    made(parts, tmp_path, settings=replace(SETTINGS, schedule="constant"), tracker=board, target=2e5).run()
    assert {"loss", "edge_entropy", "operation_entropy", "topology", "cost", "dice decoded"} <= set(board.curves)
    assert len(board.curves["loss"]) == 4
    assert len(set(board.texts[1:])) == 3  # one picture an epoch, and after the warm-up each another


def test_what_a_supernet_cannot_do_is_refused_before_it_is_trained(
    parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NASError, match=r"strategy.regularisers.topologi=1.0; expected one of edge_entropy"):
        made(parts, tmp_path, regularisers={"topologi": 1.0})
    with pytest.raises(NASError, match="checkpointing=true for a SharedSupernet"):
        made(parts, tmp_path, SPACES["shared"], checkpointing=True)
    assert made(parts, tmp_path, checkpointing=True).supernet.checkpointing is True
    monkeypatch.setattr("nas.training.distributed.world", lambda: 4)
    with pytest.raises(NASError, match="samples for 4 processes"):
        made(parts, tmp_path)


def test_memory_that_runs_out_ends_in_one_line(parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = made(parts, tmp_path)

    def full(*inputs: torch.Tensor) -> torch.Tensor:
        raise MemoryError

    monkeypatch.setattr(training, "forward", full)
    with pytest.raises(NASError, match=r"out of memory.*set strategy.checkpointing to true"):
        training.run()


@pytest.mark.parametrize("name", SPACES)
def test_inherited_weights_score_networks(name: str, parts: Parts, tmp_path: Path) -> None:
    space = SPACES[name]
    strategy = Differentiable(SETTINGS)
    prepare(strategy, parts, tmp_path, space, CostModel(space, TASK.spec, parts[0].shape, "macs"))
    arch = strategy.propose(space, History((), {}, np.sum), np.random.default_rng(0))
    assert arch is not None
    path = tmp_path / "supernet" / "last.pt"
    metrics = check_evaluator(InheritedWeights(str(path)), problem(space), RunContext(*parts, tmp_path, CPU, 0), arch)
    last = (tmp_path / "supernet" / CURVES).read_text().splitlines()
    scored = dict(zip(last[0].split(","), last[-1].split(","), strict=True))
    assert metrics["dice"] == pytest.approx(float(scored["dice decoded"]))


def test_supernets_that_do_not_fit(parts: Parts, tmp_path: Path) -> None:
    with pytest.raises(NASError, match="no supernet that can be read"):
        load_supernet(tmp_path / "last.pt", SPACES["dints"], TASK.spec)
    space = SPACES["dints"]
    prepare(Differentiable(SETTINGS), parts, tmp_path, space, CostModel(space, TASK.spec, parts[0].shape, "macs"))
    path = tmp_path / "supernet" / "last.pt"
    with pytest.raises(NASError, match="supernet of DiNTSSpace"):
        load_supernet(path, SPACES["shared"], TASK.spec)
    with pytest.raises(NASError, match="a supernet trained on"):
        load_supernet(path, space, TASK.spec, VolumeSet(parts[0].store, range(3), CPU))
    other = RunContext(VolumeSet(parts[0].store, range(3), CPU), parts[1], tmp_path, CPU, 0)
    proposal = Proposal(space.sample(np.random.default_rng(0)))
    for check in (InheritedWeights(str(path)).check, partial(InheritedWeights(str(path)).evaluate, proposal)):
        with pytest.raises(NASError, match="a supernet trained on"):
            check(problem(space), other)
    with pytest.raises(NASError, match="weights of other sizes"):
        load_supernet(path, space, replace(TASK.spec, outputs=5))
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(NASError, match="no supernet that can be read"):
        load_supernet(path, space, TASK.spec)


@pytest.mark.parametrize(
    "wrong",
    [{"warm_up": 1.0}, {"lr": 0}, {"betas": (0.5,)}, {"target": 0.0}, {"budget": -1.0}, {"validate_every": 0}],
)
def test_settings_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(NASError, match=f"strategy.{next(iter(wrong))}"):
        ArchitectureSettings(**wrong)


def test_a_loss_that_is_not_finite_is_reported(parts: Parts, tmp_path: Path) -> None:
    settings = replace(SETTINGS, grad_clip=0.0, optimizer="sgd")
    object.__setattr__(settings, "lr", 1e30)  # which settings refuse
    training = made(parts, tmp_path, settings=settings)
    with pytest.raises(NASError, match="not finite in epoch 1"):
        training.run()


def together(folder: Path, processes: int = 2) -> list[dict[str, Any]]:
    """The supernet of the balls, trained by so many processes: what each rank ends with."""
    script = Path(__file__).with_name("supernet_processes.py")
    run_ranks(script, folder, folder=folder.parent, count=processes)
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(processes)]


@pytest.mark.slow
def test_two_processes_give_one_architecture(parts: Parts, tmp_path: Path) -> None:
    first, second = together(tmp_path / "two")
    alone = made(parts, tmp_path / "one", target=2e5)
    alone.run()
    for name, values in first["alphas"].items():
        assert values == second["alphas"][name]
        assert np.allclose(values, alphas(alone.supernet)[name].numpy(), atol=2e-3)
    assert first["genes"] == second["genes"] == list(alone.decoded().genes)
    assert math.isfinite(first["loss"])

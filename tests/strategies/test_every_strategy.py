"""What holds for every strategy, with settings small enough that its own rule is soon at work."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from nas.errors import NASError
from nas.history import History, State, Trial
from nas.multiobjective.constraints import Constraint
from nas.strategies.base import Strategy
from nas.strategies.evolution import RegularizedEvolution
from nas.strategies.fidelity.asha import ASHA
from nas.strategies.fidelity.curve_stop import CurveStop
from nas.strategies.fidelity.hyperband import Hyperband
from nas.strategies.fidelity.priorband import PriorBand
from nas.strategies.fidelity.strategy import MultiFidelity
from nas.strategies.local_search import LocalSearch
from nas.strategies.optuna_samplers import NSGA2, TPE, GaussianProcess
from nas.strategies.partial_order.strategy import PartialOrderPruning
from nas.strategies.predictor import Predictor
from nas.strategies.random import RandomSearch
from nas.testing import check_strategy
from tests.conftest import REPO
from tests.strategies.tables import Grid, Staircase, empty, extended, hill, play, record, total

MAKE: dict[str, Callable[[], Strategy]] = {
    "random": RandomSearch,
    "pop": lambda: PartialOrderPruning(patience=0),
    "evolution": lambda: RegularizedEvolution(10, 5),
    "nsga2": lambda: NSGA2(8),
    "tpe": lambda: TPE(5),
    "gp": lambda: GaussianProcess(5, fitted=10, tries=1),
    "local_search": lambda: LocalSearch(3),
    "predictor": lambda: Predictor(5, trees=8, candidates=30),
    "halving": lambda: MultiFidelity(RandomSearch(), ASHA(2, 1, 4)),
    "hyperband": lambda: MultiFidelity(RegularizedEvolution(6, 3), Hyperband(2, 1, 4)),
    "priorband": lambda: PriorBand(2, 1, 4),
    "curve_stop": lambda: MultiFidelity(LocalSearch(3), CurveStop(2, 1, 4, full=3)),
}
GUIDED = sorted(set(MAKE) - {"random", "pop"})
STEPS = {"halving", "hyperband", "curve_stop", "priorband"}  # a network has several trials
every_strategy = pytest.mark.parametrize("name", sorted(MAKE))
TRIALS = {"gp": 8}  # a proposal takes half a second
SLOW = ("gp", "nsga2", "predictor", "tpe")  # they fit a model, or make many populations


def with_slow(*slow: str, of: Sequence[str] = tuple(sorted(MAKE))) -> list[Any]:
    """Names of strategies, some of them only for the slow tests."""
    return [pytest.param(name, marks=pytest.mark.slow) if name in slow else name for name in of]


@pytest.mark.parametrize("name", with_slow("gp"))
@pytest.mark.parametrize("space", [Grid((5, 4, 4, 3), mixed=True), Staircase((4, 4, 4, 4))], ids=["grid", "staircase"])
def test_it_conforms_when_its_own_rule_is_at_work(name: str, space: Grid) -> None:
    check_strategy(MAKE[name](), space, TRIALS.get(name, 25))


@pytest.mark.parametrize("name", with_slow("gp", of=sorted(set(MAKE) - {"pop", *STEPS})))
def test_it_visits_a_tiny_space_whole_and_then_ends(name: str) -> None:
    space = Grid((3, 2, 2), mixed=True)
    history = play(MAKE[name](), space, empty(), 50)
    assert len(history) == len({r.arch for r in history}) == 12


@pytest.mark.parametrize("name", sorted(set(MAKE) - {"pop", *STEPS}))
def test_it_visits_what_a_constraint_leaves_and_then_ends(name: str) -> None:
    space = Staircase((3, 3, 3))
    limits = (Constraint("cost", 3.0), Constraint("cost", 1.0, at_most=False))
    history = play(MAKE[name](), space, empty(constraints=limits, costs={"cost": total}), 50)
    expected = {tuple(row) for row in space.enumerate().tolist() if 1 <= sum(row) <= 3}
    assert sorted(r.arch.genes for r in history) == sorted(expected)


@every_strategy
def test_a_constraint_that_nothing_keeps_ends_the_search(name: str) -> None:
    limits = (Constraint("cost", -1.0),)
    assert len(play(MAKE[name](), Grid((3, 3)), empty(constraints=limits, costs={"cost": total}), 5)) == 0


@pytest.mark.parametrize("name", with_slow("gp"))
def test_workers_that_have_not_finished_share_no_network(name: str) -> None:
    """Proposals after ten finished trials, none of which ends."""
    space = Grid((6, 6, 6))
    strategy = MAKE[name]()
    history = play(strategy, space, empty(), 10)
    for number in range(10, 10 + (4 if name == "gp" else 30)):
        proposal = strategy.propose(space, history, np.random.default_rng(number))
        assert proposal is not None
        held = {(r.arch, r.budget) for r in history}
        assert (proposal.arch, proposal.budget) not in held
        history = extended(history, Trial(number, proposal.arch, proposal.budget, State.RUNNING))


@every_strategy
def test_nothing_but_failures(name: str) -> None:
    space, strategy = Grid((6, 6, 6)), MAKE[name]()
    history = empty()
    for number in range(12):
        proposal = strategy.propose(space, history, np.random.default_rng(number))
        assert proposal is not None
        assert proposal.arch not in {r.arch for r in history}
        history = extended(history, Trial(number, proposal.arch, proposal.budget, State.FAILED, finished=number + 1.0))


@every_strategy
@pytest.mark.parametrize(
    "objectives",
    [{"score": "maximize"}, {"loss": "minimize"}, {"loss": "minimize", "cost": "minimize", "score": "maximize"}],
    ids=["one", "minimised", "three"],
)
def test_any_objectives(name: str, objectives: dict[str, str]) -> None:
    def metrics(genes: tuple[int, ...]) -> dict[str, float]:
        return {**hill(genes), "loss": -hill(genes)["score"] + genes[0] % 2}

    trials = TRIALS.get(name, 25)
    history = play(MAKE[name](), Grid((5, 5, 5)), empty(objectives), trials, score=metrics)
    assert len(history) == trials or name == "pop"  # which rules out the whole space with some objectives
    assert len(history) > 0


@pytest.mark.parametrize("name", sorted(set(MAKE) - {"random"}))  # which reads no metric at all
def test_a_constraint_on_a_metric_that_is_not_reported(name: str) -> None:
    with pytest.raises(NASError, match="that is not reported"):
        play(MAKE[name](), Grid((5, 5, 5)), empty(constraints=(Constraint("speed", 1.0),)), 30)


def best_of(history: History) -> float:
    feasible = [r for r, excess in zip(history, history.violations(history), strict=True) if excess == 0]
    return max((r.metrics["score"] for r in feasible), default=-99.0)


@pytest.mark.parametrize("name", with_slow(*SLOW, of=sorted(set(GUIDED) - STEPS)))
@pytest.mark.parametrize("limits", [(), (Constraint("heat", 6.0),)], ids=["free", "constrained"])
def test_it_finds_the_hill_better_than_random_search(name: str, limits: tuple[Constraint, ...]) -> None:
    """The best score of a network that keeps the constraints, known only after training; means over seeds. Random
    search is at about -3 after as many trials."""

    def metrics(genes: tuple[int, ...]) -> dict[str, float]:
        return {**hill(genes), "heat": float(genes[0] + genes[1] + abs(genes[2] - 3))}

    space, start = Grid((6, 6, 6, 6, 6)), empty({"score": "maximize"}, constraints=limits)
    seeds, trials = (2, 25) if name == "gp" else (5, 60)

    def mean(strategy: Strategy) -> float:
        return float(np.mean([best_of(play(strategy, space, start, trials, seed, metrics)) for seed in range(seeds)]))

    assert mean(MAKE[name]()) >= mean(RandomSearch()) + 0.5


@pytest.mark.parametrize("name", with_slow(*SLOW, of=("evolution", "nsga2", "tpe", "predictor", "local_search")))
def test_it_finds_a_front_better_than_random_search(name: str) -> None:
    """The hypervolume of score and cost above (-30, 26), means over seeds."""

    def volume(history: History) -> float:
        area, reached = 0.0, -30.0
        for r in sorted(history.front(), key=lambda r: r.metrics["cost"]):
            area += max(r.metrics["score"] - reached, 0.0) * (26.0 - r.metrics["cost"])
            reached = max(reached, r.metrics["score"])
        return area

    space = Grid((6, 6, 6, 6, 6))

    def mean(strategy: Strategy) -> float:
        return float(np.mean([volume(play(strategy, space, empty(), 60, seed)) for seed in range(5)]))

    assert mean(MAKE[name]()) >= mean(RandomSearch())


@pytest.mark.slow
def test_proposals_are_the_same_in_every_process() -> None:
    """No answer may depend on the order of a set, which changes with the hash seed of the process."""
    code = "from tests.strategies.test_every_strategy import proposals; print(*proposals(), sep='\\n')"
    other = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=REPO,
        env={**os.environ, "PYTHONHASHSEED": other},
    )
    assert done.stdout.splitlines() == proposals()
    assert len(proposals()) == len(GUIDED)


def proposals() -> list[str]:
    """What each guided strategy proposes next, while six other networks are trained."""
    space, found = Grid((6, 6, 6)), []
    for name in GUIDED:
        history = play(MAKE[name](), space, empty(), 12)
        held = {trial.arch for trial in history}
        archs = [space.architecture((i, 5, 5 - i)) for i in range(6)]
        more = [Trial(12 + i, arch, 1, State.RUNNING) for i, arch in enumerate(archs) if arch not in held]
        found.append(f"{name} {MAKE[name]().propose(space, extended(history, *more), np.random.default_rng(5))}")
    return found


def test_settings_out_of_range() -> None:
    wrong: list[tuple[Callable[[], Strategy], str]] = [
        (lambda: RegularizedEvolution(1), "population"),
        (lambda: RegularizedEvolution(5, 6), "tournament"),
        (lambda: LocalSearch(0), "starts"),
        (lambda: MultiFidelity(RandomSearch(), ASHA(1)), "eta"),
        (lambda: MultiFidelity(RandomSearch(), ASHA(3, 5, 4)), "min_budget"),
        (lambda: MultiFidelity(RandomSearch(), ASHA(3, 0, 4)), "min_budget"),
        (lambda: MultiFidelity(RandomSearch(), CurveStop(full=2)), "full"),
        (lambda: MultiFidelity(MultiFidelity(RandomSearch(), ASHA()), Hyperband()), "one rule for the budgets"),
        (lambda: Predictor(start=1), "start"),
        (lambda: Predictor(beta=-1), "beta"),
        (lambda: Predictor(fitted=5), "fitted"),
        (lambda: NSGA2(1), "population"),
        (lambda: NSGA2(crossover=2), "crossover"),
        (lambda: TPE(tries=0), "tries"),
        (lambda: TPE(ei_candidates=0), "ei_candidates"),
        (lambda: GaussianProcess(fitted=2), "fitted"),
    ]
    for make, word in wrong:
        with pytest.raises(NASError, match=word):
            make()


def test_a_result_of_a_larger_budget_replaces_that_of_a_smaller() -> None:
    """Strategies without rungs compare networks at their largest budget."""
    space = Grid((6, 6))
    low = record(0, space.architecture((0, 0)), {"score": 9.0, "cost": 0.0}, budget=1)
    high = record(1, space.architecture((0, 0)), {"score": 0.0, "cost": 0.0}, budget=9)
    other = record(2, space.architecture((5, 5)), {"score": 5.0, "cost": 10.0}, budget=9)
    history = extended(empty({"score": "maximize"}), low, high, other)
    (climb, *_) = sorted(LocalSearch(1).climbs(space, history), key=lambda climb: climb.rank)
    assert climb.top == other.arch

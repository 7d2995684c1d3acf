"""Trials of another study as prior knowledge: on another scale, on the same space."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm, rankdata

from nas.artifact import SpaceFacts
from nas.errors import NASError
from nas.history import State, Trial
from nas.multiobjective.constraints import Constraint
from nas.strategies.base import Strategy
from nas.strategies.evolution import RegularizedEvolution
from nas.strategies.local_search import LocalSearch
from nas.strategies.optuna_samplers import NSGA2, TPE
from nas.strategies.predictor import Predictor
from nas.strategies.prior import Prior, normal_scores
from nas.testing import check_strategy
from nas.trials_table import TrialsTable, read_h5, write_h5
from nas.utils.identity import identity_of
from tests.problems import problem_of
from tests.strategies.tables import Grid, empty, hill, play, total
from tests.tables import SPACE, records_of, table_of

GRID = Grid((6, 6, 6, 6))
SCORE = {"score": "maximize"}
MAKE: dict[str, Callable[[Prior | None], Strategy]] = {
    "evolution": lambda prior: RegularizedEvolution(8, 4, warm_start=prior),
    "local_search": lambda prior: LocalSearch(3, warm_start=prior),
    "predictor": lambda prior: Predictor(5, trees=8, candidates=30, warm_start=prior),
    "nsga2": lambda prior: NSGA2(8, warm_start=prior),
    "tpe": lambda prior: TPE(5, warm_start=prior),
}
every_strategy = pytest.mark.parametrize("name", sorted(MAKE))


def other_study(
    space: Grid = GRID, sign: float = 1.0, count: int = 80, metric: str = "auc", way: str = "maximize"
) -> TrialsTable:
    """Random networks on "other data": the same hill, shrunk, shifted and with noise, under another name."""
    rng = np.random.default_rng(3)
    archs = list(dict.fromkeys(space.sample(rng) for _ in range(count)))
    records = []
    for number, arch in enumerate(archs):
        value = 0.9 + 0.02 * (sign * hill(arch.genes)["score"] + rng.normal(0, 0.5))
        metrics = {metric: value if way == "maximize" else -value, "cost": -1.0}
        records.append(Trial(number, arch, 0, State.COMPLETE, metrics, finished=number + 1.0))
    failed = Trial(len(archs), space.architecture((0,) * len(space.sizes)), 0, State.FAILED, finished=1e3)
    return TrialsTable.of([*records, failed], SpaceFacts.of(space), {metric: way, "cost": "minimize"}, {})


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in ("tpe", "predictor") else name for name in MAKE]
)
def test_it_conforms(name: str) -> None:
    space = Grid((5, 4, 4, 3), mixed=True)
    check_strategy(MAKE[name](Prior(other_study(space))), space, 20)


@every_strategy
def test_a_related_study_helps_at_once(name: str) -> None:
    """The best of few networks, means over seeds: on the scale of the other study the best has .9, here 0."""

    def mean(prior: Prior | None) -> float:
        best = []
        for seed in range(4):
            history = play(MAKE[name](prior), GRID, empty(SCORE), 10, seed)
            best.append(max(trial.metrics["score"] for trial in history))
        return float(np.mean(best))

    assert mean(Prior(other_study())) >= mean(None) + (3.0 if name == "predictor" else 0.9)


def test_a_misleading_study_is_overcome_by_the_predictor() -> None:
    """The other study has the opposite order. After 10 trials the best has -10, after 30 it is near the top, 0."""
    histories = [play(MAKE["predictor"](Prior(other_study(sign=-1.0))), GRID, empty(SCORE), 30, s) for s in range(2)]
    assert min(max(trial.metrics["score"] for trial in history) for history in histories) >= -3


@pytest.mark.parametrize("name", ["evolution", "local_search", "nsga2"])
def test_the_best_networks_of_the_other_study_come_first(name: str) -> None:
    table = other_study()
    history = play(MAKE[name](Prior(table)), GRID, empty(SCORE), 3)
    order = np.argsort(-table.metrics["auc"][:-1])[:3]
    assert [trial.arch.genes for trial in history] == [tuple(table.genes_NG[row]) for row in order]


def test_networks_of_several_objectives_come_by_front_with_the_costs_of_the_search() -> None:
    prior = Prior(other_study())
    trials = prior.trials(GRID, empty())
    assert [trial.metrics["cost"] for trial in trials] == [float(sum(trial.arch.genes)) for trial in trials]
    first = prior.best(GRID, empty())
    beaten = [
        any(o.metrics["score"] > t.metrics["score"] and sum(o.arch.genes) < sum(t.arch.genes) for o in trials)
        for t in trials
    ]
    front = {t.arch for t, out in zip(trials, beaten, strict=True) if not out}
    assert set(first[: len(front) // 2]) <= front


def test_what_breaks_a_constraint_is_left_out() -> None:
    limits = (Constraint("cost", 9.0), Constraint("speed", 2.0, at_most=False))
    history = empty(SCORE, constraints=limits, costs={"cost": total})
    trials = Prior(other_study()).trials(GRID, history)
    assert 0 < len(trials) < 80
    assert all(sum(trial.arch.genes) <= 9 for trial in trials)
    assert history.violations(trials).max() == 0


def test_a_minimised_score_of_the_other_study_is_turned() -> None:
    plain, turned = Prior(other_study()), Prior(other_study(metric="loss", way="minimize"))
    assert turned.best(GRID, empty(SCORE)) == plain.best(GRID, empty(SCORE))


def test_scores_on_the_scale_of_the_search() -> None:
    prior, history = Prior(other_study()), play(Predictor(), GRID, empty(SCORE), 12)
    before, scaled = prior.trials(GRID, history), prior.on_own_scale(GRID, history)
    own, values = history.scores(history.final()), history.scores(scaled)
    assert list(np.argsort(values)) == list(np.argsort(history.scores(before)))
    assert values.mean() == pytest.approx(own.mean())
    assert values.std() == pytest.approx(own.std(), rel=0.05)


def test_normal_scores_are_bloms() -> None:
    values = np.array([3.0, 1.0, 2.0, 2.0, -5.0])
    assert normal_scores(values) == pytest.approx(norm.ppf((rankdata(values) - 0.375) / 5.25))
    assert normal_scores(np.array([7.0])) == pytest.approx([0.0])


def test_replicates_and_smaller_budgets_of_a_network_are_one_result() -> None:
    arch = GRID.architecture((1, 2, 3, 4))
    runs = [(1, 0, 9.0), (5, 0, 1.0), (5, 1, 3.0)]
    records = [
        Trial(n, arch, budget, State.COMPLETE, {"auc": value}, finished=1.0, replicate=replicate)
        for n, (budget, replicate, value) in enumerate(runs)
    ]
    table = TrialsTable.of(records, SpaceFacts.of(GRID), {"auc": "maximize"}, {})
    assert [trial.metrics["score"] for trial in Prior(table).trials(GRID, empty(SCORE))] == [2.0]


def test_the_content_and_not_the_place_is_recorded(tmp_path: Path) -> None:
    table = table_of(records_of())
    write_h5(tmp_path / "a.h5", table)
    one = Predictor(warm_start=Prior(table, "outputs/one#two"))
    two = Predictor(warm_start=Prior(read_h5(tmp_path / "a.h5"), "a.h5"))
    assert identity_of(one) == identity_of(two)
    assert identity_of(one)["warm_start"] == {"trials": table.sha256}
    assert "warm_start" not in identity_of(Predictor())
    less = Predictor(warm_start=Prior(table_of(records_of()[:5])))
    assert identity_of(less) != identity_of(one)


def test_trials_that_do_not_fit_are_refused() -> None:
    problem = problem_of(SPACE, {"auc": "maximize", "macs": "minimize"})
    good = Prior(table_of(records_of()), "t.h5")
    good.check(problem)
    other = replace(good.table, space=SpaceFacts.of(Grid((3, 3))))
    with pytest.raises(NASError, match=r"warm_start=t\.h5 of the space .*; expected trials of the same space"):
        TPE(warm_start=Prior(other, "t.h5")).check(problem)
    with pytest.raises(NASError, match=r"without sensitivity, for the objective sensitivity"):
        Prior(good.table, "t.h5").check(problem_of(SPACE, {"auc": "maximize", "sensitivity": "maximize"}))
    with pytest.raises(NASError, match="without a finished trial"):
        Prior(replace(good.table, states=(State.FAILED,) * len(good.table)))


def test_results_of_different_budgets_are_ranked_on_one_scale() -> None:
    """Networks 0 to 3 have 9 epochs, where all gain 0.2; network 4 was stopped after 3, as the second best."""
    archs = [GRID.architecture((number, 0, 0, 0)) for number in range(5)]
    results = [(0, 3, 0.1), (1, 3, 0.2), (2, 3, 0.3), (3, 3, 0.5), (4, 3, 0.4)]
    results += [(0, 9, 0.3), (1, 9, 0.4), (2, 9, 0.5), (3, 9, 0.7)]
    records = [
        Trial(row, archs[number], budget, State.COMPLETE, {"auc": value, "cost": 1.0}, finished=row + 1.0)
        for row, (number, budget, value) in enumerate(results)
    ]
    prior = Prior(TrialsTable.of(records, SpaceFacts.of(GRID), {"auc": "maximize", "cost": "minimize"}, {}))
    assert [arch.genes[0] for arch in prior.best(GRID, empty(SCORE))] == [3, 4, 2, 1, 0]
    found = {trial.arch.genes[0]: trial.metrics["score"] for trial in prior.trials(GRID, empty(SCORE))}
    assert found == pytest.approx({0: 0.3, 1: 0.4, 2: 0.5, 3: 0.7, 4: 0.6})

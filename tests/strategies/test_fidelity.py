"""Multi-fidelity rules against the algorithms of their papers, written out, and on drawn learning curves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from nas.architecture import Architecture
from nas.errors import NASError
from nas.history import History, Proposal, State, Trial
from nas.simulator import simulate
from nas.space import SearchSpace
from nas.strategies.base import Strategy
from nas.strategies.evolution import RegularizedEvolution
from nas.strategies.fidelity.asha import ASHA
from nas.strategies.fidelity.comparable import comparable
from nas.strategies.fidelity.curve_stop import CurveStop
from nas.strategies.fidelity.emergence import kendall, warnings_of_budgets
from nas.strategies.fidelity.hyperband import Hyperband, brackets
from nas.strategies.fidelity.schedule import Fidelity, rungs
from nas.strategies.fidelity.strategy import MultiFidelity
from nas.strategies.partial_order.strategy import PartialOrderPruning
from nas.strategies.random import RandomSearch
from tests.strategies.tables import Grid, empty, extended, hill
from tests.tables import SPACE, curve_of, records_of, table_of

SCORE = {"score": "maximize"}
RULES = {"asha": ASHA(3, 1, 9), "hyperband": Hyperband(3, 1, 9), "curve_stop": CurveStop(3, 1, 9, full=3)}
every_rule = pytest.mark.parametrize("name", sorted(RULES))


def noisy(arch: Architecture, budget: int) -> dict[str, float]:
    """A score that grows with the budget while its noise shrinks, and the cost."""
    noise = np.random.default_rng([*arch.genes, budget]).normal() * 3 / budget
    return {**hill(arch.genes), "score": hill(arch.genes)["score"] + noise - 5 / budget}


def test_the_brackets_of_the_paper() -> None:
    """Table 1 of Li et al., JMLR 2018: R = 81, eta = 3."""
    found = [list(zip(one.sizes, one.budgets, strict=True)) for one in brackets(3, rungs(3, 1, 81))]
    assert found == [
        [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)],
        [(27, 3), (9, 9), (3, 27), (1, 81)],
        [(9, 9), (3, 27), (1, 81)],
        [(6, 27), (2, 81)],
        [(5, 81)],
    ]


def hyperband(trials: Iterator[Trial], score: dict[str, float]) -> None:
    """Algorithm 1 of the paper for two rounds with budgets 1, 3, 9, written out as a program that is being checked."""
    for _ in range(2):
        for begun, budgets in ((9, (1, 3, 9)), (3, (3, 9)), (3, (9,))):
            alive: list[str] = []
            for number, budget in enumerate(budgets):
                count = begun // 3**number
                ran = [next(trials) for _ in range(count)]
                assert {trial.budget for trial in ran} == {budget}
                ids = [trial.arch.id for trial in ran]
                assert len(set(ids)) == count
                assert number == 0 or ids == alive[:count]
                score = {trial.arch.id: trial.metrics["score"] for trial in ran}
                alive = sorted(ids, key=lambda key: -score[key])


def played(strategy: Strategy, space: SearchSpace, trials: int, workers: int, seed: int = 0) -> list[History]:
    """The histories that a search with workers sees before each proposal; every seventh trial fails."""
    rng, history, running, seen = np.random.default_rng(seed), empty(SCORE), list[Trial](), []
    while len(history) < trials:
        seen.append(history)
        proposal = None
        if len(running) < workers:
            proposal = strategy.propose(space, history, np.random.default_rng([seed, len(history)]))
        if proposal is not None:
            new = Trial(len(history), proposal.arch, proposal.budget, State.RUNNING)
            running.append(new)
            history = extended(history, new)
            continue
        if not running:
            break
        trial = running.pop(int(rng.integers(len(running))))
        clock = 1.0 + sum(one.state is not State.RUNNING for one in history)
        done = replace(trial, state=State.COMPLETE, metrics=noisy(trial.arch, trial.budget), finished=clock)
        if trial.number % 7 == 6:
            done = replace(trial, state=State.FAILED, finished=clock)
        history = replace(history, records=tuple(done if one.number == trial.number else one for one in history))
    return [*seen, history]


def test_hyperband_is_the_algorithm_of_the_paper() -> None:
    strategy, history = MultiFidelity(RandomSearch(), Hyperband(3, 1, 9)), empty(SCORE)
    for number in range(2 * (9 + 3 + 1 + 3 + 1 + 3)):
        proposal = strategy.propose(Grid((6, 6, 6)), history, np.random.default_rng(number))
        assert proposal is not None
        metrics = noisy(proposal.arch, proposal.budget)
        new = Trial(number, proposal.arch, proposal.budget, State.COMPLETE, metrics, finished=number + 1.0)
        history = extended(history, new)
    hyperband(iter(history), {})


def test_further_workers_of_hyperband_begin_the_next_bracket() -> None:
    """Nothing is promoted before a rung of its bracket is complete; a network that failed counts as ended."""
    space, strategy = Grid((6, 6, 6)), MultiFidelity(RandomSearch(), Hyperband(3, 1, 9))
    records = [
        Trial(i, space.architecture((i % 6, i // 6, 0)), 1, State.COMPLETE, {"score": float(i)}, finished=i + 1.0)
        for i in range(9)
    ]
    running = [*records[:8], replace(records[8], state=State.RUNNING, metrics={}, finished=0.0)]
    waits = strategy.propose(space, extended(empty(SCORE), *running), np.random.default_rng(0))
    assert waits is not None
    assert waits.budget == 3
    assert waits.arch not in {trial.arch for trial in records}
    failed = [*records[:8], replace(records[8], state=State.FAILED, metrics={})]
    for trials, best in ((records, 8), (failed, 7)):
        goes_on = strategy.propose(space, extended(empty(SCORE), *trials), np.random.default_rng(0))
        assert goes_on == Proposal(records[best].arch, 3)


def test_hyperband_waits_for_every_replicate_of_a_rung() -> None:
    space, strategy = Grid((6, 6, 6)), MultiFidelity(RandomSearch(), Hyperband(3, 1, 9))
    records = [
        Trial(i, space.architecture((i % 6, i // 6, 0)), 1, State.COMPLETE, {"score": float(i)}, finished=i + 1.0)
        for i in range(9)
    ]
    runs = replace(records[8], number=9, state=State.RUNNING, metrics={}, finished=0.0)
    later = replace(records[8], number=10, replicate=1)  # ended before the first replicate, which has begun earlier
    waits = strategy.propose(space, extended(empty(SCORE), *records[:8], runs, later), np.random.default_rng(0))
    assert waits is not None
    assert waits.arch not in {trial.arch for trial in records}


def test_a_bracket_that_stays_incomplete_is_finished_when_the_space_is_exhausted() -> None:
    *_, history = played(MultiFidelity(RandomSearch(), Hyperband(3, 1, 9)), Grid((3, 2)), 99, 2)
    budgets = [trial.budget for trial in history]
    assert sorted(budgets) == [1] * 6 + [3] * 2


@every_rule
@pytest.mark.parametrize("workers", [1, 4])
def test_a_checkpoint_is_kept_as_long_as_it_may_be_needed(name: str, workers: int) -> None:
    """Whatever is continued was unfinished all the time since its last step ended, and steps follow one another."""
    rule = RULES[name]
    histories = played(MultiFidelity(RandomSearch(), rule), Grid((5, 5, 5)), 60, workers)
    states = [(rule.unfinished(history), {t.arch.id: t for t in history.final()}) for history in histories]
    last = histories[-1]
    continued = [trial for trial in last if any(o.arch == trial.arch and o.budget < trial.budget for o in last)]
    assert continued
    for trial in continued:
        before = rule.budgets[rule.budgets.index(trial.budget) - 1]
        for history, (unfinished, final) in zip(histories, states, strict=True):
            if len(history) <= trial.number and trial.arch.id in final and final[trial.arch.id].budget == before:
                assert trial.arch.id in unfinished
    kept = {trial.arch.id for trial in last.final() if trial.budget == rule.budgets[-1]}
    assert kept.isdisjoint(states[-1][0])


@every_rule
@given(seed=st.integers(0, 10**6), workers=st.integers(1, 5))
@settings(max_examples=4, deadline=None)
def test_the_expected_epochs_of_a_trial(name: str, seed: int, workers: int) -> None:
    """`mean_budget` against what a search runs, from checkpoints and anew; where curves stop, it is an upper end."""
    rule = RULES[name]
    *_, history = played(MultiFidelity(RandomSearch(), rule), Grid((9, 9, 9)), 60, workers, seed)
    steps = dict(zip(rule.budgets, (0, *rule.budgets), strict=False))
    begins = {trial.arch: trial.budget for trial in reversed(history)}
    run = [t.budget - (0 if begins[t.arch] == t.budget else steps[t.budget]) for t in history]
    for continues, mean in ((True, np.mean(run)), (False, np.mean([t.budget for t in history]))):
        expected = rule.mean_budget(continues)
        assert expected >= 0.7 * mean
        assert name == "curve_stop" or expected <= 1.5 * mean


def test_results_of_different_budgets_are_put_on_one_scale() -> None:
    """Scores that are sums of a network's and a budget's effect come back exactly; costs stay, nothing gets younger."""
    space = Grid((4, 4))
    archs = [space.architecture((i, 3 - i)) for i in range(4)]
    effect, gain = (3.0, 1.0, 4.0, 1.5), {1: 0.0, 3: 10.0, 9: 15.0}
    done = [(0, 1), (1, 1), (0, 3), (2, 1), (0, 9), (2, 3)]
    records = [
        Trial(n, archs[i], b, State.COMPLETE, {"score": effect[i] + gain[b], "cost": 7.0 * i}, finished=n + 1.0)
        for n, (i, b) in enumerate(done)
    ]
    running = [Trial(6, archs[2], 9, State.RUNNING), Trial(7, archs[3], 1, State.RUNNING)]
    history = extended(empty(), *records, *running)
    view = comparable(history, (1, 3, 9))
    assert [(t.number, t.arch, t.budget, t.state) for t in view] == [
        (0, archs[0], 0, State.COMPLETE),
        (1, archs[1], 0, State.COMPLETE),
        (3, archs[2], 0, State.COMPLETE),
        (7, archs[3], 0, State.RUNNING),
    ]
    assert [t.metrics["score"] for t in view.complete()] == [effect[i] + 15 for i in range(3)]
    assert [t.metrics["cost"] for t in view.complete()] == [0.0, 7.0, 14.0]
    assert [t.finished for t in view.complete()] == [1.0, 2.0, 4.0]


def test_replicates_of_a_network_stay_replicates() -> None:
    space = Grid((4, 4))
    arch = space.architecture((1, 2))
    runs = [Trial(n, arch, 3, State.COMPLETE, {"score": float(n)}, finished=n + 1.0, replicate=n) for n in range(3)]
    view = comparable(extended(empty(SCORE), *runs), (1, 3))
    assert view.statistic(view.final()[0], "score").count == 3
    assert view.final()[0].metrics["score"] == 1.0


class Repeats(RandomSearch):
    """Proposes a second replicate of the first network."""

    def propose(self, space: SearchSpace, history: History, rng: np.random.Generator) -> Proposal | None:
        return Proposal(history[0].arch, 0, 1) if len(history) == 1 else super().propose(space, history, rng)


def test_a_replicate_is_trained_as_long_as_its_network() -> None:
    first = Trial(0, Grid((4, 4)).architecture((1, 2)), 3, State.COMPLETE, {"score": 1.0}, finished=1.0)
    proposal = MultiFidelity(Repeats(), ASHA(3, 3, 9)).propose(
        Grid((4, 4)), extended(empty(SCORE), first), np.random.default_rng(0)
    )
    assert proposal == Proposal(first.arch, 3, 1)


@pytest.mark.parametrize("state", [State.RUNNING, State.FAILED])
def test_a_replicate_that_was_begun_is_not_asked_for_again(state: State) -> None:
    """A strategy that repeats networks itself sees the repeats of other workers, and those that failed."""
    space, strategy = Grid((4, 4)), MultiFidelity(PartialOrderPruning(margin="auto"), ASHA(3, 3, 9))
    arch = space.architecture((1, 2))
    first = Trial(0, arch, 3, State.COMPLETE, {"score": 1.0}, finished=1.0)
    history = extended(empty(SCORE), first)
    assert strategy.propose(space, history, np.random.default_rng(0)) == Proposal(arch, 3, 1)
    history = extended(history, Trial(1, arch, 3, state, replicate=1))
    proposal = strategy.propose(space, history, np.random.default_rng(0))
    assert proposal is not None
    assert proposal.arch != arch


def test_the_strategy_within_sees_what_it_would_see_without_steps() -> None:
    """With one budget, evolution proposes the same networks as alone."""
    space, alone, within = Grid((5, 5, 5)), empty(SCORE), empty(SCORE)
    plain = RegularizedEvolution(6, 3)
    for number in range(30):
        one = plain.propose(space, alone, np.random.default_rng(number))
        two = MultiFidelity(plain, ASHA(3, 5, 5)).propose(space, within, np.random.default_rng(number))
        assert one is not None
        assert two == Proposal(one.arch, 5)
        new = Trial(number, one.arch, 0, State.COMPLETE, hill(one.arch.genes), finished=number + 1.0)
        alone, within = extended(alone, new), extended(within, replace(new, budget=5))


@given(st.integers(0, 10**6), st.integers(1, 4))
@settings(max_examples=4, deadline=None)
def test_a_stopped_training_stays_stopped(seed: int, workers: int) -> None:
    rule = CurveStop(3, 1, 9, full=3, chance=0.2)
    stopped: set[tuple[str, int]] = set()
    for history in played(MultiFidelity(RandomSearch(), rule), Grid((6, 6, 6)), 50, workers, seed):
        begun = {(trial.arch.id, trial.budget) for trial in history}
        assert not stopped & begun
        going = rule.unfinished(history)
        for trial in history.complete():
            larger = {1: 3, 3: 9}.get(trial.budget)
            if larger and trial.arch.id not in going and (trial.arch.id, larger) not in begun:
                stopped.add((trial.arch.id, larger))
    assert stopped


def test_the_first_trainings_are_complete_and_the_leader_is_never_stopped() -> None:
    *_, history = played(MultiFidelity(RandomSearch(), CurveStop(3, 1, 9, full=4)), Grid((6, 6, 6)), 80, 1)
    complete = [trial.arch for trial in history if trial.budget == 9 and trial.state is State.COMPLETE]
    begun = list(dict.fromkeys(trial.arch for trial in history if trial.state is State.COMPLETE))
    assert complete[:4] == begun[:4]
    assert len(complete) < 0.5 * len(begun)
    best = max(begun, key=lambda arch: hill(arch.genes)["score"])
    assert best in complete


def found_within(history: History, epochs: int, truth: dict[Architecture, float]) -> float:
    """The true score of the answer after so many epochs of training, where trainings continue."""
    last: dict[Architecture, Trial] = {}
    for trial in history.complete():
        epochs -= (trial.budget or 9) - (last[trial.arch].budget if trial.arch in last else 0)
        if epochs < 0:
            break
        last[trial.arch] = trial
    return truth[max(last.values(), key=lambda trial: (trial.budget, trial.metrics["auc"])).arch]


@every_rule
def test_a_search_on_learning_curves_finds_more_for_the_same_epochs(name: str) -> None:
    """On drawn curves, with four workers, against random search that trains ten of the nineteen networks to the end."""
    curves = [trial for record in records_of() for trial in curve_of(record, (1, 3, 9))]
    table = table_of([replace(trial, number=number) for number, trial in enumerate(curves)])
    truth = {trial.arch: trial.metrics["auc"] for trial in curves if trial.budget == 9}

    def mean(strategy: Strategy) -> float:
        histories = (simulate(strategy, table, 45, seed, workers=4).history for seed in range(6))
        return float(np.mean([found_within(history, 90, truth) for history in histories]))

    assert mean(MultiFidelity(RandomSearch(), RULES[name])) > mean(RandomSearch()) + 0.001


@every_rule
def test_it_costs_nothing_to_have_one_budget(name: str) -> None:
    rule: Fidelity = type(RULES[name])(min_budget=7, max_budget=7)
    *_, history = played(MultiFidelity(RandomSearch(), rule), Grid((3, 3)), 60, 2)
    assert len(history) == 9
    assert {trial.budget for trial in history} == {7}
    assert rule.mean_budget(True) == 7


def test_a_strategy_with_budgets_of_its_own_is_refused() -> None:
    class Own(RandomSearch):
        def propose(self, space: SearchSpace, history: History, rng: np.random.Generator) -> Proposal | None:
            return Proposal(space.sample(rng), 5)

    with pytest.raises(NASError, match="which has budgets"):
        MultiFidelity(Own(), ASHA()).propose(SPACE, empty(), np.random.default_rng(0))


def studied(low: list[float], high: list[float], collapsed: int = 0) -> History:
    """Networks at 3 epochs, the first of which were trained for 9."""
    archs = [Grid((4, 4)).architecture((i // 4, i % 4)) for i in range(len(low))]
    records = [
        Trial(i, archs[i], 3, State.COMPLETE, {"score": low[i], "collapsed": float(i < collapsed)}, finished=i + 1.0)
        for i in range(len(low))
    ]
    more = [
        Trial(20 + i, archs[i], 9, State.COMPLETE, {"score": score}, finished=20.0 + i) for i, score in enumerate(high)
    ]
    return extended(empty(SCORE), *records, *more)


def test_a_smallest_budget_before_the_classes_emerge_is_warned_of() -> None:
    low = [float(i) for i in range(12)]
    assert warnings_of_budgets(studied(low, low)) == []
    assert warnings_of_budgets(studied(low, low[:3][::-1], collapsed=1)) == []
    (early,) = warnings_of_budgets(studied(low, low, collapsed=2))
    assert early.startswith("2 of 12 trainings of 3 epochs")
    (order,) = warnings_of_budgets(studied(low, low[::-1]))
    assert "Kendall's tau -1.00" in order
    again = [
        replace(trial, number=50 + trial.number, replicate=1, metrics={"score": 11 - trial.metrics["score"]})
        for trial in studied(low, low)
        if trial.budget == 3
    ]
    (noisy_one,) = warnings_of_budgets(extended(studied(low, low[:2]), *again))
    assert noisy_one.startswith("After 3 epochs")
    same = [replace(trial, metrics={"score": 11 - trial.metrics["score"] + 0.01}) for trial in again]
    assert warnings_of_budgets(extended(studied(low, low[:2]), *same)) == []
    one_budget = replace(studied(low, low, 6), records=studied(low, low, 6).records[:12])
    assert warnings_of_budgets(one_budget) == []


def test_kendall() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 15))
    assert kendall(x, y) == pytest.approx(kendalltau(x, y).statistic)

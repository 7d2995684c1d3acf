"""Optuna's samplers, rebuilt from a history: what they get, and that they are what they are called."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import optuna
import pytest
from optuna.samplers import NSGAIISampler, TPESampler
from optuna.trial import TrialState

from nas.history import History, State, Trial
from nas.multiobjective.constraints import Constraint
from nas.strategies import optuna_samplers
from nas.strategies.optuna_samplers import NSGA2, TPE, GaussianProcess
from nas.strategies.optuna_study import TrialConverter, distributions, learned_constraints, signed_excess
from nas.strategies.ranking import best_first
from tests.strategies.tables import Grid, Staircase, empty, extended, hill, play, record

SPACE = Grid((8, 8, 8, 8), mixed=True)


class Seen(Exception):
    """Carries the study that a strategy was about to ask."""


def study_before_the_first_question(strategy, space, history: History) -> optuna.Study:  # type: ignore[no-untyped-def]
    def stop(study: optuna.Study, **arguments) -> None:  # type: ignore[no-untyped-def]
        raise Seen(study)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optuna.Study, "ask", stop)
        with pytest.raises(Seen) as seen:
            strategy.propose(space, history, np.random.default_rng(0))
    return seen.value.args[0]


def random_history(count: int, seed: int = 0, **more) -> History:  # type: ignore[no-untyped-def]
    rng, archs = np.random.default_rng(seed), []
    while len(archs) < count:
        arch = SPACE.sample(rng)
        if arch not in archs:
            archs.append(arch)
    return extended(empty(**more), *(record(i, arch, hill(arch.genes)) for i, arch in enumerate(archs)))


@pytest.mark.parametrize("strategy", [NSGA2(4), TPE(4), GaussianProcess(4)], ids=lambda s: type(s).__name__)
def test_the_study_in_memory_is_the_history(strategy) -> None:  # type: ignore[no-untyped-def]
    limits = (Constraint("cost", 12.0), Constraint("score", -20.0, at_most=False))
    history = random_history(10, constraints=limits)
    running = Trial(10, SPACE.architecture((7, 0, 7, 0)), 0, State.RUNNING)
    failed = Trial(11, SPACE.architecture((0, 7, 0, 7)), 0, State.FAILED)
    study = study_before_the_first_question(strategy, SPACE, extended(history, running, failed))
    trials = study.get_trials()
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 10 + [TrialState.RUNNING]
    for trial, done in zip(trials, history, strict=False):
        assert [trial.params[gene.name] for gene in SPACE.genes] == list(done.arch.genes)
        assert trial.values == [done.metrics["score"], done.metrics["cost"]]
        assert all(value <= 0 for value in trial.constraints.values()) == (history.violations([done])[0] == 0)
    assert list(trials[-1].params.values()) == [7, 0, 7, 0]
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert len({trial.number for trial in trials}) == len({trial._trial_id for trial in trials}) == 11


def test_ordered_genes_are_integers_and_others_categories() -> None:
    kinds = [type(distribution).__name__ for distribution in distributions(SPACE).values()]
    assert kinds == ["IntDistribution"] * 3 + ["CategoricalDistribution"]


def test_constraints_known_beforehand_need_not_be_learned_unless_they_were_broken() -> None:
    limits = (Constraint("cost", 14.0), Constraint("score", -20.0, at_most=False))
    history = random_history(10, constraints=limits, costs={"cost": lambda genes_NG: genes_NG.sum(axis=1)})
    cheap = [done for done in history if done.metrics["cost"] <= 14]
    assert learned_constraints(history, cheap) == limits[1:]
    assert learned_constraints(history, list(history)) == limits


@pytest.mark.parametrize("value", [1.0, 2.0, 5.0])
@pytest.mark.parametrize("at_most", [True, False])
def test_signed_excess(value: float, at_most: bool) -> None:
    done = record(0, SPACE.architecture((0, 0, 0, 0)), {"cost": value})
    assert signed_excess(Constraint("cost", 2.0, at_most), done) == (value - 2.0) / 2.0 * (1 if at_most else -1)


def elite_by_hand(history: History, population: int) -> set[tuple[int, ...]]:
    """The parents of the running generation: per generation the best of it and its own parents, by rank and crowding.
    With one objective crowding only breaks ties, which `hill` on these points does not have."""
    done = list(history.final())
    parents: list[Trial] = []
    for start in range(0, len(done) - population + 1, population):
        pool = done[start : start + population] + parents
        parents = [pool[row] for row in best_first(history, pool)[:population]]
    return {parent.arch.genes for parent in parents}


@pytest.mark.parametrize("generations", [1, 2, 5])
def test_nsga2_crosses_the_best_of_the_generations(generations: int) -> None:
    """Without mutation, every gene of every child is the gene of one of the parents that the definition names."""
    population = 6
    history = random_history(population * generations + 2, objectives={"score": "maximize"})
    scores = [done.metrics["score"] for done in history]
    noisy = [
        record(i, done.arch, {**done.metrics, "score": score + i * 1e-6})
        for i, (done, score) in enumerate(zip(history, scores, strict=True))
    ]
    history = extended(empty({"score": "maximize"}), *noisy)
    parents = elite_by_hand(history, population)
    assert len(parents) == population
    columns = [set(column) for column in zip(*parents, strict=True)]
    children = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optuna_samplers, "mutant", lambda *arguments: None)
        for seed in range(30):
            proposal = NSGA2(population, mutation=0.0, tries=50).propose(SPACE, history, np.random.default_rng(seed))
            if proposal is not None:
                children.append(proposal.arch.genes)
    assert len(children) > 20
    assert all(gene in column for child in children for gene, column in zip(child, columns, strict=True))


def test_nsga2_generations_are_counted_as_they_finished() -> None:
    study = study_before_the_first_question(NSGA2(4), SPACE, random_history(10))
    generations = [trial.system_attrs["NSGAIISampler:generation"] for trial in study.get_trials()]
    assert generations == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]


def test_running_trials_are_avoided() -> None:
    """With the constant liar, proposals of TPE keep away from what runs."""
    history = random_history(30, objectives={"score": "maximize"})
    best = max(history, key=lambda done: done.metrics["score"]).arch.genes
    near = [(best[0], best[1], best[2], i) for i in range(8)]
    held = {done.arch.genes for done in history}
    running = [
        Trial(30 + i, SPACE.architecture(genes), 0, State.RUNNING)
        for i, genes in enumerate(genes for genes in near if genes not in held)
    ]

    def overlap(view: History) -> float:
        proposals = [TPE(5).propose(SPACE, view, np.random.default_rng(seed)) for seed in range(30)]
        return float(np.mean([sum(a == b for a, b in zip(p.arch.genes, best, strict=True)) for p in proposals if p]))

    assert overlap(extended(history, *running)) < overlap(history)


def test_a_known_network_costs_no_training() -> None:
    """Many genes, few networks: most of what the sampler says was trained before, and yet nothing comes twice."""
    space = Staircase((3, 3, 3, 3))
    history = play(TPE(4), space, empty(), 40)
    assert len({done.arch for done in history}) == len(history) == 15  # C(3 + 4 - 1, 4)


def test_one_choice_everywhere() -> None:
    assert len(play(TPE(2), Grid((1, 1)), empty(), 5)) == 1
    assert len(play(NSGA2(2), Grid((1, 4)), empty(), 9)) == 4


class PlainTPE(TPE):
    """Optuna's sampler, from trials that are all converted anew."""

    def propose(self, space, history, rng):  # type: ignore[no-untyped-def]
        self._given = TrialConverter(self.notes)
        return super().propose(space, history, rng)

    def sampler(self, seed, given, admits):  # type: ignore[no-untyped-def]
        class Sampler(TPESampler):
            def _compute_acquisition_func(self, samples, below, above):  # type: ignore[no-untyped-def]
                values = super()._compute_acquisition_func(samples, below, above)
                rows = [[int(samples[name][i]) if name in samples else 0 for name in given.genes] for i in range(24)]
                return np.array(
                    [v if admits(np.array([row]))[0] else -np.inf for v, row in zip(values, rows, strict=True)]
                )

        return Sampler(n_startup_trials=0, n_ei_candidates=self.ei_candidates, multivariate=True, seed=seed)


class PlainNSGA2(NSGA2):
    """Optuna's sampler, from trials that are all converted anew, with parents selected in every proposal."""

    def propose(self, space, history, rng):  # type: ignore[no-untyped-def]
        self._given = TrialConverter(self.notes)
        return super().propose(space, history, rng)

    def sampler(self, seed, given, admits):  # type: ignore[no-untyped-def]
        return NSGAIISampler(
            population_size=self.start, mutation_prob=self.mutation, crossover_prob=self.crossover, seed=seed
        )


@pytest.mark.parametrize("kind", ["two objectives", "one objective", "constraints", "running"])
@pytest.mark.parametrize(("fast", "plain"), [(TPE(4), PlainTPE(4)), (NSGA2(4), PlainNSGA2(4))])
def test_kept_values_change_no_proposal(fast: TPE | NSGA2, plain: TPE | NSGA2, kind: str) -> None:
    """One instance for growing, shrinking and changed histories proposes as Optuna's sampler does from nothing."""
    limits = (Constraint("cost", 12.0), Constraint("score", -20.0, at_most=False)) if kind == "constraints" else ()
    objectives = {"score": "maximize"} if kind == "one objective" else {"score": "maximize", "cost": "minimize"}
    history = empty(objectives, constraints=limits)
    for number, done in enumerate(random_history(26, seed=1)):
        history = extended(history, record(number, done.arch, {**hill(done.arch.genes), "cost": float(number % 7)}))
    if kind == "running":
        history = extended(history, Trial(26, SPACE.architecture((7, 0, 7, 0)), 0, State.RUNNING))
    other = [replace(done, metrics={name: -value for name, value in done.metrics.items()}) for done in history[:3]]
    views = [
        *(history.records[:size] for size in (5, 6, 9, 25, 7)),  # grows, and is outdated
        history.records,
        (*history.records[:10], *history.records[11:]),  # other generations from the tenth on
        (*other, *history.records[3:]) if kind != "running" else history.records,
    ]
    for seed, records in enumerate(views):
        view = replace(history, records=records)
        mine, meant = (one.propose(SPACE, view, np.random.default_rng(seed)) for one in (fast, plain))
        assert mine == meant
        assert mine is not None

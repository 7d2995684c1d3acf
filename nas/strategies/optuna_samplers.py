"""Optuna's own samplers as strategies: NSGA-II, TPE and Gaussian processes, rebuilt from the history each time."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
import optuna
from annotated_types import Ge, Le
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, TPESampler
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState
from threadpoolctl import threadpool_limits

from nas.architecture import Architecture
from nas.errors import NASError
from nas.history import History, Proposal, Record, State
from nas.multiobjective.constraints import Constraint
from nas.space import SearchSpace
from nas.strategies.base import Strategy
from nas.strategies.ranking import best_and_newest
from nas.strategies.sampling import anything, draw, held, mutant
from nas.utils.checked import PositiveInt, Share, checked

SEEDS = 2**32  # Optuna's samplers take a seed below this

Start = Annotated[int, Ge(2)]  # finished networks before the sampler is asked
Tries = PositiveInt
Candidates = Annotated[int, Ge(1), Le(1_000_000)]
Genes = Mapping[str, BaseDistribution]


class OptunaStrategy(Strategy):
    """One of Optuna's samplers, asked in a study in memory that holds the trials of the history.

    Ordered genes are integers, the others categories, both by index of the choice; what the sampler proposes is
    repaired. A network that was trained before costs no training: its known values are told to the study in memory and
    the sampler is asked again, as it is after a network that is running, failed, or breaks a constraint known
    beforehand. After `tries` such answers the last one is mutated, and where that is of no use a network is drawn.
    start: finished networks, drawn at random, before the sampler is asked. Raises NASError for values out of range.
    """

    def __init__(self, start: int, tries: int) -> None:
        self.start, self.tries = start, tries
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would tell of every study that is made

    @abstractmethod
    def sampler(self, seed: int) -> BaseSampler:
        """A fresh sampler."""

    def facts(self, history: History) -> Sequence[Record]:
        """The finished trials that the sampler learns from, in the order in which they finished."""
        return history.final()

    def notes(self, position: int) -> dict[str, Any]:
        """What the sampler would have noted at the trial that finished in this place, had it proposed it itself."""
        return {}

    def propose(self, space: SearchSpace, history: History, rng: np.random.Generator) -> Proposal | None:
        facts = self.facts(history)
        ready = len(facts) >= self.start and any(len(gene.choices) > 1 for gene in space.genes)
        # one thread: matrices this small only make threads wait for each other (a Gaussian process took 5 times as
        # long with two), and sums in another order would give another answer
        with threadpool_limits(1):
            arch = self._ask(space, history, facts, rng) if ready else draw(space, history, anything, rng)
        return None if arch is None else Proposal(arch)

    def _ask(
        self, space: SearchSpace, history: History, facts: Sequence[Record], rng: np.random.Generator
    ) -> Architecture | None:
        genes = distributions(space)
        limits = learned_constraints(history, facts)
        given = [finished_trial(record, history, genes, limits, self.notes(i)) for i, record in enumerate(facts)]
        running = dict.fromkeys(record.arch for record in history if record.state is State.RUNNING)
        given += [_trial(TrialState.RUNNING, arch, genes) for arch in running]
        study = study_of(given, history, self.sampler(int(rng.integers(SEEDS))), genes)
        known = {record.arch: record for record in facts}
        taken = held(history)
        for _ in range(self.tries):
            trial = study.ask(fixed_distributions=dict(genes))
            arch = space.repair([trial.params[gene.name] for gene in space.genes])
            if arch in known:
                _constrain(trial, known[arch], limits)
                study.tell(trial, [known[arch].metrics[name] for name in history.objectives])
            elif arch in running:
                pass  # left running, so that the sampler sees it as the one that it is
            elif arch.genes not in taken and history.admits(space.encode([arch]))[0]:
                return arch
            else:
                study.tell(trial, state=TrialState.FAIL)
        return mutant(space, history, arch, rng)


@checked("strategy")
class NSGA2(OptunaStrategy):
    """NSGA-II: the parents of a generation are the best `population` of the generation before and its own parents, by
    constrained Pareto rank and crowding; children by uniform crossover and mutation.

    A generation is `population` trials in the order in which they finished; the first is drawn at random.
    mutation: chance of each gene to be drawn anew; None: 1 / genes. crossover: chance that a child has two parents.
    Source: Deb et al., A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II, IEEE Trans. Evol. Comp. 6(2),
    2002, as in optuna.samplers.NSGAIISampler.
    """

    def __init__(
        self,
        population: Start = 20,
        mutation: Share | None = None,
        crossover: Share = 0.9,
        tries: Tries = 20,
    ) -> None:
        super().__init__(population, tries)
        self.mutation, self.crossover = mutation, crossover

    def sampler(self, seed: int) -> BaseSampler:
        return NSGAIISampler(
            population_size=self.start, mutation_prob=self.mutation, crossover_prob=self.crossover, seed=seed
        )

    def notes(self, position: int) -> dict[str, Any]:
        return {NSGAIISampler._get_generation_key(): position // self.start}


@checked("strategy")
class TPE(OptunaStrategy):
    """Tree-structured Parzen estimators over all genes jointly; running trials count as bad ones (constant liar).

    An answer takes about 40 ms at 1,000 trials, so `tries` is small.
    ei_candidates: gene vectors that are drawn from the estimator of the good trials and compared.
    Source: Bergstra et al., Algorithms for Hyper-Parameter Optimization, NeurIPS 2011; several objectives: Ozaki et
    al., JAIR 73, 2022; as in optuna.samplers.TPESampler.
    """

    def __init__(self, start: Start = 10, ei_candidates: Candidates = 24, tries: Tries = 5) -> None:
        super().__init__(start, tries)
        self.ei_candidates = ei_candidates

    def sampler(self, seed: int) -> BaseSampler:
        # jointly also with several objectives, where one estimator a gene would sort all trials anew for each gene
        return TPESampler(n_startup_trials=0, n_ei_candidates=self.ei_candidates, multivariate=True, seed=seed)


@checked("strategy")
class GaussianProcess(OptunaStrategy):
    """Gaussian processes with a Matern 5/2 kernel, one an objective and one a constraint; the proposal maximises log
    expected improvement (of the hypervolume, with several objectives), given the running trials.

    A proposal takes seconds, growing with the trials that are fitted: fitted bounds them, half of them the best and
    the rest the newest others.
    Source: Ament et al., Unexpected Improvements to Expected Improvement, NeurIPS 2023 (arXiv 2310.20708); Daulton et
    al., NeurIPS 2020 (arXiv 2006.05078); as in optuna.samplers.GPSampler.
    """

    def __init__(self, start: Start = 10, fitted: Start = 100, tries: Tries = 3) -> None:
        super().__init__(start, tries)
        if fitted < start:
            raise NASError(
                f"strategy.fitted={fitted} with strategy.start={start}",
                "fitted of at least start",
                f"set strategy.fitted to {start} or more",
            )
        self.fitted = fitted

    def sampler(self, seed: int) -> BaseSampler:
        return GPSampler(n_startup_trials=0, seed=seed)

    def facts(self, history: History) -> Sequence[Record]:
        return best_and_newest(history, self.fitted)


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Gene name -> the indices of its choices, as integers where they are ordered."""
    return {
        gene.name: IntDistribution(0, len(gene.choices) - 1)
        if gene.ordered
        else CategoricalDistribution(range(len(gene.choices)))
        for gene in space.genes
    }


def learned_constraints(history: History, facts: Sequence[Record]) -> tuple[Constraint, ...]:
    """Those that the sampler has to learn: known only after training, or broken by a trial nevertheless.

    Raises NASError for a metric that nobody reports.
    """
    history.violations(facts)
    return tuple(
        constraint
        for constraint in history.constraints
        if constraint.metric not in history.costs
        or any(constraint.excess(np.array(record.metrics[constraint.metric])) > 0 for record in facts)
    )


def signed_excess(constraint: Constraint, record: Record) -> float:
    """By how much a trial breaks a constraint (above 0) or stays away from breaking it (below), as `excess` counts."""
    value = np.array(record.metrics[constraint.metric])
    opposite = replace(constraint, at_most=not constraint.at_most)
    return float(constraint.excess(value) - opposite.excess(value))


def finished_trial(
    record: Record, history: History, genes: Genes, limits: Sequence[Constraint], notes: Mapping[str, Any]
) -> FrozenTrial:
    trial = _trial(TrialState.COMPLETE, record.arch, genes)
    trial.values = [record.metrics[name] for name in history.objectives]
    trial.system_attrs = dict(notes)
    _constrain(trial, record, limits)
    return trial


def _constrain(trial: Trial | FrozenTrial, record: Record, limits: Sequence[Constraint]) -> None:
    for constraint in limits:
        trial.set_constraint(str(constraint), signed_excess(constraint, record))


def _trial(state: TrialState, arch: Architecture, genes: Genes) -> FrozenTrial:
    return FrozenTrial(
        number=-1,
        trial_id=-1,
        state=state,
        value=None,
        params=dict(zip(genes, arch.genes, strict=True)),
        distributions=dict(genes),
        user_attrs={},
        system_attrs={},
        intermediate_values={},
        datetime_start=None,
        datetime_complete=None,
    )


def study_of(given: list[FrozenTrial], history: History, sampler: BaseSampler, genes: Genes) -> optuna.Study:
    """A study in memory that holds these trials."""
    for number, trial in enumerate(given, start=-len(given)):
        # below 0: apart from the trials that are asked for, and older than they are
        trial.number = trial._trial_id = number
    directions = [StudyDirection[way.upper()] for way in history.objectives.values()]
    return optuna.create_study(storage=_Given(given), sampler=_KnownGenes(sampler, genes), directions=directions)


class _Given(InMemoryStorage):
    """A storage that begins with these trials, without the copy that is made of every trial that is added to one."""

    def __init__(self, given: list[FrozenTrial]) -> None:
        super().__init__()
        self._given = given

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        given = [trial for trial in self._given if states is None or trial.state in states]
        asked = super().get_all_trials(study_id, deepcopy=deepcopy, states=states)
        return (copy.deepcopy(given) if deepcopy else given) + asked


class _KnownGenes(BaseSampler):
    """A sampler that is told its search space, which it would else read out of all trials again at every call."""

    def __init__(self, sampler: BaseSampler, genes: Genes) -> None:
        self._sampler = sampler
        self._genes = {name: genes[name] for name in sorted(genes) if not genes[name].single()}

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._genes

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

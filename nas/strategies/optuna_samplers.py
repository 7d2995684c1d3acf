"""Optuna's samplers as strategies: NSGA-II, TPE and Gaussian processes, rebuilt from the history each time."""

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
from optuna.trial import FrozenTrial, TrialState
from optuna.trial import Trial as OptunaTrial
from threadpoolctl import threadpool_limits

from nas.architecture import Architecture
from nas.errors import NASError
from nas.history import History, Proposal, State, Trial
from nas.multiobjective.constraints import Constraint
from nas.space import SearchSpace
from nas.strategies.base import Strategy
from nas.strategies.ranking import best_and_newest
from nas.strategies.sampling import accept_all, draw, held, mutant
from nas.utils.annotations import AtLeastTwo, Share
from nas.utils.checked import checked

SEEDS = 2**32  # seeds of Optuna's samplers are below this

Start = AtLeastTwo  # finished networks before the sampler is asked
Tries = Annotated[int, Ge(1), Le(10_000)]
Candidates = Annotated[int, Ge(1), Le(1_000_000)]
Genes = Mapping[str, BaseDistribution]


class OptunaStrategy(Strategy):
    """Base class of strategies that use one of Optuna's samplers in an in-memory study of the history.

    Ordered genes are integers, other genes categories, both by index of the choice. Suggestions are repaired. The
    sampler is asked again if the suggestion has a finished trial, the result of which is added to the in-memory study,
    or if it is running, has failed, or violates a constraint known beforehand. After `tries` such suggestions the last
    one is mutated.

    Args:
        start: Finished networks, sampled at random, before the sampler is used, at least 2.
        tries: Maximum number of suggestions per proposal, at least 1.

    Raises:
        NASError: If a value is out of range.
    """

    def __init__(self, start: int, tries: int) -> None:
        self.start, self.tries = start, tries
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # no message per in-memory study

    @abstractmethod
    def sampler(self, seed: int) -> BaseSampler:
        """Make the sampler of one proposal.

        Args:
            seed: Seed of the sampler.

        Returns:
            A sampler without state.
        """

    def facts(self, history: History) -> Sequence[Trial]:
        """Return the trials that the sampler is fitted to.

        Args:
            history: Trials of the study.

        Returns:
            Finished trials in the order in which they finished.
        """
        return history.final()

    def notes(self, position: int) -> dict[str, Any]:
        """Return the system attributes that the sampler would have stored with a trial of its own.

        Args:
            position: Index of the trial in the order of finishing.

        Returns:
            Attributes by name; empty by default.
        """
        return {}

    def propose(self, space: SearchSpace, history: History, rng: np.random.Generator) -> Proposal | None:
        facts = self.facts(history)
        ready = len(facts) >= self.start and any(len(gene.choices) > 1 for gene in space.genes)
        # one thread: for matrices this small more are slower (a Gaussian process took 5 times as long with two), and
        # a different order of summation could change the result
        with threadpool_limits(1):
            arch = self._ask(space, history, facts, rng) if ready else draw(space, history, accept_all, rng)
        return None if arch is None else Proposal(arch)

    def _ask(
        self, space: SearchSpace, history: History, facts: Sequence[Trial], rng: np.random.Generator
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
                pass  # keep it running: the sampler treats it as a pending trial
            elif arch.genes not in taken and history.admits(space.encode([arch]))[0]:
                return arch
            else:
                study.tell(trial, state=TrialState.FAIL)
        return mutant(space, history, arch, rng)


@checked("strategy")
class NSGA2(OptunaStrategy):
    """NSGA-II: selection by constrained Pareto rank and crowding distance, uniform crossover and mutation.

    The parents of a generation are the best `population` networks of the previous generation and its parents.

    Source: Deb et al., A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II, IEEE Trans. Evol. Comp. 6(2),
    2002, as in optuna.samplers.NSGAIISampler.

    Args:
        population: Trials per generation, in the order of finishing; the first generation is sampled at random.
        mutation: Probability of resampling each gene. If None, 1 / number of genes.
        crossover: Probability of two parents.
        tries: Maximum number of suggestions per proposal.

    Raises:
        NASError: If a value is out of range.
    """

    def __init__(
        self,
        population: Start = 20,
        mutation: Share | None = None,
        crossover: Share = 0.9,
        tries: Tries = 20,
    ) -> None:
        super().__init__(population, tries)
        self.population, self.mutation, self.crossover = population, mutation, crossover

    def sampler(self, seed: int) -> BaseSampler:
        return NSGAIISampler(
            population_size=self.start, mutation_prob=self.mutation, crossover_prob=self.crossover, seed=seed
        )

    def notes(self, position: int) -> dict[str, Any]:
        return {NSGAIISampler._get_generation_key(): position // self.start}


@checked("strategy")
class TPE(OptunaStrategy):
    """Multivariate tree-structured Parzen estimator; running trials count as bad ones (constant liar).

    Source: Bergstra et al., Algorithms for Hyper-Parameter Optimization, NeurIPS 2011; several objectives: Ozaki et
    al., JAIR 73, 2022; as in optuna.samplers.TPESampler.

    Args:
        start: Random networks first, at least 2.
        ei_candidates: Samples from the estimator of good trials that are compared per suggestion, at least 1.
        tries: Maximum number of suggestions per proposal; each takes about 40 ms at 1,000 trials.

    Raises:
        NASError: If a value is out of range.
    """

    def __init__(self, start: Start = 10, ei_candidates: Candidates = 24, tries: Tries = 5) -> None:
        super().__init__(start, tries)
        self.ei_candidates = ei_candidates

    def sampler(self, seed: int) -> BaseSampler:
        # multivariate also with several objectives, as univariate estimators would sort all trials for each gene
        return TPESampler(n_startup_trials=0, n_ei_candidates=self.ei_candidates, multivariate=True, seed=seed)


@checked("strategy")
class GaussianProcess(OptunaStrategy):
    """Gaussian processes with a Matern 5/2 kernel, one per objective and one per constraint.

    A proposal maximises the log expected improvement (of the hypervolume, with several objectives), given the running
    trials. It takes seconds, growing with the number of fitted trials.

    Source: Ament et al., Unexpected Improvements to Expected Improvement, NeurIPS 2023 (arXiv 2310.20708); Daulton et
    al., NeurIPS 2020 (arXiv 2006.05078); as in optuna.samplers.GPSampler.

    Args:
        start: Random networks first, at least 2.
        fitted: Maximum number of trials to fit, half of them the best and half the newest of the rest, at least
            `start`.
        tries: Maximum number of suggestions per proposal.

    Raises:
        NASError: If a value is out of range.
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

    def facts(self, history: History) -> Sequence[Trial]:
        return best_and_newest(history, self.fitted)


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Return Optuna's distributions of the genes: integers for ordered genes, categories for other ones.

    Args:
        space: Space of the search.

    Returns:
        Distributions of choice indices by gene name.
    """
    return {
        gene.name: IntDistribution(0, len(gene.choices) - 1)
        if gene.ordered
        else CategoricalDistribution(range(len(gene.choices)))
        for gene in space.genes
    }


def learned_constraints(history: History, facts: Sequence[Trial]) -> tuple[Constraint, ...]:
    """Return the constraints that the sampler has to model: known only after training, or violated by a trial.

    Args:
        history: Constraints of the study.
        facts: Finished trials.

    Returns:
        The constraints.

    Raises:
        NASError: If a constrained metric is missing.
    """
    history.violations(facts)
    return tuple(
        constraint
        for constraint in history.constraints
        if constraint.metric not in history.costs
        or any(constraint.excess(np.array(record.metrics[constraint.metric])) > 0 for record in facts)
    )


def signed_excess(constraint: Constraint, record: Trial) -> float:
    """Return the signed distance of a trial from a constraint.

    Args:
        constraint: Upper or lower bound.
        record: Finished trial.

    Returns:
        Distance relative to the bound as in `Constraint.excess`, above 0 if the constraint is violated.
    """
    value = np.array(record.metrics[constraint.metric])
    opposite = replace(constraint, at_most=not constraint.at_most)
    return float(constraint.excess(value) - opposite.excess(value))


def finished_trial(
    record: Trial, history: History, genes: Genes, limits: Sequence[Constraint], notes: Mapping[str, Any]
) -> FrozenTrial:
    """Convert a finished trial to Optuna's.

    Args:
        record: Finished trial.
        history: Objectives of the study.
        genes: Distributions of the genes.
        limits: Constraints that the sampler models.
        notes: System attributes of the sampler.

    Returns:
        The trial, not yet in a study.
    """
    trial = _trial(TrialState.COMPLETE, record.arch, genes)
    trial.values = [record.metrics[name] for name in history.objectives]
    trial.system_attrs = dict(notes)
    _constrain(trial, record, limits)
    return trial


def _constrain(trial: OptunaTrial | FrozenTrial, record: Trial, limits: Sequence[Constraint]) -> None:
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
    """Make an in-memory study of trials.

    Args:
        given: Trials in their order; they get negative numbers.
        history: Objectives of the study.
        sampler: Sampler of new trials.
        genes: Distributions of the genes.

    Returns:
        The study.
    """
    for number, trial in enumerate(given, start=-len(given)):
        # negative: distinct from the trials that are asked for, and older
        trial.number = trial._trial_id = number
    directions = [StudyDirection[direction.upper()] for direction in history.objectives.values()]
    return optuna.create_study(storage=_Given(given), sampler=_KnownGenes(sampler, genes), directions=directions)


class _Given(InMemoryStorage):
    """Storage that starts with given trials, without Optuna's copy of every added trial."""

    def __init__(self, given: list[FrozenTrial]) -> None:
        super().__init__()
        self._given = given

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        given = [trial for trial in self._given if states is None or trial.state in states]
        new = super().get_all_trials(study_id, deepcopy=deepcopy, states=states)
        return (copy.deepcopy(given) if deepcopy else given) + new


class _KnownGenes(BaseSampler):
    """Sampler with a fixed search space, which Optuna would infer from all trials at every call."""

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

"""The trials of a history as an in-memory study of Optuna, which its samplers are asked with."""

from __future__ import annotations

import copy
from bisect import bisect_left
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler, NSGAIISampler, TPESampler
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from optuna.trial import Trial as OptunaTrial

from nas.architecture import Architecture
from nas.history import History, Trial
from nas.multiobjective.constraints import Constraint
from nas.space import SearchSpace

Genes = Mapping[str, BaseDistribution]
Notes = Callable[[int], Mapping[str, Any]]  # position of a trial -> system attributes of the sampler
Admits = Callable[[np.ndarray], np.ndarray]  # genes (N, G) -> (N,) bool
FIRST = -(2**40)  # number of the first trial of a history; trials that are asked for begin at 0


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Return Optuna's distributions of the genes: integers if neighbouring choices are alike, else categories.

    Args:
        space: Space of the search.

    Returns:
        Distributions of choice indices by gene name.
    """
    return {
        gene.name: IntDistribution(0, len(gene.choices) - 1)
        if gene.is_scale
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


def constrain(trial: OptunaTrial | FrozenTrial, record: Trial, limits: Sequence[Constraint]) -> None:
    """Set the constraints of a trial.

    Args:
        trial: Optuna's trial.
        record: The finished trial.
        limits: Constraints that the sampler models.
    """
    for constraint in limits:
        trial.set_constraint(str(constraint), signed_excess(constraint, record))


@dataclass(frozen=True)
class GivenTrials:
    """Trials of a history as Optuna's trials, which may not be changed.

    Args:
        finished: Finished trials in the order in which they finished; their numbers start at FIRST.
        running: Running trials, with the numbers that follow.
        genes: Distributions of the genes.
        archs: Architectures of the finished and the running trials.
        same: How many of the first finished trials are those of the conversion before.
    """

    finished: Sequence[FrozenTrial]
    running: Sequence[FrozenTrial]
    genes: Genes
    archs: Sequence[Architecture]
    same: int

    @cached_property
    def genes_NG(self) -> np.ndarray:
        """(N, G) gene indices of the finished and the running trials."""
        flat = chain.from_iterable(arch.genes for arch in self.archs)
        return np.fromiter(flat, np.float64, len(self.archs) * len(self.genes)).reshape(-1, len(self.genes))


class TrialConverter:
    """Converts the trials of a history to Optuna's.

    Finished trials are kept for the next proposal, and only those after the first difference are converted again.

    Args:
        notes: System attributes that the sampler would have stored with a trial of its own, by position.
    """

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._key: tuple[object, ...] = ()
        self._facts: list[Trial] = []
        self._trials: list[FrozenTrial] = []

    def of(
        self,
        facts: Sequence[Trial],
        running: Sequence[Architecture],
        history: History,
        space: SearchSpace,
        limits: Sequence[Constraint],
    ) -> GivenTrials:
        """Convert trials.

        Args:
            facts: Finished trials in the order in which they finished.
            running: Architectures of the running trials.
            history: Objectives of the study.
            space: Space of the search.
            limits: Constraints that the sampler models.

        Returns:
            Optuna's trials.
        """
        key = (space.fingerprint, tuple(history.objectives.items()), tuple(limits))
        if key != self._key:
            self._key, self._facts, self._trials = key, [], []
        genes, same = distributions(space), _same(self._facts, facts)
        new = [
            finished_trial(record, history, genes, limits, self._notes(position), FIRST + position)
            for position, record in enumerate(facts[same:], start=same)
        ]
        self._facts, self._trials = list(facts), [*self._trials[:same], *new]
        pending = [
            unfinished_trial(TrialState.RUNNING, arch, genes, FIRST + position)
            for position, arch in enumerate(running, start=len(facts))
        ]
        archs = [*(record.arch for record in facts), *running]
        return GivenTrials(self._trials, pending, genes, archs, same)


def _same(before: Sequence[Trial], now: Sequence[Trial]) -> int:
    """Return how many of the first trials are equal."""
    shorter = min(len(before), len(now))
    if list(before[:shorter]) == list(now[:shorter]):  # compares objects by identity first
        return shorter
    return next(i for i, (one, other) in enumerate(zip(before, now, strict=False)) if one != other)


def finished_trial(
    record: Trial,
    history: History,
    genes: Genes,
    limits: Sequence[Constraint],
    notes: Mapping[str, Any],
    number: int,
) -> FrozenTrial:
    """Convert a finished trial to Optuna's.

    Args:
        record: Finished trial.
        history: Objectives of the study.
        genes: Distributions of the genes.
        limits: Constraints that the sampler models.
        notes: System attributes of the sampler.
        number: Number of the trial in Optuna's study.

    Returns:
        The trial, not yet in a study.
    """
    trial = unfinished_trial(TrialState.COMPLETE, record.arch, genes, number)
    trial.values = [record.metrics[name] for name in history.objectives]
    trial.system_attrs = dict(notes)
    constrain(trial, record, limits)
    return trial


def unfinished_trial(state: TrialState, arch: Architecture, genes: Genes, number: int) -> FrozenTrial:
    """Make a trial of Optuna without values.

    Args:
        state: Its state.
        arch: Its architecture.
        genes: Distributions of the genes.
        number: Its number.

    Returns:
        The trial, not yet in a study.
    """
    return FrozenTrial(
        number=number,
        trial_id=number,
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


def study_of(given: GivenTrials, history: History, sampler: BaseSampler) -> optuna.Study:
    """Make an in-memory study of trials.

    Args:
        given: The trials; their numbers are negative, so that they are older than any that is asked for.
        history: Objectives of the study.
        sampler: Sampler of new trials.

    Returns:
        The study.
    """
    directions = [StudyDirection[direction.upper()] for direction in history.objectives.values()]
    sampler = _KnownGenes(sampler, given.genes)
    return optuna.create_study(storage=_Given(given), sampler=sampler, directions=directions)


class _Given(InMemoryStorage):
    """Storage that starts with given trials, without Optuna's copy of every added trial."""

    def __init__(self, given: GivenTrials) -> None:
        super().__init__()
        self._finished, self._running = given.finished, given.running

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        given = [
            *(self._finished if states is None or TrialState.COMPLETE in states else ()),
            *(self._running if states is None or TrialState.RUNNING in states else ()),
        ]
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


class CandidateTPE(TPESampler):
    """Optuna's TPE that returns the best new candidate.

    Its candidates are often copies of good trials: with 21 genes and 25 good trials about six of ten, and nearly always
    the best one. Candidates that are not admitted are therefore left out, unless none is left. The genes of given
    trials are read from a matrix, not converted one by one at each call.

    Args:
        given: The given trials. The internal value of a gene is the index of its choice.
        admits: Which genes (N, G) may be proposed, (N,) bool.
        arguments: Arguments of TPESampler.
    """

    def __init__(self, given: GivenTrials, admits: Admits, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._genes_NG, self._admits = given.genes_NG, admits
        self._columns = {name: column for column, name in enumerate(given.genes)}

    def _get_internal_repr(
        self, trials: list[FrozenTrial], search_space: dict[str, BaseDistribution], study: optuna.Study
    ) -> dict[str, np.ndarray]:
        """Return the values of each gene, one per trial, which are in the order of their numbers."""
        given = bisect_left(trials, 0, key=lambda trial: trial.number)
        known_NG = self._genes_NG[[trial.number - FIRST for trial in trials[:given]]]
        new = super()._get_internal_repr(trials[given:], search_space, study)
        return {name: np.concatenate([known_NG[:, self._columns[name]], values]) for name, values in new.items()}

    def _compute_acquisition_func(self, samples: dict[str, np.ndarray], *estimators: Any) -> np.ndarray:
        """Return the acquisition function of the candidates, minus infinity for those that are not admitted."""
        value_N = super()._compute_acquisition_func(samples, *estimators)
        genes_NG = np.zeros((len(value_N), len(self._columns)), dtype=np.int64)  # genes with one choice are 0
        for name, values in samples.items():
            genes_NG[:, self._columns[name]] = values
        return np.where(self._admits(genes_NG), value_N, -np.inf)


class FasterNSGA2(NSGAIISampler):
    """Optuna's NSGA-II, with the parents of whole generations of given trials selected once.

    Args:
        given: The given trials in the order of their numbers.
        parents: Positions of the parents among the given trials, by generation; it grows.
        arguments: Arguments of NSGAIISampler.
    """

    def __init__(self, given: Sequence[FrozenTrial], parents: dict[int, list[int]], **arguments: Any) -> None:
        super().__init__(**arguments)
        self._given, self._parents = given, parents

    @classmethod
    def _get_generation_key(cls) -> str:
        return NSGAIISampler._get_generation_key()  # Optuna names it after the class

    def get_trial_generation(self, study: optuna.Study, trial: FrozenTrial) -> int:
        """Return the generation of a trial that is asked for; of the given trials only the number is needed.

        Args:
            study: The in-memory study.
            trial: The trial.

        Returns:
            Number of the first generation that is not full.
        """
        key, size, given = self._get_generation_key(), self.population_size or 1, len(self._given)
        last = max(given - 1, 0) // size
        count = given - last * size
        for other in study._get_trials(deepcopy=False, states=[TrialState.COMPLETE], use_cache=True)[given:]:
            generation = other.system_attrs[key]
            if generation > last:
                last, count = generation, 1
            elif generation == last:
                count += 1
        generation = last if count < size else last + 1
        study._storage.set_trial_system_attr(trial._trial_id, key, generation)
        return generation

    def select_parent(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        """Select the parents of a generation from the generation before and its parents.

        Args:
            study: The in-memory study.
            generation: Number of the generation.

        Returns:
            The parents in the order of Optuna's selection.
        """
        known = self._parents.get(generation)
        if known is not None:
            return [self._given[position] for position in known]
        chosen = super().select_parent(study, generation)
        size = self.population_size
        if size is not None and generation * size <= len(self._given):  # no parent was asked for in this proposal
            self._parents[generation] = [trial.number - FIRST for trial in chosen]
        return chosen

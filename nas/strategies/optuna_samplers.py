"""Optuna's samplers as strategies: NSGA-II, TPE and Gaussian processes, rebuilt from the history each time."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Any

import numpy as np
import optuna
from annotated_types import Ge, Le
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler
from optuna.trial import TrialState
from threadpoolctl import threadpool_limits

from nas.architecture import Architecture
from nas.errors import NASError
from nas.history import History, Proposal, State, Trial
from nas.space import SearchSpace
from nas.strategies.base import Strategy
from nas.strategies.optuna_study import (
    Admits,
    CandidateTPE,
    FasterNSGA2,
    GivenTrials,
    TrialConverter,
    constrain,
    learned_constraints,
    study_of,
)
from nas.strategies.prior import Prior, first_network
from nas.strategies.ranking import best_and_newest
from nas.strategies.sampling import held, mutant
from nas.utils.annotations import AtLeastTwo, Share
from nas.utils.checked import checked

SEEDS = 2**32  # seeds of Optuna's samplers are below this

Start = AtLeastTwo  # finished networks before the sampler is asked
Tries = Annotated[int, Ge(1), Le(10_000)]
Candidates = Annotated[int, Ge(1), Le(1_000_000)]


class OptunaStrategy(Strategy):
    """Base class of strategies that use one of Optuna's samplers in an in-memory study of the history.

    Ordered genes are integers, other genes categories, both by index of the choice. Suggestions are repaired. The
    sampler is asked again if the suggestion has a finished trial, the result of which is added to the in-memory study,
    or if it is running, has failed, or violates a constraint known beforehand. After `tries` such suggestions the last
    one is mutated.

    Args:
        start: Finished networks, sampled at random, before the sampler is used, at least 2.
        tries: Maximum number of suggestions per proposal, at least 1.
        warm_start: Trials of another study, the best networks of which are trained first; None for none.

    Raises:
        NASError: If a value is out of range.
    """

    def __init__(self, start: int, tries: int, warm_start: Prior | None = None) -> None:
        self.start, self.tries, self.warm_start = start, tries, warm_start
        self._given = TrialConverter(self.notes)
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # no message per in-memory study

    @abstractmethod
    def sampler(self, seed: int, given: GivenTrials, admits: Admits) -> BaseSampler:
        """Make the sampler of one proposal.

        Args:
            seed: Seed of the sampler.
            given: Trials of the history.
            admits: Which genes (N, G), repaired, have no trial and keep the constraints known beforehand, (N,) bool.

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

    def observations(self, history: History, facts: Sequence[Trial]) -> Sequence[Trial]:
        """Return the trials that Optuna's study holds.

        Args:
            history: Trials of the study.
            facts: Result of `facts`.

        Returns:
            By default `facts`, whose metrics are means over replicates.
        """
        return facts

    def earlier(self, space: SearchSpace, history: History) -> Sequence[Trial]:
        """Return trials that Optuna's study holds before those of the history, and that count for `start`.

        Args:
            space: The space.
            history: Trials of the study.

        Returns:
            Finished trials; none by default.
        """
        return ()

    def notes(self, position: int) -> dict[str, Any]:
        """Return the system attributes that the sampler would have stored with a trial of its own.

        Args:
            position: Index of the trial in the order of finishing.

        Returns:
            Attributes by name; empty by default.
        """
        return {}

    def propose(self, space: SearchSpace, history: History, rng: np.random.Generator) -> Proposal | None:
        facts, earlier = self.facts(history), self.earlier(space, history)
        ready = len(facts) + len(earlier) >= self.start and any(len(gene.choices) > 1 for gene in space.genes)
        with self.threads():
            if ready:
                arch = self._ask(space, history, facts, earlier, rng)
            else:
                arch = first_network(self.warm_start, space, history, rng)
        return None if arch is None else Proposal(arch)

    def threads(self) -> AbstractContextManager[object]:
        """Limit the threads of numerical libraries during a proposal.

        Returns:
            A context; by default one without a limit.
        """
        return nullcontext()

    def _ask(
        self,
        space: SearchSpace,
        history: History,
        facts: Sequence[Trial],
        earlier: Sequence[Trial],
        rng: np.random.Generator,
    ) -> Architecture | None:
        observations = [*earlier, *self.observations(history, facts)]
        limits = learned_constraints(history, observations)
        running = dict.fromkeys(record.arch for record in history if record.state is State.RUNNING)
        given = self._given.of(observations, list(running), history, space, limits)

        def admits(genes_NG: np.ndarray) -> np.ndarray:
            taken = held(history)
            archs = [space.repair(genes) for genes in genes_NG.tolist()]
            new_N = np.array([arch.genes not in taken for arch in archs], dtype=bool)
            fresh = [arch for arch, new in zip(archs, new_N, strict=True) if new]
            if fresh:
                new_N[new_N] = history.admits(space.encode(fresh))
            return new_N

        study = study_of(given, history, self.sampler(int(rng.integers(SEEDS)), given, admits))
        for _ in range(self.tries):
            trial = study.ask(fixed_distributions=dict(given.genes))
            params = trial.params
            arch = space.repair([params[gene.name] for gene in space.genes])
            known = next((record for record in facts if record.arch.genes == arch.genes), None)
            if known is not None:
                constrain(trial, known, limits)
                study.tell(trial, [known.metrics[name] for name in history.objectives])
            elif arch in running:
                pass  # keep it running: the sampler treats it as a pending trial
            elif admits(np.array([arch.genes]))[0]:
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
        warm_start: Trials of another study, the best networks of which are the first generation (Feurer et al., AAAI
            2015); their scores are not used otherwise. None for none.

    Raises:
        NASError: If a value is out of range.
    """

    def __init__(
        self,
        population: Start = 20,
        mutation: Share | None = None,
        crossover: Share = 0.9,
        tries: Tries = 20,
        warm_start: Prior | None = None,
    ) -> None:
        super().__init__(population, tries, warm_start)
        self.population, self.mutation, self.crossover = population, mutation, crossover
        self._parents: dict[int, list[int]] = {}  # cache of `FasterNSGA2`

    def sampler(self, seed: int, given: GivenTrials, admits: Admits) -> BaseSampler:
        # what was selected from trials that differ now is forgotten
        self._parents = {g: rows for g, rows in self._parents.items() if g * self.start <= given.same}
        return FasterNSGA2(
            given.finished,
            self._parents,
            population_size=self.start,
            mutation_prob=self.mutation,
            crossover_prob=self.crossover,
            seed=seed,
        )

    def notes(self, position: int) -> dict[str, Any]:
        return {NSGAIISampler._get_generation_key(): position // self.start}


@checked("strategy")
class TPE(OptunaStrategy):
    """Multivariate tree-structured Parzen estimator; running trials count as bad ones (constant liar).

    Of the candidates of a suggestion the best one without a trial is taken.

    Source: Bergstra et al., Algorithms for Hyper-Parameter Optimization, NeurIPS 2011; several objectives: Ozaki et
    al., JAIR 73, 2022; as in optuna.samplers.TPESampler.

    Args:
        start: Random networks first, at least 2.
        ei_candidates: Samples from the estimator of good trials that are compared per suggestion, at least 1.
        tries: Maximum number of suggestions per proposal, if no candidate of one is new; each takes about 25 ms at
            1,000 trials.
        warm_start: Trials of another study, which the sampler gets as older trials. As the estimators ask only which
            trials are the best, their objectives are normal scores on the scale of the search (Salinas et al., ICML
            2020). They count as random ones for `start`. None for none.

    Raises:
        NASError: If a value is out of range.
    """

    def __init__(
        self,
        start: Start = 10,
        ei_candidates: Candidates = 24,
        tries: Tries = 5,
        warm_start: Prior | None = None,
    ) -> None:
        super().__init__(start, tries, warm_start)
        self.ei_candidates = ei_candidates

    def earlier(self, space: SearchSpace, history: History) -> Sequence[Trial]:
        return () if self.warm_start is None else self.warm_start.on_own_scale(space, history)

    def sampler(self, seed: int, given: GivenTrials, admits: Admits) -> BaseSampler:
        # multivariate also with several objectives, as univariate estimators would sort all trials for each gene
        return CandidateTPE(
            given, admits, n_startup_trials=0, n_ei_candidates=self.ei_candidates, multivariate=True, seed=seed
        )


@checked("strategy")
class GaussianProcess(OptunaStrategy):
    """Gaussian processes with a Matern 5/2 kernel, one per objective and one per constraint.

    A proposal maximises the log expected improvement (of the hypervolume, with several objectives), given the running
    trials. It takes seconds, growing with the number of fitted trials. Each replicate of a network is an observation
    with noise of one fitted variance, which is equivalent to their mean with this variance divided by their number.

    Source: Ament et al., Unexpected Improvements to Expected Improvement, NeurIPS 2023 (arXiv 2310.20708); Daulton et
    al., NeurIPS 2020 (arXiv 2006.05078); as in optuna.samplers.GPSampler.

    Args:
        start: Random networks first, at least 2.
        fitted: Maximum number of networks to fit, half of them the best and half the newest of the rest, at least
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

    def sampler(self, seed: int, given: GivenTrials, admits: Admits) -> BaseSampler:
        return GPSampler(n_startup_trials=0, seed=seed)

    def facts(self, history: History) -> Sequence[Trial]:
        return best_and_newest(history, self.fitted)

    def observations(self, history: History, facts: Sequence[Trial]) -> Sequence[Trial]:
        return [run for record in facts for run in history.replicates(record.arch, record.budget)]

    def threads(self) -> AbstractContextManager[object]:
        # for matrices this small two threads took 5 times as long, and another order of summation changes the result
        return threadpool_limits(1)

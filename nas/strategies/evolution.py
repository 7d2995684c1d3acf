"""Regularised evolution: mutation of the winner of a tournament among the last trials."""

from __future__ import annotations

import numpy as np

from nas.errors import NASError
from nas.history import History, Proposal, State
from nas.space import SearchSpace
from nas.strategies.base import Strategy
from nas.strategies.prior import Prior, first_network
from nas.strategies.ranking import best_first
from nas.strategies.sampling import mutant
from nas.utils.annotations import AtLeastTwo, Several
from nas.utils.checked import checked


@checked("strategy")
class RegularizedEvolution(Strategy):
    """Ageing evolution: the population are the networks that finished last, so that each one leaves it by age.

    Networks are compared by Pareto rank within the tournament (feasible before infeasible), ties by score, with means
    over their replicates. Mutation is repeated if the mutant has a trial already or violates a constraint known
    beforehand.

    Source: Real et al., Regularized Evolution for Image Classifier Architecture Search, AAAI 2019 (arXiv 1802.01548),
    algorithm 1.

    Args:
        population: Size of the population, at least 2; as many networks are sampled at random first.
        tournament: Networks drawn with replacement from the population; the best is mutated. From 1 to `population`.
        warm_start: Trials of another study, the best networks of which are trained first instead of random ones (Feurer
            et al., AAAI 2015); their scores are not used otherwise. None for none.

    Raises:
        NASError: If a value is out of range.
    """

    def __init__(self, population: AtLeastTwo = 20, tournament: Several = 5, warm_start: Prior | None = None) -> None:
        if tournament > population:
            raise NASError(
                f"strategy.tournament={tournament} with strategy.population={population}",
                "a tournament within the population",
                f"set strategy.tournament to {population} or less",
            )
        self.population, self.tournament, self.warm_start = population, tournament, warm_start

    def propose(self, space: SearchSpace, history: History, rng: np.random.Generator) -> Proposal | None:
        population = history.final()[-self.population :]
        started = len({record.arch for record in history if record.state is not State.FAILED})
        if started < self.population or not population:
            arch = first_network(self.warm_start, space, history, rng)
        else:
            entrants = [population[row] for row in rng.integers(len(population), size=self.tournament)]
            winner = entrants[best_first(history, entrants)[0]]
            arch = mutant(space, history, winner.arch, rng)
        return None if arch is None else Proposal(arch)

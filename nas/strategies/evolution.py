"""Regularised evolution: the last P trials are the population, the winner of a tournament is mutated."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from annotated_types import Ge

from nas.errors import NASError
from nas.history import History, Proposal, State
from nas.space import SearchSpace
from nas.strategies.base import Strategy
from nas.strategies.ranking import best_first
from nas.strategies.sampling import anything, draw, mutant
from nas.utils.checked import PositiveInt, checked


@checked("strategy")
class RegularizedEvolution(Strategy):
    """Ageing evolution: the population is the last `population` networks that finished, so that each one leaves it by
    age, however good; `tournament` of them, drawn with replacement, compete, and the best is mutated.

    The first `population` networks are drawn at random. Better is by Pareto rank within the tournament (feasible before
    infeasible), ties by score. A mutant that is held or breaks a constraint known beforehand is made again.
    Raises NASError unless population >= 2 and 1 <= tournament <= population.
    Source: Real et al., Regularized Evolution for Image Classifier Architecture Search, AAAI 2019 (arXiv 1802.01548),
    algorithm 1.
    """

    def __init__(self, population: Annotated[int, Ge(2)] = 20, tournament: PositiveInt = 5) -> None:
        if tournament > population:
            raise NASError(
                f"strategy.tournament={tournament} with strategy.population={population}",
                "a tournament within the population",
                f"set strategy.tournament to {population} or less",
            )
        self.population, self.tournament = population, tournament

    def propose(self, space: SearchSpace, history: History, rng: np.random.Generator) -> Proposal | None:
        alive = history.final()[-self.population :]
        begun = sum(record.state is not State.FAILED for record in history)
        if begun < self.population or not alive:
            arch = draw(space, history, anything, rng)
        else:
            rivals = [alive[row] for row in rng.integers(len(alive), size=self.tournament)]
            winner = rivals[best_first(history, rivals)[0]]
            arch = mutant(space, history, winner.arch, rng)
        return None if arch is None else Proposal(arch)

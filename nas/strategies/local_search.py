"""Local search: try what lies next to the best, move, and start again elsewhere at a local optimum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nas.architecture import Architecture
from nas.history import History, Proposal
from nas.space import SearchSpace
from nas.strategies.base import Strategy
from nas.strategies.ranking import best_first, neighbours
from nas.strategies.sampling import anything, draw, untried
from nas.utils.checked import PositiveInt, checked

REMEMBERED = 1024  # architectures whose neighbours are kept: about 50 kB each for 21 genes of 7 choices


@dataclass(slots=True)
class Climb:
    """One descent of the paper: its best network so far, and the place of that network from best (0) to worst."""

    top: Architecture
    place: int


@checked("strategy")
class LocalSearch(Strategy):
    """Tries, in random order, the networks one gene away from the best of a climb, and moves on to the first that is
    better; a climb whose best has no untried neighbour left is at a local optimum, and another starts at random.

    The climbs are read from the finished trials, in the order in which they finished: a network next to a network that
    a climb has been at belongs to it, any other starts one. Of several climbs under way (parallel workers start one
    each) the best is followed. Better is by Pareto rank among all finished trials (feasible before infeasible), ties
    by score. starts: random networks before the first climb goes on.
    Source: White et al., Local Search is State of the Art for Neural Architecture Search Benchmarks, UAI 2021 (arXiv
    2005.02960), algorithm 1, in the variant that moves at the first improvement.
    """

    def __init__(self, starts: PositiveInt = 5) -> None:
        self.starts = starts
        self._neighbours: dict[Architecture, tuple[Architecture, ...]] = {}

    def propose(self, space: SearchSpace, history: History, rng: np.random.Generator) -> Proposal | None:
        if len(history.final()) >= self.starts:
            for climb in sorted(self.climbs(space, history), key=lambda climb: climb.place):
                fresh = untried(space, history, self.around(space, climb.top))
                if fresh:
                    return Proposal(fresh[int(rng.integers(len(fresh)))])
        arch = draw(space, history, anything, rng)
        return None if arch is None else Proposal(arch)

    def climbs(self, space: SearchSpace, history: History) -> list[Climb]:
        """Every climb that the finished trials show, in the order in which they began."""
        done = history.final()
        place = {done[row].arch: place for place, row in enumerate(best_first(history, done))}
        climbs: list[Climb] = []
        owner: dict[Architecture, Climb] = {}  # of every neighbour of a network that a climb has been at
        for record in done:
            climb = owner.get(record.arch)
            if climb is None:
                climb = Climb(record.arch, place[record.arch])
                climbs.append(climb)
            elif place[record.arch] < climb.place:
                climb.top, climb.place = record.arch, place[record.arch]
            else:
                continue
            for arch in self.around(space, record.arch):
                owner.setdefault(arch, climb)
        return climbs

    def around(self, space: SearchSpace, arch: Architecture) -> tuple[Architecture, ...]:
        """`neighbours`, remembered: they are a fact of the architecture, which names its space."""
        if arch not in self._neighbours:
            if len(self._neighbours) >= REMEMBERED:
                self._neighbours.clear()
            self._neighbours[arch] = neighbours(space, arch)
        return self._neighbours[arch]

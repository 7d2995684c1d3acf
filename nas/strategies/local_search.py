"""Local search: evaluate neighbours of the best network, with restarts at local optima."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nas.architecture import Architecture
from nas.history import History, Proposal
from nas.space import SearchSpace
from nas.strategies.base import Strategy
from nas.strategies.prior import Prior, first_network
from nas.strategies.ranking import best_first, neighbours
from nas.strategies.sampling import untried
from nas.utils.annotations import Several
from nas.utils.checked import checked

MAX_CACHED = 1024  # architectures with cached neighbours, about 50 kB each for 21 genes of 7 choices


@dataclass(slots=True)
class Climb:
    """One run of the local search.

    Args:
        top: Its best network so far.
        rank: Rank of that network among all finished ones, 0 for the best.
    """

    top: Architecture
    rank: int


@checked("strategy")
class LocalSearch(Strategy):
    """Local search that moves to the first better neighbour, in random order.

    Neighbours differ in one gene. If all neighbours of the best network of a climb have been tried, it is a local
    optimum, and a new climb starts at a random network. Climbs are reconstructed from the finished trials in the order
    in which they finished: a neighbour of a network that a climb has visited belongs to it, another network starts a
    climb. Of several unfinished climbs (parallel workers start one each), the best is continued. Networks are compared
    by Pareto rank among all finished trials (feasible before infeasible), ties by score, with means over replicates.

    Source: White et al., Local Search is State of the Art for Neural Architecture Search Benchmarks, UAI 2021 (arXiv
    2005.02960), algorithm 1, in the variant that moves at the first improvement.

    Args:
        starts: Random networks before the first climb continues, at least 1.
        warm_start: Trials of another study, the best networks of which are trained first instead of random ones (Feurer
            et al., AAAI 2015); their scores are not used otherwise. None for none.

    Raises:
        NASError: If `starts` is out of range.
    """

    def __init__(self, starts: Several = 5, warm_start: Prior | None = None) -> None:
        self.starts, self.warm_start = starts, warm_start
        self._neighbours: dict[Architecture, tuple[Architecture, ...]] = {}

    def propose(self, space: SearchSpace, history: History, rng: np.random.Generator) -> Proposal | None:
        started = len(history.final()) >= self.starts
        if started:
            for climb in sorted(self.climbs(space, history), key=lambda climb: climb.rank):
                fresh = untried(space, history, self.around(space, climb.top))
                if fresh:
                    return Proposal(fresh[int(rng.integers(len(fresh)))])
        arch = first_network(None if started else self.warm_start, space, history, rng)
        return None if arch is None else Proposal(arch)

    def climbs(self, space: SearchSpace, history: History) -> list[Climb]:
        """Reconstruct the climbs from the finished trials.

        Args:
            space: Space of the search.
            history: Its trials.

        Returns:
            Climbs in the order of their start.
        """
        done = history.final()
        ranks = {done[row].arch: rank for rank, row in enumerate(best_first(history, done))}
        climbs: list[Climb] = []
        owner: dict[Architecture, Climb] = {}  # climb of each neighbour of a visited network
        for record in done:
            climb = owner.get(record.arch)
            if climb is None:
                climb = Climb(record.arch, ranks[record.arch])
                climbs.append(climb)
            elif ranks[record.arch] < climb.rank:
                climb.top, climb.rank = record.arch, ranks[record.arch]
            else:
                continue
            for arch in self.around(space, record.arch):
                owner.setdefault(arch, climb)
        return climbs

    def around(self, space: SearchSpace, arch: Architecture) -> tuple[Architecture, ...]:
        """Return `neighbours` from a cache.

        Args:
            space: Space of the architecture.
            arch: Architecture to vary.

        Returns:
            Its neighbours.
        """
        if arch not in self._neighbours:
            if len(self._neighbours) >= MAX_CACHED:
                self._neighbours.clear()
            self._neighbours[arch] = neighbours(space, arch)
        return self._neighbours[arch]

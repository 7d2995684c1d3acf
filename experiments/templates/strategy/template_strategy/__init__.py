"""A strategy: hill climbing from the Pareto front."""

import numpy as np
from nas import History, Proposal, SearchSpace
from nas.strategies import Strategy


class TemplateStrategy(Strategy):
    """Mutates a network of the Pareto front; begins with random networks.

    A strategy keeps no state: the same history and generator give the same proposal, so that any number of workers can
    run it and a search continues after an interruption.

    Args:
        start: Networks that are drawn at random first.
        tries: Candidates until one is new and keeps the constraints.
    """

    def __init__(self, start: int = 5, tries: int = 200) -> None:
        self.start, self.tries = start, tries

    def propose(self, space: SearchSpace, history: History, rng: np.random.Generator) -> Proposal | None:
        """Propose the next network, or None if no new one is found."""
        tried = {trial.arch for trial in history}  # finished, running and failed ones
        front = history.front() if len(history.complete()) >= self.start else ()
        for attempt in range(self.tries):
            if front and attempt < self.tries // 2:
                arch = space.mutate(front[rng.integers(len(front))].arch, rng)
            else:
                arch = space.sample(rng)
            if arch not in tried and history.admits(space.encode([arch])).all():
                return Proposal(arch)
        return None

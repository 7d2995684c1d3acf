"""The first network of a search with a prior: the one that the prior holds for the best."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nas.architecture import Architecture
from nas.history import History, Proposal
from nas.space import SearchSpace
from nas.strategies.base import Strategy
from nas.strategies.sampling import CostWindow


def next_proposal(
    strategy: Strategy, space: SearchSpace, history: History, rng: np.random.Generator
) -> Proposal | None:
    """Ask a strategy for the next proposal, and try the centre of the prior before any other new network.

    The centre (`SearchSpace.centre`) takes the place of the first new network that the strategy proposes, at the budget
    of that proposal. It is left out if it breaks a constraint that is known before training, or a limit of the strategy
    on the cost. Without a prior the proposal is that of the strategy.

    Args:
        strategy: Any strategy.
        space: The space that is searched.
        history: Finished and running trials.
        rng: Source of randomness.

    Returns:
        The proposal, or None if the search is over.
    """
    proposal = strategy.propose(space, history, rng)
    if proposal is None or proposal.replicate or not space.has_prior:
        return proposal
    if any(trial.arch == proposal.arch for trial in history):
        return proposal
    centre = untried_centre(space, history, strategy.limits)
    return proposal if centre is None else replace(proposal, arch=centre)


def untried_centre(space: SearchSpace, history: History, limits: CostWindow) -> Architecture | None:
    """Return the centre of the prior if it has no trial and keeps the limits that are known beforehand.

    Args:
        space: The space.
        history: Finished and running trials, with the constraints of the search.
        limits: Limits of the strategy on the cost.

    Returns:
        The architecture, or None.
    """
    centre = space.centre
    if centre is None or any(trial.arch == centre for trial in history):
        return None
    genes_1G = space.encode([centre])
    return centre if history.admits(genes_1G).all() and limits(genes_1G, history.cost).all() else None

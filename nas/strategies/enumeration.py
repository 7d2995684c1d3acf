"""All networks of a space as one matrix with their costs, cached per space."""

from __future__ import annotations

import weakref
from collections import OrderedDict

import numpy as np

from nas.history import CostFunction, History
from nas.space import SearchSpace

MAX_ENUMERATED = 2_000_000  # networks; larger spaces are not kept in memory
MAX_SPACES = 4  # size of the cache
_enumerations: OrderedDict[str, Enumeration | None] = OrderedDict()


class Enumeration:
    """All networks of a space, stored column-major, which makes comparisons of one gene over all networks fast.

    Args:
        genes_NG: (N, G) gene indices.
    """

    def __init__(self, genes_NG: np.ndarray) -> None:
        self.genes_NG = np.asfortranarray(genes_NG)
        self._costs: weakref.WeakKeyDictionary[CostFunction, np.ndarray] = weakref.WeakKeyDictionary()

    def costs(self, cost: CostFunction) -> CostFunction:
        """Return a cached cost function for `genes_NG`; it accepts no other matrix.

        Args:
            cost: Cost of genes, (N, G) -> (N,).

        Returns:
            The cached function.
        """

        def cached(genes_NG: np.ndarray) -> np.ndarray:
            assert genes_NG is self.genes_NG
            if cost not in self._costs:
                self._costs[cost] = cost(genes_NG)
            return self._costs[cost]

        return cached

    def admits(self, history: History) -> np.ndarray:
        """Apply `History.admits` to every network.

        Args:
            history: Trials with their constraints.

        Returns:
            (N,) bool, True if no constraint known beforehand is violated.
        """
        admitted_N = np.ones(len(self.genes_NG), dtype=bool)
        for constraint in history.constraints:
            if constraint.metric in history.costs:
                admitted_N &= constraint.excess(self.costs(history.costs[constraint.metric])(self.genes_NG)) == 0
        return admitted_N


def enumeration_of(space: SearchSpace) -> Enumeration | None:
    """Return the enumeration of a space, cached.

    Args:
        space: Space to enumerate.

    Returns:
        The enumeration, or None if the space cannot be enumerated or has more than MAX_ENUMERATED networks.
    """
    key = space.fingerprint
    if key not in _enumerations:
        genes_NG = space.enumerate()
        small = genes_NG is not None and len(genes_NG) <= MAX_ENUMERATED
        _enumerations[key] = Enumeration(genes_NG) if genes_NG is not None and small else None
        if len(_enumerations) > MAX_SPACES:
            _enumerations.popitem(last=False)
    _enumerations.move_to_end(key)
    return _enumerations[key]

"""All networks of a space as one matrix, with their costs: made once, as both are facts that never change."""

from __future__ import annotations

import weakref
from collections import OrderedDict

import numpy as np

from nas.history import CostFunction, History
from nas.space import SearchSpace

LISTED = 2_000_000  # larger spaces are not kept in memory
SPACES = 4  # whose listings are kept
_listings: OrderedDict[str, Listing | None] = OrderedDict()


class Listing:
    """genes_NG: every network of a space, column-major, so that comparing one gene of all networks is fast."""

    def __init__(self, genes_NG: np.ndarray) -> None:
        self.genes_NG = np.asfortranarray(genes_NG)
        self._costs: weakref.WeakKeyDictionary[CostFunction, np.ndarray] = weakref.WeakKeyDictionary()

    def costs(self, cost: CostFunction) -> CostFunction:
        """The function for this matrix: it computes once and then answers from memory. No other matrix may be asked."""

        def remembered(genes_NG: np.ndarray) -> np.ndarray:
            assert genes_NG is self.genes_NG
            if cost not in self._costs:
                self._costs[cost] = cost(genes_NG)
            return self._costs[cost]

        return remembered

    def admits(self, history: History) -> np.ndarray:
        """(N,) bool: what `History.admits` says of every network."""
        kept_N = np.ones(len(self.genes_NG), dtype=bool)
        for constraint in history.constraints:
            if constraint.metric in history.costs:
                kept_N &= constraint.excess(self.costs(history.costs[constraint.metric])(self.genes_NG)) == 0
        return kept_N


def listing(space: SearchSpace) -> Listing | None:
    """The listing of a space; None where it cannot be enumerated or holds more than 2 million networks."""
    key = space.fingerprint
    if key not in _listings:
        every = space.enumerate()
        _listings[key] = Listing(every) if every is not None and len(every) <= LISTED else None
        if len(_listings) > SPACES:
            _listings.popitem(last=False)
    _listings.move_to_end(key)
    return _listings[key]

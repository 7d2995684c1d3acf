"""Scores of networks before any training."""

from typing import TYPE_CHECKING

from nas.utils.lazy import lazy_exports

if TYPE_CHECKING:
    from nas.zero_cost.measure import SCORES as SCORES
    from nas.zero_cost.measure import zero_cost_score as zero_cost_score
    from nas.zero_cost.measure import zero_cost_scores as zero_cost_scores
    from nas.zero_cost.minibatch import Minibatch as Minibatch

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "Minibatch": "nas.zero_cost.minibatch",
        "SCORES": "nas.zero_cost.measure",
        "zero_cost_score": "nas.zero_cost.measure",
        "zero_cost_scores": "nas.zero_cost.measure",
    },
)

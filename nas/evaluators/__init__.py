"""Evaluators: from a proposed architecture to its metrics."""

from typing import TYPE_CHECKING

from nas.utils.lazy import lazy_exports

if TYPE_CHECKING:
    from nas.evaluators.base import Evaluator as Evaluator
    from nas.evaluators.supernet import InheritedWeights as InheritedWeights
    from nas.evaluators.tabular import Tabular as Tabular
    from nas.evaluators.train import Train as Train
    from nas.evaluators.zero_cost import ZeroCost as ZeroCost

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "Evaluator": "nas.evaluators.base",
        "InheritedWeights": "nas.evaluators.supernet",
        "Tabular": "nas.evaluators.tabular",
        "Train": "nas.evaluators.train",
        "ZeroCost": "nas.evaluators.zero_cost",
    },
)

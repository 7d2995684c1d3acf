"""Search strategies."""

from typing import TYPE_CHECKING

from nas.utils.lazy import lazy_exports

if TYPE_CHECKING:
    from nas.strategies.base import Strategy as Strategy
    from nas.strategies.differentiable import Differentiable as Differentiable
    from nas.strategies.evolution import RegularizedEvolution as RegularizedEvolution
    from nas.strategies.halving import SuccessiveHalving as SuccessiveHalving
    from nas.strategies.local_search import LocalSearch as LocalSearch
    from nas.strategies.optuna_samplers import NSGA2 as NSGA2
    from nas.strategies.optuna_samplers import TPE as TPE
    from nas.strategies.optuna_samplers import GaussianProcess as GaussianProcess
    from nas.strategies.partial_order.strategy import PartialOrderPruning as PartialOrderPruning
    from nas.strategies.predictor import Predictor as Predictor
    from nas.strategies.random import RandomSearch as RandomSearch

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "Differentiable": "nas.strategies.differentiable",
        "GaussianProcess": "nas.strategies.optuna_samplers",
        "LocalSearch": "nas.strategies.local_search",
        "NSGA2": "nas.strategies.optuna_samplers",
        "PartialOrderPruning": "nas.strategies.partial_order.strategy",
        "Predictor": "nas.strategies.predictor",
        "RandomSearch": "nas.strategies.random",
        "RegularizedEvolution": "nas.strategies.evolution",
        "Strategy": "nas.strategies.base",
        "SuccessiveHalving": "nas.strategies.halving",
        "TPE": "nas.strategies.optuna_samplers",
    },
)

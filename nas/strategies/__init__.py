"""Search strategies."""

from typing import TYPE_CHECKING

from nas.utils.lazy import lazy_exports

if TYPE_CHECKING:
    from nas.strategies.base import Strategy as Strategy
    from nas.strategies.differentiable import Differentiable as Differentiable
    from nas.strategies.elastic import Elastic as Elastic
    from nas.strategies.evolution import RegularizedEvolution as RegularizedEvolution
    from nas.strategies.fidelity.asha import ASHA as ASHA
    from nas.strategies.fidelity.curve_stop import CurveStop as CurveStop
    from nas.strategies.fidelity.hyperband import Hyperband as Hyperband
    from nas.strategies.fidelity.priorband import PriorBand as PriorBand
    from nas.strategies.fidelity.schedule import Fidelity as Fidelity
    from nas.strategies.fidelity.strategy import MultiFidelity as MultiFidelity
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
        "ASHA": "nas.strategies.fidelity.asha",
        "CurveStop": "nas.strategies.fidelity.curve_stop",
        "Differentiable": "nas.strategies.differentiable",
        "Elastic": "nas.strategies.elastic",
        "Fidelity": "nas.strategies.fidelity.schedule",
        "GaussianProcess": "nas.strategies.optuna_samplers",
        "Hyperband": "nas.strategies.fidelity.hyperband",
        "LocalSearch": "nas.strategies.local_search",
        "MultiFidelity": "nas.strategies.fidelity.strategy",
        "NSGA2": "nas.strategies.optuna_samplers",
        "PartialOrderPruning": "nas.strategies.partial_order.strategy",
        "Predictor": "nas.strategies.predictor",
        "PriorBand": "nas.strategies.fidelity.priorband",
        "RandomSearch": "nas.strategies.random",
        "RegularizedEvolution": "nas.strategies.evolution",
        "Strategy": "nas.strategies.base",
        "TPE": "nas.strategies.optuna_samplers",
    },
)

"""Parameters, MACs, memory and latency of networks."""

from typing import TYPE_CHECKING

from nas.utils.lazy import lazy_exports

if TYPE_CHECKING:
    from nas.cost.latency import LatencyTable as LatencyTable
    from nas.cost.model import CostModel as CostModel

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "CostModel": "nas.cost.model",
        "LatencyTable": "nas.cost.latency",
    },
)

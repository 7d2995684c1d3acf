"""Supernets: all networks of a space with shared weights, and their training."""

from typing import TYPE_CHECKING

from nas.utils.lazy import lazy_exports

if TYPE_CHECKING:
    from nas.supernets.base import SharedWeights as SharedWeights
    from nas.supernets.base import Supernet as Supernet
    from nas.supernets.elastic import ElasticSupernet as ElasticSupernet
    from nas.supernets.shared import SharedSupernet as SharedSupernet

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "ElasticSupernet": "nas.supernets.elastic",
        "SharedSupernet": "nas.supernets.shared",
        "SharedWeights": "nas.supernets.base",
        "Supernet": "nas.supernets.base",
    },
)

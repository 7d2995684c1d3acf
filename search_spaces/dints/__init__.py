"""DiNTS: topologies and cell operations of segmentation networks (He et al., CVPR 2021, arXiv 2103.15954)."""

from typing import TYPE_CHECKING

from nas.utils.lazy import lazy_exports

if TYPE_CHECKING:
    from search_spaces.dints.space import DiNTSSpace as DiNTSSpace

__getattr__, __dir__, __all__ = lazy_exports(__name__, {"DiNTSSpace": "search_spaces.dints.space"})

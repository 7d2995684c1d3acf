"""DiNTS: topologies and cell operations of segmentation networks (He et al., CVPR 2021, arXiv 2103.15954)."""

from search_spaces.dints.space import DiNTSSpace

__all__ = ["DiNTSSpace"]

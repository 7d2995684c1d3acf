"""The sanity check of a map: it must depend on what the network has learned.

Source: Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018 (arXiv 1810.03292): the model parameter
randomisation test, here of all layers at once, by Spearman's rank correlation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from nas.artifact import Artifact

RANDOM_NETWORKS = 3  # drawn for each network
HIGH = 0.5  # rank correlation from which a map says little about what was learned


def random_networks(artifact: Artifact, count: int = RANDOM_NETWORKS, seed: int = 0) -> list[nn.Module]:
    """Build networks of an architecture with random weights.

    Args:
        artifact: The architecture.
        count: Number of networks.
        seed: Seed of the weights.

    Returns:
        The networks, in evaluation mode; the state of the global random numbers is unchanged.
    """
    networks = []
    with torch.random.fork_rng(devices=[]):
        for number in range(count):
            torch.manual_seed(seed * count + number)
            networks.append(artifact.build().eval())
    return networks


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Compute Spearman's rank correlation of two maps.

    Args:
        first: Values of any shape.
        second: Values of the same shape.

    Returns:
        The correlation in [-1, 1]; NaN if one map has one value only.
    """
    from scipy.stats import rankdata  # here, as scipy.stats takes long to import

    if first.min() == first.max() or second.min() == second.max():
        return float("nan")
    return float(np.corrcoef(rankdata(first), rankdata(second))[0, 1])


def mean_correlation(own: np.ndarray, random: Sequence[np.ndarray]) -> float:
    """Average the rank correlation of a map with those of networks with random weights.

    Args:
        own: Map of the trained network.
        random: Maps of the others.

    Returns:
        The mean over the maps that have more than one value; NaN without any.
    """
    values = [value for other in random if np.isfinite(value := rank_correlation(own, other))]
    return float(np.mean(values)) if values else float("nan")

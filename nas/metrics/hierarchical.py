"""Intervals of a mean over several networks, by bootstrap over networks and patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import NormalDist

import numpy as np
from scipy.stats import t

from nas.metrics.bootstrap import LEVEL

Draws = Sequence[Mapping[str, float]]  # the metrics of a network on each bootstrap sample of patients; {} if undefined


def interval_of_mean(draws: Sequence[Draws], same_patients: bool, seed: int = 0) -> dict[str, tuple[float, float]]:
    """Compute 95 % intervals of the mean over networks, of which those at hand are a sample.

    Every draw takes as many networks as there are, with replacement, each measured on a bootstrap sample of patients:
    networks that were tested on the same patients on one sample for all (the pigeonhole bootstrap of two crossed
    factors: Owen, Annals of Applied Statistics 1, 2007), and networks with patients of their own on a sample each (the
    two-stage bootstrap: Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8). So the
    interval holds both the spread over networks and that over patients. As a sample of K networks understates their
    spread, the percentiles are those of `expanded_percentiles`. A single network has the percentile interval over
    patients only.

    Args:
        draws: For each of K networks, its metrics on each of B bootstrap samples of patients.
        same_patients: Whether all networks were tested on the same patients.
        seed: Seed of the draws.

    Returns:
        Metric -> (low, high), over the draws on which the mean is defined. Empty if no metric is ever defined.
    """
    networks, samples = len(draws), len(draws[0])
    names = next((list(metrics) for of_network in draws for metrics in of_network if metrics), [])
    rng = np.random.default_rng([seed, networks])
    network_BK = rng.integers(networks, size=(samples, networks)) if networks > 1 else np.zeros((samples, 1), int)
    sample_BK = np.arange(samples)[:, None]
    if not same_patients:
        sample_BK = rng.integers(samples, size=(samples, networks))
    bounds = {}
    for name in names:
        value_KB = np.array([[metrics.get(name, np.nan) for metrics in of_network] for of_network in draws])
        drawn_BK = value_KB[network_BK, sample_BK]
        known_B = np.isfinite(drawn_BK).any(axis=1)
        if not known_B.any():
            bounds[name] = (float("nan"), float("nan"))
            continue
        mean_B = np.nanmean(drawn_BK[known_B], axis=1)
        low, high = np.percentile(mean_B, expanded_percentiles(networks))
        bounds[name] = (float(low), float(high))
    return bounds


def nested_rows(networks: np.ndarray, groups: np.ndarray, resamples: int, seed: int = 0) -> list[np.ndarray]:
    """Draw networks, and patients of each, with replacement (the two-stage bootstrap).

    Args:
        networks: Number of the network that tested each sample (N,), for example of its fold.
        groups: The patient of each sample (N,); each patient belongs to one network.
        resamples: Number of resamples.
        seed: Seed of the draws.

    Returns:
        For each resample, the samples in it.
    """
    members = []  # of each network, the samples of each of its patients
    for network in np.unique(networks):
        own = np.flatnonzero(networks == network)
        members.append([own[groups[own] == group] for group in np.unique(groups[own])])
    rng = np.random.default_rng([seed, len(members)])
    rows = []
    for _ in range(resamples):
        chosen = [members[number] for number in rng.integers(len(members), size=len(members))]
        rows.append(np.concatenate([own[k] for own in chosen for k in rng.integers(len(own), size=len(own))]))
    return rows


def expanded_percentiles(networks: int) -> tuple[float, float]:
    """Return the percentiles of a 95 % interval of a mean over few networks.

    The bootstrap distribution of a mean over K is narrower than Student's interval by sqrt((K - 1) / K) and by the
    quantiles of the normal distribution in place of those of t with K - 1 degrees of freedom. Percentiles further out
    make up for both (the expanded percentile interval: Hesterberg, The American Statistician 69, 2015, section 4.3).

    Args:
        networks: Number of networks K.

    Returns:
        Percentiles of the lower and the upper bound; 2.5 and 97.5 for a single network.
    """
    tail = (100 - LEVEL) / 200
    if networks > 1:
        wide = np.sqrt(networks / (networks - 1)) * float(t.ppf(1 - tail, networks - 1))
        tail = NormalDist().cdf(-wide)
    return 100 * tail, 100 * (1 - tail)

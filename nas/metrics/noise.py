"""Noise of evaluations: intra-class correlation over replicates, and its consequences for ranking networks.

All functions take the results of one metric as one sequence per network, with one value per replicate. Numbers of
replicates may differ; a network with a single value counts for the differences between networks alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

Values = Sequence[Sequence[float] | np.ndarray] | np.ndarray  # network -> value of each replicate
NAN = float("nan")
LEVEL = 90.0  # percent of the intervals
RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Components:
    """Variance of single evaluations, in parts.

    Attributes:
        between: Variance between networks, estimated without bias: below 0 if networks differ less than noise would
            make them differ.
        within: Variance between replicates of one network, the noise.
        networks: Number of networks.
        evaluations: Number of values.
    """

    between: float
    within: float
    networks: int
    evaluations: int

    @property
    def icc(self) -> float:
        """Share of the variance that is between networks, at most 1; NaN if all values are equal."""
        total = self.between + self.within
        return self.between / total if total > 0 else NAN

    @property
    def deviation(self) -> float:
        """Standard deviation of the replicates of one network."""
        return math.sqrt(self.within)

    @property
    def spread(self) -> float:
        """Standard deviation between networks, 0 if it is not distinguishable from noise."""
        return math.sqrt(max(self.between, 0.0))


def pooled_variance(values: Values) -> float:
    """Compute the variance between replicates, pooled over networks.

    Args:
        values: Network -> value of each replicate.

    Returns:
        Sum of squares within networks by its degrees of freedom; NaN if no network has two values.
    """
    sums = _Sums.of(values)
    freedom = sums.freedom_N.sum()
    return float(sums.squares_N.sum() / freedom) if freedom > 0 else NAN


def pooled_deviation(values: Values) -> float:
    """Compute the standard deviation between replicates, pooled over networks.

    Args:
        values: Network -> value of each replicate.

    Returns:
        The deviation; NaN if no network has two values.
    """
    return math.sqrt(pooled_variance(values))


def standard_errors(normal: float, degrees: int) -> float:
    """Return how many standard errors are as unlikely as a number of them under the normal distribution.

    Args:
        normal: Number of standard errors for a known deviation.
        degrees: Degrees of freedom of the estimated deviation.

    Returns:
        The quantile of Student's t distribution, larger than `normal`; infinite without a degree of freedom.
    """
    if degrees < 1:
        return math.inf
    from scipy.stats import norm, t  # here, as they take long to import

    return float(t.ppf(norm.cdf(normal), degrees))


def variance_components(values: Values, further: Values = (), lost: int = 0) -> Components | None:
    """Split the variance into that between networks and that between replicates.

    Source: one-way random effects by the analysis of variance, for unequal numbers of replicates; Searle, Casella and
    McCulloch, Variance Components, 1992, section 3.6.

    Args:
        values: Network -> value of each replicate.
        further: Network -> values that count for the noise alone, in the order of `values`: replicates of networks that
            were selected by their values would make networks look more different than they are.
        lost: Degrees of freedom that were lost before, see `without_replicate_effects`.

    Returns:
        The components; None with fewer than two networks, or without a replicate.
    """
    sums = _Sums.of(values, further)
    if len(sums.count_N) < 2 or sums.freedom_N.sum() <= lost:
        return None
    rows = np.arange(len(sums.count_N))
    between, within = sums.components(rows[None], lost)
    return Components(float(between[0]), float(within[0]), len(rows), int(sums.count_N.sum()))


def icc(values: Values, further: Values = (), lost: int = 0) -> float:
    """Compute the intra-class correlation of single evaluations, ICC(1).

    Source: Shrout and Fleiss, Psychological Bulletin 86(2), 1979, page 421, doi 10.1037/0033-2909.86.2.420; for unequal
    numbers of replicates see `variance_components`, whose arguments it has.

    Args:
        values: Network -> value of each replicate.
        further: Network -> values that count for the noise alone.
        lost: Degrees of freedom that were lost before.

    Returns:
        Share of the variance that is between networks, at most 1. It is negative if networks differ less than noise
        would make them differ, and NaN without two networks, a replicate, or different values.
    """
    found = variance_components(values, further, lost)
    return NAN if found is None else found.icc


def icc_interval(
    values: Values, further: Values = (), lost: int = 0, *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """Compute the 90 % percentile interval of the intra-class correlation by bootstrap over networks.

    Args:
        values: Network -> value of each replicate.
        further: Network -> values that count for the noise alone.
        lost: Degrees of freedom that were lost before.
        resamples: Number of resamples; those on which the correlation is undefined are left out.
        seed: Seed of the draws.

    Returns:
        Lower and upper bound; NaN if `icc` is undefined.
    """
    if not math.isfinite(icc(values, further, lost)):
        return NAN, NAN
    sums = _Sums.of(values, further)
    networks = len(sums.count_N)
    between_R, within_R = sums.components(
        np.random.default_rng(seed).integers(networks, size=(resamples, networks)), lost
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        icc_R = between_R / (between_R + within_R)
    low, high = np.percentile(icc_R[np.isfinite(icc_R)], (50 - LEVEL / 2, 50 + LEVEL / 2))
    return float(low), float(high)


def without_replicate_effects(values: Sequence[Mapping[int, float]]) -> tuple[list[dict[int, float]], int]:
    """Subtract from every value the effect of its replicate, such as that of its seeds or its validation fold.

    Networks that are compared within one replicate share its effect, which is no noise of their comparison: the
    intra-class correlation of the result is that of consistency, ICC(C,1) of McGraw and Wong, Psychological Methods
    1(1), 1996, table 4. Effects are least-squares estimates of the additive model of networks and replicates, with mean
    0 over all values.

    Args:
        values: Network -> replicate -> value.

    Returns:
        The values without the effects, and the degrees of freedom that their estimate takes.
    """
    names = sorted({replicate for row in values for replicate in row})
    if len(names) < 2:
        return [dict(row) for row in values], 0
    has_NR = np.array([[name in row for name in names] for row in values], dtype=np.float64)
    value_NR = np.array([[row.get(name, 0.0) for name in names] for row in values])
    count_N = np.maximum(has_NR.sum(axis=1), 1)
    apart_NR = (value_NR - value_NR.sum(axis=1, keepdims=True) / count_N[:, None]) * has_NR
    normal_RR = np.diag(has_NR.sum(axis=0)) - has_NR.T @ (has_NR / count_N[:, None])
    effect_R = np.linalg.lstsq(normal_RR, apart_NR.sum(axis=0), rcond=None)[0]
    effect_R -= (effect_R * has_NR).sum() / has_NR.sum()
    by_name = dict(zip(names, effect_R.tolist(), strict=True))
    rank = int(np.linalg.matrix_rank(normal_RR))
    return [{name: value - by_name[name] for name, value in row.items()} for row in values], rank


def share_of_noise(icc: float) -> float:
    """Return the share of the variance of single evaluations that is noise.

    Args:
        icc: Intra-class correlation.

    Returns:
        1 - ICC, in [0, 1].
    """
    return float(1 - np.clip(icc, 0, 1))


def icc_of_mean(icc: float, replicates: int) -> float:
    """Return the intra-class correlation of a mean over replicates.

    Source: Spearman, British Journal of Psychology 3, 1910, page 271, and Brown, same issue, page 296.

    Args:
        icc: Intra-class correlation of single evaluations; a negative one counts as 0.
        replicates: Number of replicates, at least 1.

    Returns:
        The correlation, in [0, 1].
    """
    single = max(icc, 0.0)
    return replicates * single / (1 + (replicates - 1) * single)


def replicates_for(icc: float, wanted: float) -> int | None:
    """Return how many replicates give means of a wanted intra-class correlation (Spearman-Brown).

    Args:
        icc: Intra-class correlation of single evaluations.
        wanted: Intra-class correlation of the mean, in (0, 1).

    Returns:
        The smallest such number, at least 1; None if no number is enough, as the evaluations do not tell networks
        apart.
    """
    if not icc > 0:
        return None
    exact = wanted * (1 - icc) / (icc * (1 - wanted))
    return max(1, math.ceil(exact - 1e-9))  # exact numbers are not rounded up


def kendall_ceiling(icc: float) -> float:
    """Return the expected Kendall tau between single evaluations and the true qualities.

    Evaluation and truth correlate by the square root of the ICC; of normal values tau is 2/pi arcsin of that.
    Source: Greiner's relation, Kruskal, J. American Statistical Association 53, 1958, equation 5.3.

    Args:
        icc: Intra-class correlation of the evaluations; a negative one counts as 0.

    Returns:
        Tau, in [0, 1]: no prediction of single evaluations is ranked better on average.
    """
    return 2 / math.pi * math.asin(math.sqrt(min(max(icc, 0.0), 1.0)))


def spearman_ceiling(icc: float) -> float:
    """Return the expected Spearman correlation between single evaluations and the true qualities.

    Source: Pearson's relation for normal values, 6/pi arcsin(r/2); Kruskal, J. American Statistical Association 53,
    1958, equation 6.2.

    Args:
        icc: Intra-class correlation of the evaluations; a negative one counts as 0.

    Returns:
        Spearman's rho of many networks, in [0, 1].
    """
    return 6 / math.pi * math.asin(math.sqrt(min(max(icc, 0.0), 1.0)) / 2)


def kendall_between_replicates(icc: float) -> float:
    """Return the expected Kendall tau between two evaluations of the same networks, for normal values.

    Args:
        icc: Intra-class correlation of the evaluations; a negative one counts as 0.

    Returns:
        Tau, in [0, 1]; the two evaluations correlate by the ICC.
    """
    return 2 / math.pi * math.asin(min(max(icc, 0.0), 1.0))


def expected_maximum(count: int) -> float:
    """Return the expected maximum of independent standard normal values.

    Args:
        count: Number of values, at least 1.

    Returns:
        The expectation, 0 for one value, by numerical integration.
    """
    from scipy.special import ndtr  # here, as scipy takes long to import

    x, step = np.linspace(-12.0, 12.0, 9601, retstep=True)
    density = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    return float((x * count * density * ndtr(x) ** (count - 1)).sum() * step)


def expected_loss(components: Components, choices: int, replicates: int = 1) -> float:
    """Return the expected loss of choosing the network with the best mean over replicates.

    The loss is the true quality of the best network minus that of the chosen one, for normal qualities and noise: the
    chosen one has sqrt(ICC) times the expected lead of the best.

    Args:
        components: Variance components of single evaluations.
        choices: Number of networks among which one is chosen, at least 1.
        replicates: Number of replicates of each network.

    Returns:
        The loss in units of the metric, at least 0.
    """
    if math.isnan(components.icc):
        return 0.0
    chosen = math.sqrt(icc_of_mean(components.icc, replicates))
    return components.spread * expected_maximum(choices) * (1 - chosen)


@dataclass(frozen=True)
class _Sums:
    """Counts, means and squares of N networks; those of `freedom_N` and `squares_N` are within networks."""

    count_N: np.ndarray
    mean_N: np.ndarray
    freedom_N: np.ndarray
    squares_N: np.ndarray

    @classmethod
    def of(cls, values: Values, further: Values = ()) -> _Sums:
        pairs = [(row, more) for row, more in zip_longest(values, further, fillvalue=()) if len(row)]
        groups = [[np.asarray(group, dtype=np.float64) for group in pair if len(group)] for pair in pairs]
        return cls(
            np.array([len(row) for row, _ in pairs], dtype=np.float64),
            np.array([np.mean(row) for row, _ in pairs]),
            np.array([sum(len(group) - 1 for group in pair) for pair in groups], dtype=np.float64),
            np.array([sum(float(((group - group.mean()) ** 2).sum()) for group in pair) for pair in groups]),
        )

    def components(self, row_RN: np.ndarray, lost: int) -> tuple[np.ndarray, np.ndarray]:
        """Variance between and within networks of each of R samples of networks."""
        count_RN, mean_RN, networks = self.count_N[row_RN], self.mean_N[row_RN], row_RN.shape[1]
        total_R, freedom_R = count_RN.sum(axis=1), self.freedom_N[row_RN].sum(axis=1)
        mean_R = (count_RN * mean_RN).sum(axis=1) / total_R
        kept = 1 - lost / self.freedom_N.sum()  # share of the degrees of freedom
        with np.errstate(invalid="ignore", divide="ignore"):  # a sample without replicates is undefined
            within_R = self.squares_N[row_RN].sum(axis=1) / (freedom_R * kept)
            between_squares_R = (count_RN * (mean_RN - mean_R[:, None]) ** 2).sum(axis=1) / (networks - 1)
            typical_R = (total_R - (count_RN**2).sum(axis=1) / total_R) / (networks - 1)
            return (between_squares_R - within_R) / typical_R, within_R

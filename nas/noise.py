"""Noise of the evaluations of a search, measured by replicates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from nas.errors import NASError
from nas.history import History
from nas.metrics.names import COLLAPSED
from nas.metrics.noise import (
    Components,
    expected_loss,
    icc_interval,
    kendall_between_replicates,
    kendall_ceiling,
    replicates_for,
    share_of_noise,
    spearman_ceiling,
    variance_components,
    without_replicate_effects,
)

FEW = 3  # networks below which neither correlations nor warnings make sense
CANNOT_RANK = 0.5  # intra-class correlation below which more than half of the differences is noise
WANTED = 0.8  # intra-class correlation of means that ranks networks well
Part = Sequence[Mapping[int, float]]  # network -> replicate -> value


@dataclass(frozen=True)
class Noise:
    """How far the evaluations of a search tell its networks apart.

    Networks are compared within a replicate, whose seeds and validation fold they share: what these add to all networks
    is no noise.

    Attributes:
        metric: Name of the metric.
        budget: Budget of the evaluations in epochs; 0 for the evaluator's own.
        components: Variance between networks and between replicates.
        interval: 90 % interval of the intra-class correlation, by bootstrap over networks.
        one_way: Intra-class correlation that counts differences between replicates as noise.
        one_way_interval: Its 90 % interval.
        repeated: Number of networks with more than one evaluation.
        evaluations: Number of evaluations, those of the confirmation included.
        tau: Kendall's tau between two replicates, as measured, mean over the pairs of replicates; NaN if no pair shares
            three networks.
        collapsed: Number of evaluations whose training collapsed.
        without_collapsed: Intra-class correlation of the networks of which no training collapsed; NaN if undefined.
    """

    metric: str
    budget: int
    components: Components
    interval: tuple[float, float]
    one_way: float
    one_way_interval: tuple[float, float]
    repeated: int
    evaluations: int
    tau: float
    collapsed: int = 0
    without_collapsed: float = math.nan

    @classmethod
    def of(cls, history: History, metric: str | None = None) -> Noise | None:
        """Measure the noise of a search.

        The variance between networks is that of the trials of the search; replicates of the confirmation, which has
        only the best networks, count for the noise alone.

        Args:
            history: The trials.
            metric: Name of the metric. If None, the score.

        Returns:
            The noise at the largest budget with replicates; None without two networks and a replicate.
        """
        name = history.score if metric is None else metric
        for budget in sorted({trial.budget for trial in history.complete()}, reverse=True):
            found = cls._at(history, name, budget)
            if found is not None:
                return found._beside_collapsed(history)
        return None

    def _beside_collapsed(self, history: History) -> Noise:
        """Add what is known of collapsed trainings, which look like differences between networks."""
        done = [trial for trial in history.complete() if trial.budget == self.budget]
        lost = [trial for trial in done if trial.metrics.get(COLLAPSED, 0) > 0]
        if not lost:
            return self
        ids = {trial.arch.id for trial in lost}
        rest = tuple(trial for trial in done if trial.arch.id not in ids)
        without = self._at(replace(history, records=rest), self.metric, self.budget)
        return replace(self, collapsed=len(lost), without_collapsed=math.nan if without is None else without.icc)

    @classmethod
    def _at(cls, history: History, metric: str, budget: int) -> Noise | None:
        searched, confirmed = (_values(part, metric, budget) for part in (history.searched, history.confirmed))
        rows: Part = list(searched.values())
        further: Part = [confirmed.get(arch_id, {}) for arch_id in searched]
        one_way = variance_components(_lists(rows), _lists(further))
        (own, lost), (other, also_lost) = without_replicate_effects(rows), without_replicate_effects(further)
        arguments = (_lists(own), _lists(other), lost + also_lost)
        components = variance_components(*arguments)
        if one_way is None or components is None:
            return None
        return cls(
            metric,
            budget,
            components,
            icc_interval(*arguments),
            one_way.icc,
            icc_interval(_lists(rows), _lists(further)),
            sum(len(row) + len(more) > 1 for row, more in zip(rows, further, strict=True)),
            sum(map(len, [*rows, *further])),
            _measured_tau(rows),
        )

    @property
    def icc(self) -> float:
        """Share of the variance of one evaluation that is between networks, at most 1; below 0 if it is all noise."""
        return self.components.icc

    @property
    def share(self) -> float:
        """Share of the differences between single evaluations that is noise, 0 to 1."""
        return share_of_noise(self.icc)

    @property
    def can_rank(self) -> bool:
        """Whether at least half of the variance is between networks."""
        return not self.icc < CANNOT_RANK

    def sentence(self, label: str) -> str:
        """Say that the evaluations cannot rank the networks.

        Args:
            label: Name of the metric in words.

        Returns:
            One sentence.
        """
        low, high = self.interval
        count = replicates_for(self.icc, WANTED)
        fix = "no number of replicates helps" if count is None else f"study.replicates={count} gives an ICC of {WANTED}"
        return (
            f"These evaluations can hardly rank networks: {100 * self.share:.0f} % of the differences in {label} is "
            f"noise (ICC {self.icc:.2f} [{low:.2f}, {high:.2f}] over {self.evaluations} evaluations of "
            f"{self.components.networks} networks); {fix}."
        )

    def rows(self, wanted: float = WANTED, digits: int = 4) -> list[tuple[str, str]]:
        """Describe the noise and its consequences.

        Args:
            wanted: Intra-class correlation for which the number of replicates is given, in (0, 1).
            digits: Decimals of values of the metric.

        Returns:
            Pairs of a name and a text.
        """
        parts, networks = self.components, self.components.networks
        count = replicates_for(self.icc, wanted)
        losses = [(n, expected_loss(parts, networks, n)) for n in sorted({1, 3, count or 1})]
        tau = "" if math.isnan(self.tau) else f"; measured {self.tau:.2f}"
        rest = f"{self.without_collapsed:.2f}" if math.isfinite(self.without_collapsed) else "unknown"
        of_rest = f"{self.collapsed} of {self.evaluations} evaluations; ICC of the networks without one {rest}"
        return [
            ("metric", f"{self.metric}, {f'{self.budget} epochs' if self.budget else 'budget of the evaluator'}"),
            ("networks", f"{networks}, {self.repeated} of them repeated, {self.evaluations} evaluations"),
            (
                "standard deviation",
                f"{parts.spread:.{digits}f} between networks, {parts.deviation:.{digits}f} between replicates",
            ),
            (
                "ICC",
                f"{_interval(self.icc, self.interval)}: {100 * self.share:.0f} % of the differences between single "
                "evaluations is noise",
            ),
            (
                "ICC, one-way",
                f"{_interval(self.one_way, self.one_way_interval)}, with differences between replicates as noise",
            ),
            *([("collapsed", of_rest)] if self.collapsed else []),
            (
                "noise ceiling",
                f"Kendall's tau {kendall_ceiling(self.icc):.2f}, Spearman's rho {spearman_ceiling(self.icc):.2f} "
                "between one evaluation and the true quality",
            ),
            ("tau of two replicates", f"expected {kendall_between_replicates(self.icc):.2f}{tau}"),
            (
                "expected loss",
                f"of choosing the best of {networks}: "
                + ", ".join(f"{loss:.{digits}f} by {n} evaluation{'s' * (n > 1)}" for n, loss in losses),
            ),
            (
                "replicates",
                f"no number gives an ICC of {wanted:g}" if count is None else f"{count} for an ICC of {wanted:g}",
            ),
        ]


def require_noise(history: History, metric: str | None = None) -> Noise:
    """Measure the noise of a search.

    Args:
        history: The trials.
        metric: Name of the metric. If None, the score.

    Returns:
        The noise.

    Raises:
        NASError: If no network was evaluated twice, or the metric is unknown.
    """
    known = sorted({name for trial in history.complete() for name in trial.metrics})
    if metric is not None and metric not in known:
        raise NASError(f"--metric {metric}", f"one of {', '.join(known)}", "name a metric of the trials")
    found = Noise.of(history, metric)
    if found is None:
        networks = len(history.final())
        raise NASError(
            f"a study without replicates ({len(history.complete())} finished trials of {networks} networks)",
            "at least two networks, one of them evaluated twice",
            "search with study.replicates=2 or more, or add study.confirm=3 to the command of this search",
        )
    return found


def _values(history: History, metric: str, budget: int) -> dict[str, dict[int, float]]:
    """Architecture id -> replicate -> value, without undefined values."""
    found: dict[str, dict[int, float]] = {}
    for trial in history.complete():
        value = trial.metrics.get(metric, math.nan)
        if trial.budget == budget and math.isfinite(value):
            found.setdefault(trial.arch.id, {}).setdefault(trial.replicate, value)
    return found


def _lists(rows: Part) -> list[list[float]]:
    return [list(row.values()) for row in rows]


def _measured_tau(rows: Part) -> float:
    """Mean Kendall tau between two replicates over the networks that have both."""
    from scipy.stats import kendalltau  # here, as scipy.stats takes long to import

    found = []
    for first, second in combinations(sorted({replicate for row in rows for replicate in row}), 2):
        pairs = [(row[first], row[second]) for row in rows if first in row and second in row]
        if len(pairs) >= FEW:
            tau = float(kendalltau(*zip(*pairs, strict=True)).statistic)
            found += [] if math.isnan(tau) else [tau]  # undefined if all values of a replicate are equal
    return sum(found) / len(found) if found else math.nan


def _interval(value: float, bounds: tuple[float, float]) -> str:
    return f"{value:.2f} [{bounds[0]:.2f}, {bounds[1]:.2f}]"

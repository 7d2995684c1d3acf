"""Trials of another study as prior knowledge of a search: on other data, with another budget, on the same space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from nas.architecture import Architecture
from nas.errors import NASError
from nas.history import CONFIRMATION, History, State, Trial
from nas.problem import Problem
from nas.space import SearchSpace
from nas.strategies.budget_shifts import shifts
from nas.strategies.ranking import constrained_ranks
from nas.strategies.sampling import accept_all, draw, untried
from nas.trials_table import TrialsTable


class Prior:
    """The finished trials of another study, for strategies that take a `warm_start`.

    Its scores are on another scale, so that only their order is used: as ranks, or as normal scores, which are the
    quantiles of a normal distribution at these ranks. Its score stands for the score of the search whatever their
    names; costs that are known before training are those of the search; other objectives are matched by name. Results
    at smaller budgets of a multi-fidelity search are raised, see `nas.strategies.budget_shifts`.

    Source: Salinas et al., A Quantile-based Approach for Hyperparameter Transfer Learning, ICML 2020 (arXiv
    1909.13595), section 4 (normal scores of each task's results, pooled over tasks).

    Args:
        table: The trials; see `nas.trials_table.read_h5` and `TrialsTable.of`.
        name: Name in messages.

    Raises:
        NASError: If no trial is finished.
    """

    def __init__(self, table: TrialsTable, name: str = "the table") -> None:
        if State.COMPLETE not in table.states:
            raise NASError(f"warm_start={name} without a finished trial", "at least one", "leave out warm_start")
        self.table, self.name = table, name
        self._means = _means(table)

    @property
    def identity(self) -> Mapping[str, str]:
        """Digest of the trials, which a study records instead of their place."""
        return {"trials": self.table.sha256}

    def check(self, problem: Problem) -> None:
        """Check that the trials are of the same space and have the objectives of the search.

        Args:
            problem: Space, task, cost, objectives and constraints.

        Raises:
            NASError: If the space is another one, or an objective is missing.
        """
        own, other = problem.space.fingerprint, self.table.space.fingerprint
        if own != other:
            raise NASError(
                f"warm_start={self.name} of the space {other} for a search of {own}",
                "trials of the same space",
                "restore the arguments of the space, or leave out warm_start",
            )
        history = History((), problem.objectives, problem.cost, problem.cost.metric, (), problem.limiting_costs)
        self._columns(history)

    def _columns(self, history: History) -> dict[str, str | None]:
        """Return the metric of the table for each objective; None for a cost that is known beforehand."""
        known = {history.cost_name, *history.costs}
        own, other = history.score, self._score
        names = {name: None if name in known else other if name == own else name for name in history.objectives}
        for name, column in names.items():
            if column is not None and column not in self.table.metrics:
                raise NASError(
                    f"warm_start={self.name} without {column}, for the objective {name}",
                    f"trials with it; they have {', '.join(sorted(self.table.metrics))}",
                    "leave out the objective, or warm_start",
                )
        return names

    def trials(self, space: SearchSpace, history: History) -> tuple[Trial, ...]:
        """Return the networks as trials of the search, those that break a constraint known beforehand left out.

        Args:
            space: The space.
            history: Objectives, costs and constraints of the search.

        Returns:
            Finished trials with negative numbers, oldest first. Metrics are the means over replicates at the largest
            budget, in the scale of the other study, with the direction of the search. Constraints that are known only
            after training count as kept.
        """
        columns, genes = self._columns(history), [genes for genes, _ in self._means]
        genes_NG = np.array(genes, dtype=np.int64)
        kept_N, known = history.admits(genes_NG), {**history.costs, history.cost_name: history.cost}
        costs = {name: known[name](genes_NG) for name, column in columns.items() if column is None}
        limits = {name: cost(genes_NG) for name, cost in history.costs.items()}
        score_sign = _sign(self.table.objectives, self._score) * history.sign[history.score]
        found = []
        for row, (key, metrics) in enumerate(self._means):
            own = {}
            for name, column in columns.items():
                sign = score_sign if name == history.score else 1.0
                own[name] = float(costs[name][row]) if column is None else sign * metrics.get(column, float("nan"))
            for limit in history.constraints:  # what is known only after a training counts as kept
                own.setdefault(
                    limit.metric, float(limits[limit.metric][row]) if limit.metric in limits else limit.bound
                )
            if kept_N[row] and all(np.isfinite(list(own.values()))):
                arch = space.architecture(key)
                found.append(Trial(row - len(genes), arch, 0, State.COMPLETE, own, finished=float(row - len(genes))))
        return tuple(found)

    @property
    def _score(self) -> str:
        return next(
            (name for name, way in self.table.objectives.items() if way == "maximize"),
            next(iter(self.table.objectives)),
        )

    def best(self, space: SearchSpace, history: History) -> list[Architecture]:
        """Return the networks by Pareto rank, those of one rank by score.

        Args:
            space: The space.
            history: Objectives, costs and constraints of the search.

        Returns:
            Architectures, the best first.
        """
        trials = self.trials(space, history)
        rank_N = constrained_ranks(history.values(trials), np.zeros(len(trials)))
        return [trials[row].arch for row in np.lexsort((-history.scores(trials), rank_N))]

    def next_start(self, space: SearchSpace, history: History) -> Architecture | None:
        """Return the best network that the search has not tried, for its first networks.

        Source: Feurer et al., Initializing Bayesian Hyperparameter Optimization via Meta-Learning, AAAI 2015.

        Args:
            space: The space.
            history: Trials of the search.

        Returns:
            The architecture; None if all were tried.
        """
        return next(iter(untried(space, history, self.best(space, history))), None)

    def on_own_scale(self, space: SearchSpace, history: History) -> tuple[Trial, ...]:
        """Return `trials` with objectives on the scale of the search's results.

        The objectives are normal scores, with the mean and the deviation of the networks of the search; costs known
        beforehand are exact. Until the search has two results, the deviation is that of the other study.

        Args:
            space: The space.
            history: Trials of the search.

        Returns:
            Finished trials in the order of `trials`.
        """
        trials, own = self.trials(space, history), history.final()
        scaled = [dict(trial.metrics) for trial in trials]
        for name, column in self._columns(history).items():
            if column is None or not trials:
                continue
            value_N = np.array([trial.metrics[name] for trial in trials])
            done_M = np.array([trial.metrics[name] for trial in own])
            mean = done_M.mean() if len(done_M) else value_N.mean()
            deviation = (done_M.std() if len(done_M) > 1 else 0.0) or value_N.std()
            for metrics, score in zip(scaled, normal_scores(value_N), strict=True):
                metrics[name] = float(mean + deviation * score)
        return tuple(replace(trial, metrics=metrics) for trial, metrics in zip(trials, scaled, strict=True))


def first_network(
    prior: Prior | None, space: SearchSpace, history: History, rng: np.random.Generator
) -> Architecture | None:
    """Return a network for the beginning of a search: the best untried one of another study, else a random one.

    Args:
        prior: Trials of the other study; None for none.
        space: The space.
        history: Trials of the search.
        rng: Random generator.

    Returns:
        The architecture; None if nothing is left.
    """
    start = None if prior is None else prior.next_start(space, history)
    return draw(space, history, accept_all, rng) if start is None else start


def normal_scores(value_N: np.ndarray) -> np.ndarray:
    """Return the quantiles of the normal distribution at the ranks of values.

    Source: Blom, Statistical Estimates and Transformed Beta-Variables, 1958: rank r of N is at (r - 3/8) / (N + 1/4).

    Args:
        value_N: (N,) values.

    Returns:
        (N,) scores; equal values have the mean of their ranks.
    """
    ordered = np.sort(value_N)
    rank_N = (np.searchsorted(ordered, value_N, "left") + np.searchsorted(ordered, value_N, "right") + 1) / 2
    from scipy.special import ndtri  # here, as scipy takes long to import

    return np.asarray(ndtri((rank_N - 0.375) / (len(value_N) + 0.25)))


def _sign(objectives: Mapping[str, str], name: str) -> float:
    return 1.0 if objectives[name] == "maximize" else -1.0


def _means(table: TrialsTable) -> list[tuple[tuple[int, ...], dict[str, float]]]:
    """Return the metrics of each network, means over its replicates at its largest budget (see `History.replicates`).

    Those of networks with a smaller budget than others are raised as within a multi-fidelity search.
    """
    rows: dict[tuple[int, ...], dict[int, list[int]]] = {}
    for row, (genes, budget, state) in enumerate(
        zip(table.genes_NG.tolist(), table.budgets_N.tolist(), table.states, strict=True)
    ):
        if state is State.COMPLETE:
            rows.setdefault(tuple(genes), {}).setdefault(budget, []).append(row)
    results: dict[int, dict[tuple[int, ...], dict[str, float]]] = {}
    for budget in sorted({budget for own in rows.values() for budget in own}):
        results[budget] = {genes: _mean(table, own[budget]) for genes, own in rows.items() if budget in own}
    added, found = shifts(results), []
    for genes, own in rows.items():
        largest = max(own)
        shift = added.get(largest, {})
        found.append((genes, {name: value + shift.get(name, 0.0) for name, value in results[largest][genes].items()}))
    return found


def _mean(table: TrialsTable, rows: list[int]) -> dict[str, float]:
    chosen = [row for row in rows if table.replicates_N[row] >= CONFIRMATION] or rows
    return {name: float(column[chosen].mean()) for name, column in table.metrics.items()}

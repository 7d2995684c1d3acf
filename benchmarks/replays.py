"""Replayed searches: the choice of a strategy on a table of trained networks, and its true quality.

A search sees one replicate of each network. The true quality of its choice is the mean of another metric, such as the
Dice of the test cases, over the replicates that the search did not see.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from nas.architecture import Architecture
from nas.cost.model import CostModel
from nas.errors import NASError
from nas.history import State, Trial
from nas.multiobjective.constraints import Constraint
from nas.multiobjective.hypervolume import hypervolume
from nas.simulator import Simulation, simulate
from nas.space import SearchSpace
from nas.strategies.base import Strategy
from nas.surrogate import Surrogate
from nas.task_spec import TaskSpec
from nas.trials_table import TrialsTable, read_h5

MOST_TRIALS = 4  # trials per epoch of the budget, which bound a search of the cheapest networks
load = lru_cache(maxsize=2)(read_h5)  # once per process


@dataclass(frozen=True)
class Replay:
    """One replayed search after each of its T trials.

    Attributes:
        cost_T: Cost so far, in whole trainings of average cost.
        best_T: Best score that the search has seen; NaN before the first finished trial.
        true_T: True quality of the network with that score.
        area_T: Hypervolume of the front that the search has found, of true qualities and costs.
        macs_T: MACs of each trained network.
    """

    cost_T: list[float]
    best_T: list[float]
    true_T: list[float]
    area_T: list[float]
    macs_T: list[float]


@dataclass(frozen=True)
class Grounds:
    """Table and surrogate on which searches are replayed.

    Args:
        path: A table of trained networks.
        truth: Values of single cases whose mean is the true quality, such as "test/dice"; None for the score that the
            search sees.
        surrogate: Whether a model fitted to the table stands in for the networks that it lacks.
        window: Lowest and highest MACs of the networks of a search; None for no limits.
        objectives: Objectives of the searches; None for those of the table.
    """

    path: Path
    truth: str | None = None
    surrogate: bool = False
    window: tuple[float, float] | None = None
    objectives: tuple[str, ...] | None = None

    @cached_property
    def table(self) -> TrialsTable:
        """The table; a NASError if it lacks an objective."""
        table = load(self.path)
        kept = self.objectives or tuple(table.objectives)
        known = [name for name in kept if name in table.objectives]
        if known != list(kept) or "maximize" not in [table.objectives[name] for name in known]:
            raise NASError(
                f"objectives {', '.join(kept)}",
                f"some of {', '.join(table.objectives)}, one of them maximised",
                "name objectives of the table",
            )
        return replace(table, objectives={name: table.objectives[name] for name in kept})

    @cached_property
    def seconds(self) -> float:
        """Mean seconds of a whole training."""
        done_N = np.array([state is State.COMPLETE for state in self.table.states])
        return float(self.table.seconds_N[done_N & (self.table.budgets_N == self.epochs)].mean())

    @cached_property
    def epochs(self) -> int:
        """Epochs of a whole training."""
        return int(self.table.budgets_N.max())

    @cached_property
    def space(self) -> SearchSpace:
        """The space of the table."""
        return self.table.space.build()

    @cached_property
    def worst(self) -> float:
        """Lowest quality in the table, from which hypervolumes are measured."""
        return float(np.nanmin(self._qualities))

    @cached_property
    def most_macs(self) -> float:
        """Most MACs in the table; hypervolumes measure costs as shares of it."""
        return float(np.nanmax(self.table.metrics["macs"]))

    @property
    def _qualities(self) -> np.ndarray:
        score = next(name for name, way in self.table.objectives.items() if way == "maximize")
        return self.table.mean_over_cases(self.truth) if self.truth else self.table.metrics[score]

    @cached_property
    def model(self) -> Surrogate:
        """The surrogate, with the noise of replay 0."""
        limits = () if self.window is None else self.window
        named = [Constraint("macs", limit, at_most=bool(number)) for number, limit in enumerate(limits)]
        table = self.table
        if self.truth:
            table = replace(table, metrics={**table.metrics, self.truth: table.mean_over_cases(self.truth)})
        also = (self.truth,) if self.truth else ()
        return Surrogate(table, self._cost, named, {"macs": self._cost} if named else {}, also=also)

    def replay(self, strategy: Strategy, evaluations: int, seed: int, workers: int = 1) -> Replay:
        """Replay a search.

        Args:
            strategy: The strategy.
            evaluations: Cost of the search, in whole trainings of average cost.
            seed: Seed of the search and of what it sees.
            workers: Simulated workers.

        Returns:
            The search after each of its trials.

        Raises:
            NASError: If the strategy cannot run on the table.
        """
        until = evaluations * self.seconds / workers
        most = evaluations * max(self.epochs, 1) * MOST_TRIALS
        if self.surrogate:
            simulation = simulate(strategy, self.model.with_seed(seed), most, seed, workers, until=until)
            return self._measured(simulation, self._expected, workers)
        seen, unseen = split_replicates(self.table, seed)
        simulation = simulate(strategy, seen, most, seed, workers, until=until)
        truths = means_over_trials(unseen, self.truth) if self.truth and len(unseen) else {}
        return self._measured(simulation, lambda arch: truths.get(arch.genes), workers)

    @cached_property
    def _cost(self) -> CostModel:
        shape = self.table.spec["cost"]["input_shape"]
        space = self.table.space.arguments
        task = TaskSpec("segmentation", len(shape) - 1, shape[0], int(space["out_channels"]))
        return CostModel(self.space, task, shape, "macs")

    def _expected(self, arch: Architecture) -> float | None:
        return self.model.expected([arch])[0][self.truth] if self.truth else None

    def _measured(
        self, simulation: Simulation, truth_of: Callable[[Architecture], float | None], workers: int
    ) -> Replay:
        history = simulation.history
        truths: dict[Architecture, float] = {}

        def truth(trial: Trial) -> float:
            if trial.arch not in truths:
                known = truth_of(trial.arch)
                truths[trial.arch] = trial.metrics[history.score] if known is None else known
            return truths[trial.arch]

        ended = sorted((t for t in history if t.state is not State.RUNNING), key=lambda t: (t.finished, t.number))
        true_T: list[float] = []
        area_T: list[float] = []
        front: tuple[Trial, ...] = ()
        for trial in ended:
            if trial.state is State.COMPLETE:
                front = replace(history, records=(*front, trial)).front()
            true_T.append(truth(front[0]) if front else float("nan"))
            points_F2 = np.array([[truth(one), -one.metrics["macs"] / self.most_macs] for one in front]).reshape(-1, 2)
            area_T.append(hypervolume(points_F2, np.array([self.worst, -1.0])))
        macs_T = [trial.metrics.get("macs", float("nan")) for trial in ended]
        cost_T = simulation.time_T * workers / self.seconds
        return Replay(cost_T.tolist(), simulation.best_T.tolist(), true_T, area_T, macs_T)


def interval(values_S: np.ndarray, resamples: int = 1000) -> tuple[float, float]:
    """Return the 95 % interval of a mean over replays, by the bootstrap."""
    rng = np.random.default_rng(0)
    drawn_RS = values_S[rng.integers(len(values_S), size=(resamples, len(values_S)))]
    low, high = np.quantile(drawn_RS.mean(axis=1), (0.025, 0.975))
    return float(low), float(high)


def cost_to_reach(curve_C: np.ndarray, target: float) -> float:
    """Return after how many evaluations a mean curve first reaches a value; infinite if it does not."""
    reached = np.flatnonzero(curve_C >= target)
    return float(reached[0] + 1) if len(reached) else float("inf")


def ratio_to_reach(
    values_SC: np.ndarray, others_SC: np.ndarray, evaluations: int, resamples: int = 300
) -> tuple[float, float, float]:
    """Compare the cost of reaching a quality.

    Args:
        values_SC: Quality of S replays of a strategy after each of C evaluations.
        others_SC: The same of the searches to compare with.
        evaluations: Evaluations of the other searches, whose mean quality is to be reached.
        resamples: Bootstrap samples of replays, for the interval.

    Returns:
        Cost of reaching it as a share of `evaluations`, and its 95 % interval; infinite if it is not reached.
    """

    def ratio(own_SC: np.ndarray, other_SC: np.ndarray) -> float:
        target = float(other_SC.mean(axis=0)[evaluations - 1])
        return cost_to_reach(own_SC.mean(axis=0), target) / evaluations

    rng = np.random.default_rng(0)
    drawn_R = [
        ratio(*(values[rng.integers(len(values), size=len(values))] for values in (values_SC, others_SC)))
        for _ in range(resamples)
    ]
    low, high = np.quantile(drawn_R, (0.025, 0.975), method="nearest")
    return ratio(values_SC, others_SC), float(low), float(high)


def split_replicates(table: TrialsTable, seed: int) -> tuple[TrialsTable, TrialsTable]:
    """Return one replicate of each network, which a search sees as its only one, and the others."""
    numbers = np.unique(table.replicates_N)
    seen_N = table.replicates_N == numbers[seed % len(numbers)]
    seen = table.rows(np.flatnonzero(seen_N))
    return replace(seen, replicates_N=np.zeros_like(seen.replicates_N)), table.rows(np.flatnonzero(~seen_N))


def means_over_trials(table: TrialsTable, truth: str) -> Mapping[tuple[int, ...], float]:
    """Return the mean quality of each network over its trials."""
    values: dict[tuple[int, ...], list[float]] = {}
    for genes, value in zip(map(tuple, table.genes_NG.tolist()), table.mean_over_cases(truth).tolist(), strict=True):
        if value == value:
            values.setdefault(genes, []).append(value)
    return {genes: float(np.mean(each)) for genes, each in values.items()}

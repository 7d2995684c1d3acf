"""Trainings that are stopped when their curve is not expected to reach the front."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Le, Lt
from scipy.special import stdtrit

from nas.history import History, Proposal, Trial
from nas.strategies.fidelity.schedule import EMERGED, Fidelity, begun_at, results_at, rungs
from nas.utils.annotations import PositiveInt
from nas.utils.checked import checked

Chance = Annotated[float, Gt(0), Lt(0.5)]


@checked("fidelity")
class CurveStop(Fidelity):
    """Train each network in steps, until it is unlikely to reach the front at the largest budget.

    The result at the largest budget is predicted as the present one plus the gain of the networks that were trained to
    the end: normal, with their mean and deviation (a prediction interval by Student's t). A training is stopped if a
    feasible network that was trained to the end is better than the upper end of this interval in all objectives; with
    one objective, if the probability of exceeding the best one is below `chance`. Decisions are made when a step ends,
    from what is known by then, and are final.

    Source: the rule is that of Domhan et al., Speeding up Automatic Hyperparameter Optimization by Extrapolation of
    Learning Curves, IJCAI 2015, section 3.3. As its parametric curves need many points, the prediction is fitted to the
    curves of other networks, as in Baker et al., Accelerating Neural Architecture Search using Performance Prediction,
    2017 (arXiv 1705.10823), section 3, in the form "last value plus mean gain", which has one parameter per budget.

    Args:
        eta: Factor between the budgets of two steps, above 1.
        min_budget: Epochs of the first step, at least 1; past the epoch at which all classes are predicted.
        max_budget: Epochs of a complete training, at least `min_budget`.
        full: Networks that are trained to the end before any is stopped, at least 3.
        chance: Probability below which a training is stopped, in (0, 0.5).

    Raises:
        NASError: If a value is out of range.
    """

    def __init__(
        self,
        eta: Annotated[float, Gt(1), Le(1000)] = 1.5,
        min_budget: PositiveInt = EMERGED,
        max_budget: PositiveInt = 81,
        full: Annotated[int, Ge(3), Le(1_000_000)] = 5,
        chance: Chance = 0.05,
    ) -> None:
        self.eta, self.min_budget, self.max_budget, self.full, self.chance = eta, min_budget, max_budget, full, chance
        self.budgets = rungs(eta, min_budget, max_budget)

    def start(self, history: History) -> int:
        """Return the budget of the first step."""
        return self.budgets[0]

    def promotion(self, history: History, *, closed: bool = False) -> Proposal | None:
        """Return the network that continues and has come furthest; of several the one that finished its step first."""
        return next((Proposal(trial.arch, upper) for trial, upper in self._going_on(history)), None)

    def unfinished(self, history: History) -> frozenset[str]:
        """Return the networks that go on."""
        return frozenset(trial.arch.id for trial, _ in self._going_on(history))

    def mean_budget(self, continues: bool) -> float:
        """Return the mean of the epochs of all steps, as if no training were stopped."""
        return sum(self.epochs_run(continues)) / len(self.budgets)

    def _going_on(self, history: History) -> Iterator[tuple[Trial, int]]:
        for lower, upper in reversed(list(pairwise(self.budgets))):
            begun = begun_at(history, upper)
            curves = _Curves.of(history, lower, self.budgets[-1])
            for trial in results_at(history, lower):
                if trial.arch.id not in begun and not self._is_stopped(trial, history, curves):
                    yield trial, upper

    def _is_stopped(self, trial: Trial, history: History, curves: _Curves) -> bool:
        known = curves.before(trial)
        count = len(known.gain_NM)
        if count < self.full:
            return False
        deviation_M = known.gain_NM.std(axis=0, ddof=1) * np.sqrt(1 + 1 / count)
        quantile = float(stdtrit(count - 1, 1 - self.chance))
        best_M = history.values([trial])[0] + known.gain_NM.mean(axis=0) + quantile * deviation_M
        rival_NM = known.last_NM[known.feasible_N]
        return bool(((rival_NM >= best_M).all(axis=1) & (rival_NM > best_M).any(axis=1)).any())


@dataclass(frozen=True)
class _Curves:
    """Networks that were trained to the end, in the order in which they were: results, and gains since a budget."""

    ended: Sequence[tuple[float, int]]
    gain_NM: np.ndarray
    last_NM: np.ndarray
    feasible_N: np.ndarray

    @classmethod
    def of(cls, history: History, budget: int, last: int) -> _Curves:
        at_budget = {trial.arch.id: trial for trial in results_at(history, budget)}
        both = [trial for trial in results_at(history, last) if trial.arch.id in at_budget]
        last_NM = history.values(both)
        gain_NM = last_NM - history.values([at_budget[trial.arch.id] for trial in both])
        return cls([_end(trial) for trial in both], gain_NM, last_NM, history.violations(both) == 0)

    def before(self, trial: Trial) -> _Curves:
        """Return what was known when a trial ended."""
        count = sum(end < _end(trial) for end in self.ended)
        return _Curves(self.ended[:count], self.gain_NM[:count], self.last_NM[:count], self.feasible_N[:count])


def _end(trial: Trial) -> tuple[float, int]:
    return trial.finished, trial.number

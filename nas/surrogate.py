"""A model fitted to a table of trained networks, which stands in for networks that the table lacks."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import kendalltau
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.multioutput import MultiOutputRegressor

from nas.architecture import Architecture
from nas.errors import NASError
from nas.history import CostFunction, History, Proposal, State
from nas.multiobjective.constraints import Constraint
from nas.trials_table import SECONDS, TrialsTable

FOLDS = 10
FEWEST = 20  # networks that a model can be fitted to
OUTLIER = 20  # times the median distance of a training's score from the median of its network: hardly learned
ALIKE = 20  # networks of the table with the most similar prediction, whose deviations a new network may have


@dataclass(frozen=True)
class SurrogateError:
    """How well a surrogate predicts networks that it was not fitted to, by 10-fold cross-validation over networks.

    Args:
        networks: Number of networks.
        rmse: Root mean squared error of the mean over replicates.
        explained: Share of the variance between networks that is predicted, R².
        tau: Kendall's rank correlation of predictions and means.
        noise: Pooled standard deviation of a replicate, without trainings that hardly learned; 0 if there are none.
        unexplained: Standard deviation of what is neither predicted nor noise.
    """

    networks: int
    rmse: float
    explained: float
    tau: float
    noise: float
    unexplained: float


class Surrogate:
    """Predicts the trials of any network of a table's space.

    The mean of each metric over replicates is predicted by gradient boosting of regression trees on the space's
    descriptors; networks of the table have the means of their trainings. A training that hardly learned, with a score
    far from those of the other replicates, is left out of means; it counts as noise that any training may have. Any
    other network has a deviation of its own from the prediction, as large as what the model leaves unexplained in
    cross-validation for the networks whose score it predicts to be nearest, because good networks differ less than bad
    ones. Each replicate has a deviation as large as those of the table. Both are drawn from the deviations in the
    table, for all metrics together, and are the same whenever a network is asked for again. Without the first, a
    strategy that fits a similar model would look better than it is. Trees do not extrapolate: a network is better than
    those of the table by its own deviation alone.

    With curves, each epoch is a budget: the best score so far and the seconds until then, as a training that is stopped
    there would report them.

    Source: surrogate benchmarks, Zela et al., ICLR 2022 (arXiv 2008.09777); boosting: Friedman, Annals of Statistics
    29, 2001.

    Args:
        table: Trained networks; the trials with the largest budget count.
        cost: Cost of any network, (N, G) -> (N,).
        constraints: Limits of the replayed searches.
        costs: Costs that the constraints name, known before training.
        seed: Seed of the noise of replicates; another one for each replayed search.
        also: Metrics of the table that are predicted beside the objectives.

    Attributes:
        space: The space of the table.
        errors: Metric -> error.

    Raises:
        NASError: If the table has too few networks.
    """

    def __init__(
        self,
        table: TrialsTable,
        cost: CostFunction,
        constraints: Sequence[Constraint] = (),
        costs: Mapping[str, CostFunction] | None = None,
        seed: int = 0,
        also: Sequence[str] = (),
    ) -> None:
        self.space, self.objectives = table.space.build(), dict(table.objectives)
        self._cost, self._cost_name = cost, str(table.spec.get("cost", {}).get("metric", "macs"))
        self._constraints, self._costs, self.seed = tuple(constraints), dict(costs or {}), seed
        genes_NG, groups = _networks(table)
        if len(groups) < FEWEST:
            raise NASError(f"a table of {len(groups)} networks", f"at least {FEWEST}", "train more networks")
        columns = {SECONDS: table.seconds_N, **{name: table.metrics[name] for name in (*table.objectives, *also)}}
        self._score = next((name for name in table.objectives if name in table.curves), "")
        self._epochs = table.curves[self._score].shape[1] if self._score else 0
        columns |= _stopped(table, self._score, self._epochs, np.concatenate(groups))
        self.names, values_XM = list(columns), np.column_stack(list(columns.values()))
        self._ordering = self.names.index(self._score or next(iter(table.objectives)))
        outlier_X = _outliers(values_XM[:, self._ordering], groups)
        usual = [rows[~outlier_X[rows]] for rows in groups]
        mean_NM = np.array([values_XM[rows].mean(axis=0) for rows in usual])
        self._noise_RM, usual_R = _deviations(values_XM, groups, mean_NM, outlier_X, table.replicates_N)
        self._known = dict(zip(map(tuple, genes_NG.tolist()), mean_NM, strict=True))
        x_NF = self.space.descriptors([self.space.architecture(genes) for genes in genes_NG.tolist()])
        self._model = _model().fit(x_NF, mean_NM)
        folds = KFold(FOLDS, shuffle=True, random_state=0)
        residual_NM = mean_NM - cross_val_predict(_model(), x_NF, mean_NM, cv=folds)
        variance_M = (self._noise_RM[usual_R] ** 2).mean(axis=0) if len(usual_R) else np.zeros(len(self.names))
        of_means_M = variance_M * np.mean([1 / len(rows) for rows in usual])
        rmse_M = np.sqrt((residual_NM**2).mean(axis=0))
        unexplained_M = rmse_M * _without_noise(residual_NM, of_means_M)
        self._residual_NM, self._of_means_M = residual_NM, of_means_M
        self._predicted_N = (mean_NM - residual_NM)[:, self._ordering]
        self.errors = {
            name: SurrogateError(
                networks=len(groups),
                rmse=float(rmse_M[i]),
                explained=float(1 - residual_NM[:, i].var() / max(mean_NM[:, i].var(), 1e-30)),
                tau=float(kendalltau(mean_NM[:, i], mean_NM[:, i] - residual_NM[:, i]).statistic),
                noise=float(np.sqrt(variance_M[i])),
                unexplained=float(unexplained_M[i]),
            )
            for i, name in enumerate(self.names)
        }

    @property
    def continues(self) -> bool:
        """Whether smaller budgets are parts of one training."""
        return bool(self._epochs)

    def with_seed(self, seed: int) -> Surrogate:
        """Return the same networks with other replicates.

        Args:
            seed: Seed of the noise.

        Returns:
            A copy that shares the model.
        """
        other = copy.copy(self)
        other.seed = seed
        return other

    def history(self) -> History:
        """Return the history of a search that has not begun.

        Returns:
            No trials, with the objectives of the table and the cost and constraints of the surrogate.
        """
        return History((), self.objectives, self._cost, self._cost_name, self._constraints, self._costs)

    def expected(self, archs: Sequence[Architecture]) -> list[dict[str, float]]:
        """Return the metrics of networks without the noise of training.

        Args:
            archs: N networks.

        Returns:
            Metrics by name of each network; "name@epoch" of a training that is stopped there.
        """
        return [dict(zip(self.names, values_M.tolist(), strict=True)) for values_M in self._expected(archs)]

    def outcome(self, proposal: Proposal) -> tuple[float, dict[str, object]]:
        """Return how a trial ends.

        Args:
            proposal: Architecture, budget and replicate.

        Returns:
            Its seconds, and the state and metrics of its record.

        Raises:
            NASError: If the table does not know the results of the trial's budget.
        """
        values_M = self._expected([proposal.arch])[0]
        if len(self._noise_RM):
            purpose = f"noise {self.seed} {proposal.replicate}"
            values_M = values_M + self._noise_RM[_row(proposal.arch, len(self._noise_RM), purpose)]
        every = dict(zip(self.names, np.maximum(values_M, 0).tolist(), strict=True))
        metrics = {name: value for name, value in every.items() if "@" not in name}
        if 0 < proposal.budget < self._epochs:
            if not {f"{self._score}@{proposal.budget}", f"{SECONDS}@{proposal.budget}"} <= every.keys():
                known = sorted(int(name.partition("@")[2]) for name in every if name.startswith(f"{SECONDS}@"))
                raise NASError(
                    f"a training stopped after {proposal.budget} of {self._epochs} epochs",
                    f"an epoch after which the table has {self._score} and seconds of all networks",
                    f"use budgets among {', '.join(map(str, [*known, self._epochs]))}",
                )
            metrics = {name: every[f"{name}@{proposal.budget}"] for name in (self._score, SECONDS)}
            metrics["epochs"] = float(proposal.budget)
        costs = {self._cost_name: self._cost} | self._costs
        genes_NG = np.array([proposal.arch.genes])
        metrics |= {name: float(cost(genes_NG)[0]) for name, cost in costs.items()}
        return metrics[SECONDS], {"state": State.COMPLETE, "metrics": metrics}

    def _expected(self, archs: Sequence[Architecture]) -> np.ndarray:
        """Return what is known of networks (N, M); others are predicted, once."""
        others = [arch for arch in dict.fromkeys(archs) if arch.genes not in self._known]
        if others:
            predicted_NM = self._model.predict(self.space.descriptors(others))
            expected_NM = predicted_NM + np.stack([*map(self._own_deviation, others, predicted_NM)])
            self._known |= zip([arch.genes for arch in others], expected_NM, strict=True)
        return np.stack([self._known[arch.genes] for arch in archs])

    def _own_deviation(self, arch: Architecture, predicted_M: np.ndarray) -> np.ndarray:
        """Draw what a network differs by from its prediction (M,), among the networks with a similar one."""
        apart_N = np.abs(self._predicted_N - predicted_M[self._ordering])
        alike_AM = self._residual_NM[np.argsort(apart_N, kind="stable")[:ALIKE]]
        return np.asarray(alike_AM[_row(arch, len(alike_AM), "own")] * _without_noise(alike_AM, self._of_means_M))


def _without_noise(residual_NM: np.ndarray, noise_M: np.ndarray) -> np.ndarray:
    """Return the factors (M,) that take the variance of noise from residuals."""
    variance_M = (residual_NM**2).mean(axis=0)
    share_M = np.divide(noise_M, variance_M, out=np.ones_like(variance_M), where=variance_M > 0)
    return np.asarray(np.sqrt(np.maximum(1 - share_M, 0)))


def _model() -> MultiOutputRegressor:
    return MultiOutputRegressor(GradientBoostingRegressor(random_state=0))


def _networks(table: TrialsTable) -> tuple[np.ndarray, list[np.ndarray]]:
    """Genes (N, G) of the networks that finished with the largest budget, and the rows of each one's replicates."""
    done_X = np.array([state is State.COMPLETE for state in table.states], dtype=bool)
    if not done_X.any():
        return np.empty((0, table.genes_NG.shape[1]), dtype=np.int64), []
    rows_X = np.flatnonzero(done_X & (table.budgets_N == table.budgets_N[done_X].max()))
    genes_NG, which_X = np.unique(table.genes_NG[rows_X], axis=0, return_inverse=True)
    return genes_NG, [rows_X[which_X.ravel() == number] for number in range(len(genes_NG))]


def _stopped(table: TrialsTable, score: str, epochs: int, done_R: np.ndarray) -> dict[str, np.ndarray]:
    """Best score so far and seconds after each epoch but the last, as "name@epoch" -> (N,), if all R rows have them."""
    if not score:
        return {}
    sign = -1.0 if table.objectives[score] == "minimize" else 1.0
    best_NE = sign * np.fmax.accumulate(sign * table.curves[score].astype(np.float64), axis=1)
    seconds_NE = table.curves[SECONDS].astype(np.float64)
    return {
        f"{name}@{epoch}": values_NE[:, epoch - 1]
        for name, values_NE in ((score, best_NE), (SECONDS, seconds_NE))
        for epoch in range(1, epochs)
        if np.isfinite(values_NE[done_R, epoch - 1]).all()
    }


def _outliers(score_X: np.ndarray, groups: Sequence[np.ndarray]) -> np.ndarray:
    """Trainings (X,) whose score is far from the median of their network.

    Two replicates cannot show that, and neither can a network of which fewer than two trainings would be left.
    """
    apart_X = np.zeros(len(score_X))
    for rows in groups:
        if len(rows) > 2:
            apart_X[rows] = np.abs(score_X[rows] - np.median(score_X[rows]))
    usual = apart_X[apart_X > 0]
    outlier_X = apart_X > OUTLIER * np.median(usual) if len(usual) else apart_X > 0
    for rows in groups:
        if (~outlier_X[rows]).sum() < 2:
            outlier_X[rows] = False
    return outlier_X


def _deviations(
    values_XM: np.ndarray,
    groups: Sequence[np.ndarray],
    mean_NM: np.ndarray,
    outlier_X: np.ndarray,
    replicates_X: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Deviations of replicates from the mean of their network, (R, M), and whether each one is usual, (R,).

    Those of usual trainings, of which the mean is made, are enlarged to the size of a replicate's noise. What all
    networks of a replicate share, such as its validation fold, is no noise of a comparison and is taken off.
    """
    several = [number for number, rows in enumerate(groups) if len(rows) > 1]
    if not several:
        return np.empty((0, values_XM.shape[1])), np.empty(0, dtype=bool)
    rows_R = np.concatenate([groups[number] for number in several])
    deviation_RM = np.concatenate([values_XM[groups[number]] - mean_NM[number] for number in several])
    size_R = np.concatenate([np.full(len(groups[n]), (~outlier_X[groups[n]]).sum()) for n in several])
    usual_R = ~outlier_X[rows_R]
    for replicate in np.unique(replicates_X[rows_R]):
        shared_R = replicates_X[rows_R] == replicate
        deviation_RM[shared_R] -= deviation_RM[shared_R & usual_R].mean(axis=0)
    deviation_RM[usual_R] *= np.sqrt(size_R / (size_R - 1))[usual_R, None]
    return deviation_RM, usual_R


def _row(arch: Architecture, count: int, purpose: str) -> int:
    """Draw a row that depends on the network and the purpose alone."""
    text = f"{purpose}|{' '.join(map(str, arch.genes))}"
    return int.from_bytes(hashlib.blake2s(text.encode(), digest_size=8).digest(), "big") % count

"""Bayesian optimisation with a regression model as the performance predictor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le

from nas.architecture import Architecture
from nas.errors import NASError
from nas.history import History, Proposal, Trial
from nas.space import SearchSpace
from nas.strategies.base import Strategy
from nas.strategies.prior import Prior, normal_scores
from nas.strategies.ranking import best_and_newest, best_first, constrained_ranks
from nas.strategies.regression import Forest, Line, slopes
from nas.strategies.sampling import accept_all, draw, untried
from nas.utils.annotations import AtLeastTwo, OneOf, Strength
from nas.utils.checked import checked

PARENTS = 10  # best finished networks, mutated to candidates
MAX_MUTATIONS = 3  # successive mutations of a candidate
MODELS = ("trees", "linear")


@checked("strategy")
class Predictor(Strategy):
    """Bayesian optimisation with a regression model of the finished trials.

    A proposal is the candidate with the best upper confidence bound, mean + beta * standard deviation. The model is an
    ensemble of bagged, randomised trees on the genes, with the deviation over the trees, or Bayesian ridge regression
    on the descriptors of the space, such as the levels and paths of a DiNTS network.

    Candidates are random samples and mutants of the best networks. Objectives that are costs known before training are
    computed, not predicted. The excess over constraints known only after training is predicted as well, at its lower
    bound. With several objectives, one of the candidates of the best constrained rank is drawn at random, so that
    proposals cover the whole front. Means over replicates are weighted by their precision, the inverse of the variance
    between networks plus that of the noise of the mean.

    Source: White et al., BANANAS, AAAI 2021 (arXiv 1910.11858), sections 4 and 5 (ensemble, acquisition, mutation as
    its optimiser); trees for the networks as in White et al., How Powerful are Performance Predictors in NAS?, NeurIPS
    2021 (arXiv 2104.01177); weights of networks: the random effects model of DerSimonian and Laird, Controlled Clinical
    Trials 7, 1986.

    Args:
        start: Networks sampled at random first, at least 2.
        trees: Number of trees, at least 2.
        beta: Weight of the standard deviation, at least 0.
        candidates: Number of random candidates, and of mutants, at least 1.
        fitted: Maximum number of trials to fit, half of them the best and half the newest of the rest, which bounds
            the time of a proposal. At least `start`.
        model: "trees" or "linear".
        warm_start: Trials of another study. A model is fitted to their normal scores; the own one predicts what is left
            when the search's results are regressed on these (stacked residuals: Golovin et al., Google Vizier, KDD
            2017, section 3.3). There are no random networks first then. None for none.

    Raises:
        NASError: If a value is out of range.
    """

    def __init__(
        self,
        start: AtLeastTwo = 10,
        trees: Annotated[int, Ge(2), Le(10_000)] = 20,
        beta: Strength = 1.0,
        candidates: Annotated[int, Ge(1), Le(1_000_000)] = 100,
        fitted: AtLeastTwo = 300,
        model: Annotated[str, OneOf(*MODELS)] = "trees",
        warm_start: Prior | None = None,
    ) -> None:
        if fitted < start:
            raise NASError(
                f"strategy.fitted={fitted} with strategy.start={start}",
                "fitted of at least start",
                f"set strategy.fitted to {start} or more",
            )
        self.start, self.trees, self.beta, self.candidates, self.fitted = start, trees, beta, candidates, fitted
        self.model, self.warm_start = model, warm_start
        self._prior: tuple[object, Forest | Line | None] | None = None  # cache of `_prior_model`

    @property
    def identity(self) -> Mapping[str, Any]:
        """Facts that a study records; a setting of later versions counts only if it is not the default."""
        return {name: value for name, value in super().identity.items() if (name, value) != ("model", MODELS[0])}

    def propose(self, space: SearchSpace, history: History, rng: np.random.Generator) -> Proposal | None:
        done = history.final()
        ready = len(done) >= self.start or self.warm_start is not None
        candidates = self._candidates(space, history, rng) if ready else []
        if not candidates:
            arch = draw(space, history, accept_all, rng)
            return None if arch is None else Proposal(arch)
        values_NM, excess_N = self._optimistic(space, history, candidates, rng)
        rank_N = constrained_ranks(values_NM, excess_N)
        return Proposal(candidates[int(rng.choice(np.flatnonzero(rank_N == 0)))])

    def _candidates(self, space: SearchSpace, history: History, rng: np.random.Generator) -> list[Architecture]:
        done = history.final()
        parents = [done[row].arch for row in best_first(history, done)[:PARENTS]] if done else []
        archs = [space.sample(rng) for _ in range(self.candidates)]
        if self.warm_start is not None:
            known = self.warm_start.best(space, history)
            parents += known[: PARENTS - len(parents)]
            archs += known[: self.candidates]
        for number in range(self.candidates if parents else 0):
            child = parents[number % len(parents)]
            for _ in range(1 + number % MAX_MUTATIONS):
                child = space.mutate(child, rng)
            archs.append(child)
        return untried(space, history, archs)

    def _optimistic(
        self, space: SearchSpace, history: History, archs: list[Architecture], rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Upper bounds of the objectives (N, M), larger is better, and lower bounds of the excess (N,)."""
        done, seed = best_and_newest(history, self.fitted), int(rng.integers(2**31))
        target_NM = np.column_stack([history.values(done), -history.violations(done)])
        mean_M, scale_M = np.zeros(target_NM.shape[1]), np.ones(target_NM.shape[1])
        if done:
            mean_M, scale_M = target_NM.mean(axis=0), np.maximum(target_NM.std(axis=0), 1e-12)
        value_NM = (target_NM - mean_M) / scale_M
        genes_NG, x_NF = space.encode(archs), self._features(space, archs)
        known_NF = self._features(space, [record.arch for record in done])
        upper_NM = np.zeros((len(archs), len(mean_M)))
        variance_NM = np.zeros_like(upper_NM)
        prior = self._prior_model(space, history)
        if prior is not None:
            before_NM = prior.predict(known_NF)[0] if done else np.zeros((0, len(mean_M) - 1))
            centre_M = before_NM.mean(axis=0) if done else np.zeros(len(mean_M) - 1)
            slope_M = slopes(before_NM - centre_M, value_NM[:, :-1])
            after_NM, deviation_NM = prior.predict(x_NF)
            value_NM[:, :-1] -= slope_M * (before_NM - centre_M)
            upper_NM[:, :-1] += slope_M * (after_NM - centre_M)
            variance_NM[:, :-1] += (slope_M * deviation_NM) ** 2
        if done:
            own = self._fitted(known_NF, value_NM, seed, precisions(history, done))
            predicted_NM, deviation_NM = own.predict(x_NF)
            upper_NM, variance_NM = upper_NM + predicted_NM, variance_NM + deviation_NM**2
        upper_NM = (upper_NM + self.beta * np.sqrt(variance_NM)) * scale_M + mean_M
        values_NM = upper_NM[:, :-1]
        for column, (name, sign) in enumerate(history.sign.items()):
            known = {**history.costs, history.cost_name: history.cost}.get(name)
            if known is not None:
                values_NM[:, column] = sign * known(genes_NG)
        return values_NM, np.maximum(-upper_NM[:, -1], 0.0)

    def _features(self, space: SearchSpace, archs: Sequence[Architecture]) -> np.ndarray:
        return space.descriptors(archs) if self.model == "linear" else space.encode(archs)

    def _fitted(
        self, x_NF: np.ndarray, target_NM: np.ndarray, seed: int, weight_N: np.ndarray | None = None
    ) -> Forest | Line:
        if self.model == "linear":
            return Line(x_NF, target_NM, weight_N)
        return Forest(x_NF, target_NM, self.trees, seed, weight_N)

    def _prior_model(self, space: SearchSpace, history: History) -> Forest | Line | None:
        """Fit the normal scores of the objectives in the other study, larger is better; None without one."""
        if self.warm_start is None:
            return None
        key = (space.fingerprint, tuple(history.objectives.items()), history.constraints)
        if self._prior is None or self._prior[0] != key:
            trials = self.warm_start.trials(space, history)
            model = None
            if trials:
                score_NM = np.column_stack([normal_scores(column_N) for column_N in history.values(trials).T])
                model = self._fitted(self._features(space, [trial.arch for trial in trials]), score_NM, 0)
            self._prior = key, model
        return self._prior[1]


def precisions(history: History, records: Sequence[Trial]) -> np.ndarray | None:
    """Return weights of networks that were evaluated with different numbers of replicates.

    Args:
        history: The study, with all replicates.
        records: N finished trials of different networks, with means over replicates.

    Returns:
        (N,) 1 / (variance between networks + variance between replicates / number of replicates) of the score, with a
        mean of 1; None if all have equal numbers or none has two, so that equal weights are right.
    """
    found = [history.statistic(record, history.score) for record in records]
    count_N = np.array([one.count for one in found])
    if count_N.min() == count_N.max():
        return None
    noise = float(np.nansum([(one.count - 1) * one.deviation**2 for one in found]) / (count_N - 1).sum())
    means_N = np.array([one.mean for one in found])
    between = max(float(means_N.var(ddof=1)) - noise * float((1 / count_N).mean()), 0.0)
    if between + noise == 0:
        return None
    weight_N = 1 / (between + noise / count_N)
    return np.asarray(weight_N / weight_N.mean())

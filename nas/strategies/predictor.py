"""Bayesian optimisation with a regression model as the performance predictor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le

from nas.architecture import Architecture
from nas.errors import NASError
from nas.history import History, Proposal
from nas.space import SearchSpace
from nas.strategies.base import Strategy
from nas.strategies.ranking import best_and_newest, best_first, constrained_ranks
from nas.strategies.regression import predict_by_line, predict_by_trees
from nas.strategies.sampling import accept_all, draw, untried
from nas.utils.annotations import AtLeastTwo, OneOf, Strength
from nas.utils.checked import checked
from nas.utils.identity import described

PARENTS = 10  # best finished networks, mutated to candidates
MAX_MUTATIONS = 3  # successive mutations of a candidate
MODELS = ("trees", "linear")


@checked("strategy")
class Predictor(Strategy):
    """Bayesian optimisation with a regression model of the finished trials.

    A proposal is the candidate with the best upper confidence bound, mean + beta * standard deviation. The model is an
    ensemble of bagged, randomised trees on the genes, whose deviation is that over the trees, or Bayesian ridge
    regression on the descriptors of the space, such as the levels and paths of a DiNTS network.

    Candidates are random samples and mutants of the best networks. Objectives that are costs known before training are
    computed, not predicted. The excess over constraints known only after training is predicted as well, at its lower
    bound. With several objectives, one of the candidates of the best constrained rank is drawn at random, so that
    proposals cover the whole front.

    Source: White et al., BANANAS, AAAI 2021 (arXiv 1910.11858), sections 4 and 5 (ensemble, acquisition, mutation as
    its optimiser); trees for the networks as in White et al., How Powerful are Performance Predictors in NAS?, NeurIPS
    2021 (arXiv 2104.01177).

    Args:
        start: Networks sampled at random first, at least 2.
        trees: Number of trees, at least 2.
        beta: Weight of the standard deviation, at least 0.
        candidates: Number of random candidates, and of mutants, at least 1.
        fitted: Maximum number of trials to fit, half of them the best and half the newest of the rest, which bounds
            the time of a proposal. At least `start`.
        model: "trees" or "linear".

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
    ) -> None:
        if fitted < start:
            raise NASError(
                f"strategy.fitted={fitted} with strategy.start={start}",
                "fitted of at least start",
                f"set strategy.fitted to {start} or more",
            )
        self.start, self.trees, self.beta, self.candidates, self.fitted = start, trees, beta, candidates, fitted
        self.model = model

    @property
    def identity(self) -> Mapping[str, Any]:
        """What a study records; a setting of later versions counts only if it is not the default."""
        return {name: value for name, value in described(self).items() if (name, value) != ("model", MODELS[0])}

    def propose(self, space: SearchSpace, history: History, rng: np.random.Generator) -> Proposal | None:
        done = history.final()
        candidates = self._candidates(space, history, rng) if len(done) >= self.start else []
        if not candidates:
            arch = draw(space, history, accept_all, rng)
            return None if arch is None else Proposal(arch)
        values_NM, excess_N = self._optimistic(space, history, candidates, rng)
        rank_N = constrained_ranks(values_NM, excess_N)
        return Proposal(candidates[int(rng.choice(np.flatnonzero(rank_N == 0)))])

    def _candidates(self, space: SearchSpace, history: History, rng: np.random.Generator) -> list[Architecture]:
        done = history.final()
        parents = [done[row].arch for row in best_first(history, done)[:PARENTS]]
        archs = [space.sample(rng) for _ in range(self.candidates)]
        for number in range(self.candidates):
            child = parents[number % len(parents)]
            for _ in range(1 + number % MAX_MUTATIONS):
                child = space.mutate(child, rng)
            archs.append(child)
        return untried(space, history, archs)

    def _optimistic(
        self, space: SearchSpace, history: History, archs: list[Architecture], rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Upper bounds of the objectives (N, M), larger is better, and lower bounds of the excess (N,)."""
        done = best_and_newest(history, self.fitted)
        target_NM = np.column_stack([history.values(done), -history.violations(done)])
        mean_M, scale_M = target_NM.mean(axis=0), np.maximum(target_NM.std(axis=0), 1e-12)
        tried = [record.arch for record in done]
        mean_NM, deviation_NM = self._predict(space, tried, (target_NM - mean_M) / scale_M, archs, rng)
        upper_NM = (mean_NM + self.beta * deviation_NM) * scale_M + mean_M
        genes_NG = space.encode(archs)
        values_NM = upper_NM[:, :-1]
        for column, (name, sign) in enumerate(history.sign.items()):
            known = {**history.costs, history.cost_name: history.cost}.get(name)
            if known is not None:
                values_NM[:, column] = sign * known(genes_NG)
        return values_NM, np.maximum(-upper_NM[:, -1], 0.0)

    def _predict(
        self,
        space: SearchSpace,
        tried: Sequence[Architecture],
        target_NM: np.ndarray,
        archs: Sequence[Architecture],
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray]:
        if self.model == "linear":
            return predict_by_line(space.descriptors(tried), target_NM, space.descriptors(archs))
        return predict_by_trees(space.encode(tried), target_NM, space.encode(archs), self.trees, rng)

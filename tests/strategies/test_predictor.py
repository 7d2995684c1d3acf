"""The predictor: what it fits, what it computes instead, and what it prefers."""

from __future__ import annotations

import numpy as np

from nas.multiobjective.constraints import Constraint
from nas.strategies.predictor import Predictor
from nas.strategies.random import RandomSearch
from tests.strategies.tables import Grid, empty, hill, play

SPACE = Grid((6, 6, 6), mixed=True)


def archs(count: int = 30):  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(1)
    return [SPACE.sample(rng) for _ in range(count)]


def test_a_cost_is_computed_and_a_score_is_predicted() -> None:
    history = play(RandomSearch(), SPACE, empty(), 40)
    values_NM, excess_N = Predictor(beta=0.0)._optimistic(SPACE, history, archs(), np.random.default_rng(0))
    assert values_NM[:, 1].tolist() == [-float(sum(arch.genes)) for arch in archs()]
    truth_N = np.array([hill(arch.genes)["score"] for arch in archs()])
    assert np.corrcoef(values_NM[:, 0], truth_N)[0, 1] > 0.8
    assert (excess_N == 0).all()


def test_beta_is_optimism() -> None:
    history = play(RandomSearch(), SPACE, empty(), 40)
    bounds = [
        Predictor(beta=beta)._optimistic(SPACE, history, archs(), np.random.default_rng(0))[0][:, 0]
        for beta in (0.0, 1.0, 3.0)
    ]
    assert (bounds[0] <= bounds[1]).all()
    assert (bounds[1] <= bounds[2]).all()
    assert bounds[0].sum() < bounds[2].sum()


def test_a_constraint_known_only_after_training_is_predicted() -> None:
    """Networks with a large first gene are too hot; proposals learn to keep it small, where the score is worse."""

    def metrics(genes: tuple[int, ...]) -> dict[str, float]:
        return {"score": float(genes[0]), "cost": 1.0, "heat": float(genes[0])}

    limits = (Constraint("heat", 2.0),)
    history = play(RandomSearch(), SPACE, empty({"score": "maximize"}, constraints=limits), 60, score=metrics)
    strategy = Predictor(beta=0.5)
    proposals = [strategy.propose(SPACE, history, np.random.default_rng(seed)) for seed in range(12)]
    first = [proposal.arch.genes[0] for proposal in proposals if proposal is not None]
    assert len(first) == 12
    assert np.mean(first) < 2.6
    free = play(RandomSearch(), SPACE, empty({"score": "maximize"}), 60, score=metrics)
    tried = [strategy.propose(SPACE, free, np.random.default_rng(seed)) for seed in range(12)]
    assert np.mean([proposal.arch.genes[0] for proposal in tried if proposal is not None]) > 4


def test_the_whole_front_is_served() -> None:
    history = play(RandomSearch(), SPACE, empty(), 40)
    proposals = [Predictor().propose(SPACE, history, np.random.default_rng(seed)) for seed in range(20)]
    costs = [sum(proposal.arch.genes) for proposal in proposals if proposal is not None]
    assert max(costs) - min(costs) >= 4


def test_a_linear_model_predicts_a_linear_score() -> None:
    def metrics(genes: tuple[int, ...]) -> dict[str, float]:
        return {"score": 2.0 * genes[0] - genes[1] + 0.5 * genes[2], "cost": 1.0}

    history = play(RandomSearch(), SPACE, empty({"score": "maximize"}), 40, score=metrics)
    values_NM, _ = Predictor(beta=0.0, model="linear")._optimistic(SPACE, history, archs(), np.random.default_rng(0))
    truth_N = np.array([metrics(arch.genes)["score"] for arch in archs()])
    assert np.corrcoef(values_NM[:, 0], truth_N)[0, 1] > 0.99


def test_the_identity_of_earlier_studies_is_kept() -> None:
    assert "model" not in Predictor().identity
    assert Predictor(model="linear").identity["model"] == "linear"

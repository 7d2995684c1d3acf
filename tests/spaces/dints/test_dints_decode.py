"""Decoding against brute force, at extreme probabilities, within budgets, and against MONAI's own decode."""

from __future__ import annotations

import itertools
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse.csgraph import dijkstra

from nas.cost.model import CostModel, measured
from nas.cost.profile import profile
from nas.errors import NASError
from nas.supernets.base import Costs
from nas.task_spec import TaskSpec
from search_spaces.dints import DiNTSSpace
from search_spaces.dints.budget import best_near, best_within
from search_spaces.dints.costs import EdgeCosts
from search_spaces.dints.decode import Scores, k_best
from search_spaces.dints.limits import next_best
from search_spaces.dints.monai_code import to_monai
from search_spaces.dints.monai_decode import monai_decode
from search_spaces.dints.paths import best_paths
from search_spaces.dints.topology import lattice
from tests.spaces.dints.oracle import monai_dints, monai_supernet

SPREADS = (0.01, 0.5, 1.0, 2.0, 3.0, 4.0)


def draw(space: DiNTSSpace, spread: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    shape = (space.num_blocks, space.lattice.edges)
    return spread * rng.standard_normal(shape), spread * rng.standard_normal((*shape, len(space.operations)))


def scores_of(space: DiNTSSpace, spread: float, seed: int) -> Scores:
    return Scores.of(space.lattice, *draw(space, spread, seed))


def block_costs(space: DiNTSSpace, metric: str, sides: tuple[int, ...]) -> dict[str, float]:
    arch = space.sample(np.random.default_rng(0))
    vocabulary, _ = space.blocks(space.encode([arch]), sides)
    return {block.key: getattr(profile(block.build(), (1, *block.input_shape)), metric) for block in vocabulary}


@cache
def feasible(blocks: int, depths: int) -> list[tuple[int, ...]]:
    """Every sequence of patterns, tried one by one."""
    tables = lattice(depths)
    tried = itertools.product(range(len(tables.patterns_NE)), repeat=blocks)
    return [rows for rows in tried if tables.is_feasible(tables.patterns_NE[list(rows)])]


@pytest.mark.parametrize(("blocks", "depths"), [(1, 2), (3, 2), (2, 3), (4, 1)])
@pytest.mark.parametrize("spread", [0.5, 5.0, 50.0])
def test_the_best_and_the_k_best_topologies_are_those_of_brute_force(blocks: int, depths: int, spread: float) -> None:
    space = DiNTSSpace(blocks, depths, 0.125)
    tables = space.lattice
    for seed in range(5):
        scores = scores_of(space, spread, seed)
        every = feasible(blocks, depths)
        totals = np.sort(scores.patterns_BN[np.arange(blocks), np.array(every)].sum(axis=1))[::-1]
        assert k_best(scores, 1)[0][1] == pytest.approx(totals[0])
        for k in (1, 7, 100):
            found = best_paths(tables, scores.patterns_BN, k)
            np.testing.assert_allclose([score for _, score in found], totals[:k], rtol=1e-12, atol=1e-12)
            assert len({rows_B.tobytes() for rows_B, _ in found}) == len(found)
            assert all(tables.is_feasible(tables.patterns_NE[rows_B]) for rows_B, _ in found)


def every_architecture(space: DiNTSSpace) -> np.ndarray:
    """(M, B, E) operations of all, one topology after the other."""
    every = []
    for rows_B in space.lattice.every_topology(space.num_blocks):
        on_BE = space.lattice.patterns_NE[rows_B]
        choices = np.indices((len(space.operations),) * int(on_BE.sum())).reshape(int(on_BE.sum()), -1).T
        tables_MBE = np.full((len(choices), *on_BE.shape), -1)
        tables_MBE[:, on_BE] = choices
        every.append(tables_MBE)
    return np.concatenate(every)


def scores_by_hand(space: DiNTSSpace, scores: Scores, all_MBE: np.ndarray) -> np.ndarray:
    score_M = np.zeros(len(all_MBE))
    for block in range(space.num_blocks):
        score_M += scores.patterns_BN[block, space.lattice.number_of(all_MBE[:, block] >= 0)]
        for e in range(space.lattice.edges):
            ratios_K = np.append(scores.operations_BEK[block, e], 0.0)  # the last stands for an edge that is off
            score_M += ratios_K[all_MBE[:, block, e]]
    return score_M


def few_operations(blocks: int, depths: int, dims: int) -> DiNTSSpace:
    few = ("skip", "3x3x3", "3x3x1") if dims == 3 else None  # brute force over all five would take minutes
    return DiNTSSpace(blocks, depths, 0.125, spatial_dims=dims, operations=few)


@pytest.mark.parametrize(("blocks", "depths", "dims"), [(2, 2, 3), (3, 2, 2), (1, 3, 2), (1, 1, 3)])
@pytest.mark.parametrize("spread", [0.05, 1.0, 20.0])
def test_the_k_best_architectures_are_those_of_brute_force(blocks: int, depths: int, dims: int, spread: float) -> None:
    space = few_operations(blocks, depths, dims)
    all_MBE = every_architecture(space)
    for seed in range(3):
        alpha_BE, alpha_BEK = draw(space, spread, seed)
        scores = Scores.of(space.lattice, alpha_BE, alpha_BEK[:, :, : len(space.operations)])
        ranked = np.sort(scores_by_hand(space, scores, all_MBE))[::-1]
        for k in (1, 2, 9, 200):
            found = k_best(scores, k)
            np.testing.assert_allclose([score for _, score in found], ranked[:k], rtol=1e-9, atol=1e-9)
            assert len({table_BE.tobytes() for table_BE, _ in found}) == len(found)
            for table_BE, score in found:
                assert space.lattice.is_feasible(table_BE >= 0)
                assert scores.of_table(table_BE) == pytest.approx(score, abs=1e-9)


def test_log_probabilities_are_exact_and_finite_at_any_alpha() -> None:
    space = DiNTSSpace(3, 3, 0.125)
    alpha_BE, alpha_BEK = draw(space, 1.0, 0)
    for shift in (0.0, -30.0, -2000.0, 2000.0, 1e6):
        scores = Scores.of(space.lattice, alpha_BE + shift, alpha_BEK)
        assert np.isfinite(scores.patterns_BN).all()
        np.testing.assert_allclose(np.exp(scores.patterns_BN).sum(axis=1), 1.0, rtol=1e-9)
    on_BE = 1 / (1 + np.exp(-alpha_BE))[:, None]
    product_BN = np.where(space.lattice.patterns_NE, on_BE, 1 - on_BE).prod(axis=2)
    expected_BN = product_BN / (1 - (1 - on_BE).prod(axis=2))
    found = Scores.of(space.lattice, alpha_BE, alpha_BEK)
    np.testing.assert_allclose(np.exp(found.patterns_BN), expected_BN, rtol=1e-12)


def costs_by_hand(costs: EdgeCosts, all_MBE: np.ndarray) -> np.ndarray:
    tables = costs.lattice
    edge_M = np.where(all_MBE >= 0, costs.edge_EK[np.arange(tables.edges), all_MBE], 0.0).sum(axis=(1, 2))
    first_M = tables.state_of(all_MBE[:, 0] >= 0, tables.sources_E)
    last_M = tables.state_of(all_MBE[:, -1] >= 0, tables.targets_E)
    return edge_M + costs.start_S[first_M] + costs.end_S[last_M]


@pytest.mark.parametrize(("blocks", "depths", "dims"), [(2, 2, 3), (3, 2, 2), (1, 3, 2)])
@pytest.mark.parametrize("metric", ["macs", "params", "bytes"])
def test_the_best_within_a_budget_is_that_of_brute_force(blocks: int, depths: int, dims: int, metric: str) -> None:
    space = few_operations(blocks, depths, dims)
    costs = EdgeCosts.of_blocks(space.lattice, space.operations, block_costs(space, metric, (16,) * dims))
    tables = space.lattice
    all_MBE = every_architecture(space)
    cost_M = costs_by_hand(costs, all_MBE)
    assert costs.of(all_MBE[-1]) == cost_M[-1]
    for seed in range(6):
        scores = scores_of(space, (0.5, 2.0, 8.0)[seed % 3], seed)
        score_M = scores_by_hand(space, scores, all_MBE)
        for quantile in (0.0, 0.001, 0.01, 0.1, 0.5, 1.0):
            budget = float(np.quantile(cost_M, quantile, method="lower"))
            table_BE, score = best_within(scores, costs, budget)
            assert tables.is_feasible(table_BE >= 0)
            assert costs.of(table_BE) <= budget
            assert score == pytest.approx(score_M[cost_M <= budget].max(), rel=1e-9, abs=1e-9)
    with pytest.raises(NASError, match=f"at least {cost_M.min():.12g}, the cost of the smallest"):
        best_within(scores, costs, cost_M.min() - 1)


@pytest.mark.parametrize(("blocks", "depths", "dims"), [(2, 2, 3), (3, 2, 2), (1, 3, 2)])
def test_the_next_best_within_limits_are_those_of_brute_force(blocks: int, depths: int, dims: int) -> None:
    """Where the price proves it, here nearly always; in any case they keep the limits and differ."""
    space = few_operations(blocks, depths, dims)
    costs = EdgeCosts.of_blocks(space.lattice, space.operations, block_costs(space, "macs", (16,) * dims))
    all_MBE = every_architecture(space)
    cost_M = costs_by_hand(costs, all_MBE)
    equal = asked = 0
    for seed in range(6):
        scores = scores_of(space, (0.5, 2.0, 8.0)[seed % 3], seed)
        score_M = scores_by_hand(space, scores, all_MBE)
        for low, high in ((-np.inf, 0.1), (-np.inf, 0.6), (0.3, 0.4), (0.7, 0.9), (-np.inf, 1.0)):
            most = float(np.quantile(cost_M, high))
            least = -np.inf if low == -np.inf else float(np.quantile(cost_M, low))
            found = next_best(scores, costs, 5, least, most)
            assert len({table_BE.tobytes() for table_BE, _ in found}) == len(found) == 5
            for table_BE, score in found:
                assert least <= costs.of(table_BE) <= most
                assert score == pytest.approx(scores.of_table(table_BE))
            best = np.sort(score_M[(cost_M >= least) & (cost_M <= most)])[::-1][:5]
            asked += 1
            equal += np.allclose([score for _, score in found], best, rtol=1e-9, atol=1e-9)
    assert equal >= 0.9 * asked
    assert next_best(scores, costs, 5, -np.inf, cost_M.min() - 1) == []
    assert next_best(scores, costs, 5, cost_M.max() + 1, np.inf) == []


@pytest.mark.parametrize("share", [0.4, 0.6, 0.8, 1.3, 1.8])
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_the_best_near_a_target_is_near_it(share: float, seed: int) -> None:
    """Cheaper and dearer than what is most probable; and as good as the best of all that cost at most as much."""
    space = DiNTSSpace(6, 3, 0.125)
    costs = EdgeCosts.of_blocks(space.lattice, space.operations, block_costs(space, "macs", (32, 32, 32)))
    scores = scores_of(space, 2.0, seed)
    ((free_BE, best),) = k_best(scores, 1)
    target = share * costs.of(free_BE)
    table_BE, score = best_near(scores, costs, target)
    assert space.lattice.is_feasible(table_BE >= 0)
    assert costs.of(table_BE) == pytest.approx(target, rel=0.1)
    assert score == pytest.approx(scores.of_table(table_BE))
    assert score <= best
    if share < 1:
        assert score == best_within(scores, costs, 1.1 * target)[1]
    for budget in (target, 0.8 * target):
        table_BE, _ = best_near(scores, costs, target, budget)
        assert costs.of(table_BE) <= budget


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["macs", "params", "bytes", "training_bytes"])
def test_budgets_of_the_published_space(metric: str) -> None:
    """Found in seconds at (12, 4), within the budget by the cost of the network as a whole, and better for more."""
    space = DiNTSSpace()
    supernet = space.supernet()
    cost = CostModel(space, TaskSpec("segmentation"), (1, 64, 64, 64), metric)
    costs = Costs(cost, cost.of_blocks())
    with torch.no_grad():
        supernet.relaxation.alpha_edges_BE.normal_(0, 2)
        supernet.relaxation.alpha_operations_BEK.normal_(0, 2)
    free = supernet.decode()[0]
    spent = cost.of(free.arch)
    last = -np.inf
    for share in (0.3, 0.5, 0.8, 1.0):
        (found,) = supernet.decode(costs=costs, budget=share * spent)
        with torch.device("meta"):
            network = space.build(found.arch)
        assert measured(network, (1, 64, 64, 64), metric)[metric] == cost.of(found.arch) <= share * spent
        assert found.score > last
        last = found.score
    assert (found.arch, found.score) == (free.arch, pytest.approx(free.score))


@cache
def monai_topology(blocks: int, depths: int) -> torch.nn.Module:
    return monai_supernet(DiNTSSpace(blocks, depths, 1 / 16)).dints_space


TEXTS: dict[tuple[str, tuple[int, ...], bytes], str] = {}


def text_of(value: Any) -> str:
    """`str`, once for each array: MONAI's decode asks for the texts of the same patterns 250,000 times."""
    if not isinstance(value, np.ndarray):
        return str(value)
    key = (value.dtype.str, value.shape, value.tobytes())
    if key not in TEXTS:
        TEXTS[key] = str(value)
    return TEXTS[key]


@pytest.mark.parametrize(
    ("blocks", "depths", "number"),
    [
        *((4, 3, number) for number in range(len(SPREADS))),
        *(pytest.param(6, 4, number, marks=pytest.mark.slow) for number in (0, 3)),  # the depth of the published space
    ],
)
def test_cost_and_path_are_those_of_monais_own_decode(
    blocks: int, depths: int, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MONAI returns the path only; the cost is what the solver that it calls gives for the last node of its graph."""
    space, monai = DiNTSSpace(blocks, depths, 1 / 16), monai_topology(blocks, depths)
    alpha_BE, alpha_BEK = draw(space, SPREADS[number], number)
    with torch.no_grad():
        monai.log_alpha_a.copy_(torch.from_numpy(alpha_BE))
        monai.log_alpha_c.copy_(torch.from_numpy(alpha_BEK))
    distances = []

    def spy(*arguments: Any, **options: Any) -> Any:
        found = dijkstra(*arguments, **options)
        distances.append(found[0][-1])
        return found

    monkeypatch.setattr(monai_dints, "dijkstra", spy)
    monkeypatch.setattr(monai_dints, "str", text_of, raising=False)
    node_BD, on_BE, operations_BE, _ = monai.decode()
    table_BE, cost = monai_decode(space.lattice, alpha_BE, alpha_BEK.astype(np.float32))
    assert [cost] == distances
    np.testing.assert_array_equal(table_BE, np.where(on_BE > 0, operations_BE, -1))
    np.testing.assert_array_equal(to_monai(space, space.from_table(table_BE))["node_a"].numpy(), node_BD)


def test_monais_floor_misses_the_most_probable_path() -> None:
    """Why it is not the default: with sharp probabilities its path is far less probable than the best one."""
    space = DiNTSSpace()
    alpha_BE, alpha_BEK = draw(space, 10.0, 0)
    scores = Scores.of(space.lattice, alpha_BE, alpha_BEK)
    table_BE, _ = monai_decode(space.lattice, alpha_BE, alpha_BEK)
    assert scores.of_table(table_BE) < k_best(scores, 1)[0][1] - 1


def test_decode_through_the_supernet() -> None:
    space = DiNTSSpace(4, 3, 1 / 16)
    supernet = space.supernet()
    found = supernet.decode(k=5)
    assert [item.score for item in found] == sorted((item.score for item in found), reverse=True)
    assert len({item.arch.id for item in found}) == 5
    assert space.architecture(supernet.decode(how="monai")[0].arch.genes)
    with pytest.raises(NASError, match="decode with"):
        supernet.decode(k=2, how="monai")
    with pytest.raises(NASError, match="costs"):
        supernet.decode(budget=1.0)

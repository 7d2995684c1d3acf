"""Probabilities, regularisers and the expected cost: MONAI's values and gradients, and what holds at any alpha."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from nas.cost.profile import profile
from nas.errors import NASError
from nas.supernets.base import Costs
from search_spaces.dints import DiNTSSpace
from search_spaces.dints.costs import EdgeCosts
from search_spaces.dints.monai_decode import MONAI_FLOOR
from search_spaces.dints.relaxation import Relaxation
from search_spaces.dints.topology import lattice
from tests.spaces.dints.oracle import monai_supernet


def relaxation(depths: int, blocks: int, spread: float, operations: int = 5) -> Relaxation:
    found = Relaxation(lattice(depths), blocks, operations).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for alpha in found.parameters():
            alpha.copy_(spread * torch.randn(alpha.shape, generator=generator, dtype=torch.float64))
    return found


def pattern_log_probs(found: Relaxation) -> torch.Tensor:
    """(B, N): of every set of edges, given that it is not empty; all 2 ** E - 1 of them."""
    depths = found.levels_DS.shape[0]
    patterns_NE = torch.from_numpy(lattice(depths).patterns_NE).to(found.alpha_edges_BE)
    return (found.alpha_edges_BE @ patterns_NE.T).log_softmax(dim=1)


def gradients(value: torch.Tensor, *parameters: torch.Tensor) -> list[torch.Tensor]:
    found = torch.autograd.grad(value, parameters, allow_unused=True, retain_graph=True)
    return [torch.zeros_like(p) if grad is None else grad for p, grad in zip(parameters, found, strict=True)]


@pytest.mark.parametrize(("depths", "blocks"), [(3, 6), (4, 12)])
@pytest.mark.parametrize("spread", [0.01, 1.0, 3.0])
def test_regularisers_have_monais_values_and_gradients(depths: int, blocks: int, spread: float) -> None:
    space = DiNTSSpace(blocks, depths, 1 / 16)
    ours, theirs = relaxation(depths, blocks, spread), monai_supernet(space).dints_space.double()
    with torch.no_grad():
        theirs.log_alpha_a.copy_(ours.alpha_edges_BE)
        theirs.log_alpha_c.copy_(ours.alpha_operations_BEK)
    probs_BN, edges_BE = theirs.get_prob_a(child=True)
    log_operations = theirs.log_alpha_c.log_softmax(dim=-1)
    now, usage = ours.marginals(), _monai_memory(space, theirs)
    own_BN = pattern_log_probs(ours).exp()
    pairs = {
        "edges": (now.edge_probs().square().sum(), edges_BE.square().sum()),
        "sets of edges": (own_BN.square().sum(), probs_BN.square().sum()),
        # MONAI adds 1e-5 to each probability; ours, without, is that of the definition
        "edge entropy": (now.edge_entropy(), -(probs_BN * probs_BN.log()).mean()),
        "operation entropy": (now.operation_entropy(), -(log_operations.exp() * log_operations).mean()),
        "topology": (now.topology_loss(MONAI_FLOOR), theirs.get_topology_entropy(probs_BN)),
        "memory": (now.expected_cost(usage), theirs.get_ram_cost_usage((1, 1, 64, 64, 64))),
    }
    for name, (mine, other) in pairs.items():
        tolerance = 1e-5 if name == "memory" else 1e-9  # MONAI computes the memory in float32
        torch.testing.assert_close(mine, other, rtol=tolerance, atol=tolerance, check_dtype=False, msg=name)
        mine_grads = gradients(mine, ours.alpha_edges_BE, ours.alpha_operations_BEK)
        other_grads = gradients(other, theirs.log_alpha_a, theirs.log_alpha_c)
        for one, two in zip(mine_grads, other_grads, strict=True):
            torch.testing.assert_close(one, two, rtol=10 * tolerance, atol=tolerance, check_dtype=False, msg=name)


def _monai_memory(space: DiNTSSpace, theirs: torch.nn.Module) -> EdgeCosts:
    """MONAI's estimate in MB as costs of ours: (1 + factor of the operation) * size of the output."""
    sizes_D = np.array([theirs.filter_nums[d] * (64 // 2**d) ** 3 for d in range(space.num_depths)]) / 2
    factor_EK = 1 + np.array(theirs.ram_cost[0])
    none_S = np.zeros(space.lattice.states)
    return EdgeCosts(space.lattice, factor_EK * sizes_D[space.lattice.targets_E][:, None] * 4 / 1024**2, none_S, none_S)


@pytest.mark.parametrize("depths", [1, 2, 3, 4])
def test_probabilities_of_states_and_edges_are_sums_over_patterns(depths: int) -> None:
    found, tables = relaxation(depths, 5, 2.0), lattice(depths)
    probs_BN = pattern_log_probs(found).exp().detach().numpy()
    now = found.marginals()
    for states_BS, states_N in ((now.read_BS, tables.entered_N), (now.left_BS, tables.left_N)):
        for state in range(tables.states):
            summed_B = probs_BN[:, states_N == state].sum(axis=1)
            np.testing.assert_allclose(states_BS[:, state].detach().numpy(), summed_B, rtol=1e-9)
    np.testing.assert_allclose(now.edge_probs().detach().numpy(), probs_BN @ tables.patterns_NE, rtol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [-1e4, -200.0, -18.0, 18.0, 200.0, 1e4])
def test_everything_is_finite_at_any_alpha(value: float, dtype: torch.dtype) -> None:
    """MONAI's probabilities are 0 / 0 where all alphas of a block are below about -18."""
    space = DiNTSSpace(3, 3, 1 / 16)
    found = Relaxation(space.lattice, 3, 5).to(dtype)
    signs = torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0, 1.0, -1.0], dtype=dtype)
    for pattern in (torch.ones(7, dtype=dtype), signs):
        with torch.no_grad():
            found.alpha_edges_BE.copy_((value * pattern).expand(3, 7))
            found.alpha_operations_BEK[..., 0] = value
        costs = EdgeCosts(space.lattice, np.ones((7, 5)), np.ones(7), np.ones(7))
        now = found.marginals()
        for term in (now.edge_entropy(), now.operation_entropy(), now.topology_loss(), now.expected_cost(costs)):
            assert term.isfinite()
            for grad in gradients(term, found.alpha_edges_BE, found.alpha_operations_BEK):
                assert grad.isfinite().all()
        torch.testing.assert_close(now.read_BS.sum(dim=1), torch.ones(3, dtype=dtype))
        assert ((now.edge_probs() >= 0) & (now.edge_probs() <= 1 + 1e-6)).all()


def test_regularisers_vanish_at_one_feasible_architecture_only() -> None:
    space = DiNTSSpace(4, 3, 1 / 16)
    supernet = space.supernet()
    before = supernet.regularisers()
    assert set(before) == {"edge_entropy", "operation_entropy", "topology"}
    on_BE = torch.from_numpy(space.table(space.sample(np.random.default_rng(0)).genes) >= 0)
    with torch.no_grad():
        supernet.relaxation.alpha_operations_BEK[..., 1] = 100.0
        supernet.relaxation.alpha_edges_BE.copy_(torch.where(on_BE, 60.0, -60.0))
    assert all(term.item() == pytest.approx(0, abs=1e-5) for term in supernet.regularisers().values())
    assert all(term.item() > 0 for term in before.values())
    with torch.no_grad():
        supernet.relaxation.alpha_edges_BE[1] = -60.0 * torch.sign(supernet.relaxation.alpha_edges_BE[1])
    assert supernet.regularisers()["topology"].item() > 10


@pytest.mark.parametrize("metric", ["macs", "params", "bytes"])
def test_the_expected_cost_is_the_mean_over_all_choices(metric: str) -> None:
    """One block of two levels with two operations: 15 sets of edges, each with all operations, by their probability."""
    space = DiNTSSpace(1, 2, 1 / 16, spatial_dims=2)
    vocabulary, _ = space.blocks(space.encode([space.sample(np.random.default_rng(0))]), (16, 16))
    costs = {block.key: float(getattr(profile(block.build(), (1, *block.input_shape)), metric)) for block in vocabulary}
    supernet = space.supernet().double()
    with torch.no_grad():
        for alpha in supernet.architecture_parameters().values():
            alpha.normal_(0, 1)
    edge_costs = EdgeCosts.of_blocks(space.lattice, space.operations, costs)
    patterns_N = pattern_log_probs(supernet.relaxation)[0].exp().detach().numpy()
    operations_EK = supernet.relaxation.marginals().operation_BEK[0].detach().numpy()
    mean = 0.0
    for row, on_E in enumerate(space.lattice.patterns_NE):
        for chosen in itertools.product(range(2), repeat=int(on_E.sum())):
            table_BE = np.full((1, space.lattice.edges), -1)
            table_BE[0, on_E] = chosen
            share = patterns_N[row] * operations_EK[on_E, chosen].prod()
            mean += share * edge_costs.of(table_BE)
    stated = Costs(lambda genes_NG: np.array([edge_costs.of(space.table(genes)) for genes in genes_NG]), costs)
    assert supernet.expected_cost(stated).item() == pytest.approx(mean, rel=1e-6)
    grads = gradients(supernet.expected_cost(stated), *supernet.architecture_parameters().values())
    assert all(grad.abs().sum() > 0 for grad in grads), "edges and operations are both steered"
    terms, cost = supernet.regularisers_and_cost(stated)
    assert cost.item() == supernet.expected_cost(stated).item()
    assert terms == supernet.regularisers()
    with pytest.raises(NASError, match="costs without"):
        supernet.expected_cost(replace(stated, of_blocks={"final": 1.0}))

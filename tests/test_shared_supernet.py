"""The supernet of any space: draws, decoding and estimated gradients, against what a small space says exactly."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import nn

from nas.architecture import Architecture, Gene
from nas.errors import NASError
from nas.space import SearchSpace
from nas.supernets.base import Costs
from nas.supernets.shared import SharedSupernet
from nas.task_spec import TaskSpec


class Chains(SearchSpace):
    """One to three convolutions of 2 or 4 channels; the widths of layers that are not there are 2."""

    def __init__(self) -> None:
        self.genes = (Gene("depth", (1, 2, 3)), *(Gene(f"width{n}", (2, 4)) for n in range(3)))

    def repair(self, genes: Sequence[int]) -> Architecture:
        depth, *widths = super().repair(genes).genes
        return self._issue([depth, *(width if n <= depth else 0 for n, width in enumerate(widths))])

    def build(self, arch: Architecture, task: TaskSpec | None = None) -> nn.Module:
        depth, *widths = self.values(arch)
        layers: list[nn.Module] = []
        channels = 1
        for width in widths[: int(depth)]:
            layers += [nn.Conv3d(channels, int(width), 1), nn.BatchNorm3d(int(width)), nn.ReLU()]
            channels = int(width)
        return nn.Sequential(*layers, nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(channels, 2))


def cost(genes_NG: np.ndarray) -> np.ndarray:
    return (genes_NG * [4.0, 1.0, 2.0, 3.0]).sum(axis=1) + 1


@pytest.fixture
def supernet() -> SharedSupernet:
    torch.manual_seed(0)
    found = SharedSupernet(Chains())
    with torch.no_grad():
        for alpha in found.alphas:
            alpha.normal_()
    return found


def every(supernet: SharedSupernet) -> dict[Architecture, tuple[float, float]]:
    """Architecture -> the largest log-probability of a gene vector repaired to it, and its whole probability."""
    logs = [alpha.detach().double().log_softmax(0) for alpha in supernet.alphas]
    found: dict[Architecture, tuple[float, float]] = {}
    for genes in itertools.product(*(range(len(log)) for log in logs)):
        score = float(sum(log[gene] for log, gene in zip(logs, genes, strict=True)))
        arch = supernet.space.repair(genes)
        largest, total = found.get(arch, (-np.inf, 0.0))
        found[arch] = (max(largest, score), total + np.exp(score))
    return found


def test_decoding_gives_the_most_probable_ones(supernet: SharedSupernet) -> None:
    known = every(supernet)
    ranked = sorted(known, key=lambda arch: -known[arch][0])
    found = supernet.decode(k=len(ranked) + 5)
    assert [one.arch for one in found] == ranked
    assert [one.score for one in found] == pytest.approx([known[arch][0] for arch in ranked])
    costs = Costs(cost)
    for budget in (1.0, 4.0, 9.0):
        fitting = [arch for arch in ranked if cost(np.array([arch.genes]))[0] <= budget]
        assert [one.arch for one in supernet.decode(5, costs, budget)] == fitting[:5]
    target = float(cost(np.array([ranked[4].genes]))[0])
    near = [arch for arch in ranked if cost(np.array([arch.genes]))[0] == pytest.approx(target, rel=0.1)]
    assert [one.arch for one in supernet.decode(3, costs, target=target)] == near[:3]
    with pytest.raises(NASError, match=r"strategy.budget=0.5; expected at least 1"):
        supernet.decode(costs=costs, budget=0.5)


def test_the_expected_cost_and_its_gradient_are_right_on_average(supernet: SharedSupernet) -> None:
    """The mean of many estimates against the exact sum over all gene vectors and its derivative."""
    logs = [alpha.log_softmax(0) for alpha in supernet.alphas]
    exact = torch.zeros(())
    for genes in itertools.product(*(range(len(log)) for log in logs)):
        share = torch.stack([log[gene] for log, gene in zip(logs, genes, strict=True)]).sum().exp()
        exact = exact + share * float(cost(np.array([supernet.space.repair(genes).genes]))[0])
    wanted = torch.autograd.grad(exact, list(supernet.alphas))
    values, sums = [], [torch.zeros_like(alpha) for alpha in supernet.alphas]
    for _ in range(600):
        estimate = supernet.expected_cost(Costs(cost))
        values.append(estimate.item())
        for total, gradient in zip(sums, torch.autograd.grad(estimate, list(supernet.alphas)), strict=True):
            total += gradient / 600
    assert np.mean(values) == pytest.approx(exact.item(), rel=0.05)
    for found, gradient in zip(sums, wanted, strict=True):
        torch.testing.assert_close(found, gradient, atol=0.12, rtol=0.0)


def test_probabilities_move_towards_what_loses_less(supernet: SharedSupernet) -> None:
    """A loss that depends on the depth alone: after some steps the decoded depth is that of the least loss."""
    optimiser = torch.optim.Adam(supernet.alphas, lr=0.2)
    x = torch.randn(2, 1, 4, 4, 4)
    for _ in range(80):
        supernet(x)
        drawn = supernet.space.values(supernet.last)[0]
        loss = supernet.architecture_loss(torch.tensor(abs(float(drawn) - 2)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert supernet.space.values(supernet.decode()[0].arch)[0] == 2


def test_weights_are_shared_by_name_and_shape(supernet: SharedSupernet) -> None:
    space, x = supernet.space, torch.randn(2, 1, 4, 4, 4)
    with torch.inference_mode():
        supernet.eval()(x)  # the first to need some of the weights
    supernet.train()
    for _ in range(40):
        supernet(x).square().sum().backward()
    narrow, wide = space.architecture((0, 0, 0, 0)), space.architecture((1, 0, 1, 0))
    first, second = supernet.eval().subnetwork(narrow), supernet.subnetwork(wide)
    assert torch.equal(first.get_parameter("0.weight"), second.get_parameter("0.weight"))
    assert torch.equal(first.get_buffer("1.running_mean"), second.get_buffer("1.running_mean"))
    assert first.get_buffer("1.num_batches_tracked") > 1
    best = supernet.decode()[0].arch
    torch.testing.assert_close(supernet.subnetwork(best)(x), supernet(x))


def test_a_copy_from_its_state_draws_the_same(supernet: SharedSupernet) -> None:
    x = torch.randn(2, 1, 4, 4, 4)
    for _ in range(10):
        supernet(x)
    torch.manual_seed(0)
    again = SharedSupernet(Chains())
    again.load_state_dict(supernet.state_dict())
    for _ in range(10):
        assert torch.equal(supernet(x), again(x))
        assert supernet.last == again.last
    assert [name for name, _ in supernet.named_parameters()] == [name for name, _ in again.named_parameters()]


def test_scores_of_networks_do_not_depend_on_those_scored_before(supernet: SharedSupernet) -> None:
    x, space = torch.randn(2, 1, 4, 4, 4), supernet.space
    for _ in range(2):  # few enough that most weights were never trained
        supernet(x)
    before = [name for name, _ in supernet.named_parameters()]
    archs = [space.repair(genes) for genes in itertools.product((0, 1, 2), (0, 1), (0, 1), (0, 1))]
    supernet.eval()
    first = [supernet.subnetwork(arch)(x) for arch in archs]
    backwards = [supernet.subnetwork(arch)(x) for arch in reversed(archs)]
    with torch.inference_mode():
        supernet(x)
    assert all(torch.equal(one, other) for one, other in zip(first, reversed(backwards), strict=True))
    assert [name for name, _ in supernet.named_parameters()] == before

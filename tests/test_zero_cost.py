"""Zero-cost scores against plain computations on tiny networks, and the evaluator on real spaces."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nas.errors import NASError, TrialFailed
from nas.evaluators.zero_cost import ZeroCost
from nas.history import Proposal
from nas.tasks.classification import Classification
from nas.tasks.segmentation import Segmentation
from nas.zero_cost.gradients import grad_norm, snip
from nas.zero_cost.jacobian import K, jacob_cov
from nas.zero_cost.measure import SCORES, zero_cost_scores
from nas.zero_cost.minibatch import Minibatch, layer_weights
from nas.zero_cost.naswot import naswot
from nas.zero_cost.synflow import synflow
from nas.zero_cost.width import width
from search_spaces.naslung import NASLungSpace
from search_spaces.unet import UNetSpace
from search_spaces.unet_network import UNet
from tests.problems import context_in, problem_of
from tests.training.blobs import blob_store, halves
from tests.training.test_segmentation_training import ball_parts


class Tiny(nn.Module):
    """A convolution with normalisation, a rectifier called as a function, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm, self.linear = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Linear(12, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(F.relu(self.norm(self.convolution(x))).flatten(1))


def tiny() -> tuple[Tiny, Minibatch]:
    torch.manual_seed(0)
    network = Tiny().double()
    x = torch.rand(5, 1, 4, 4, dtype=torch.float64)
    return network, Minibatch(x, torch.tensor([0, 1, 1, 0, 1]), DoubleLoss())


class DoubleLoss(Classification):
    """Cross entropy in double precision, so that finite differences are exact enough."""

    def loss(self, output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(output, y)


def numeric_gradient(network: Tiny, minibatch: Minibatch, weight: nn.Parameter) -> np.ndarray:
    def loss() -> float:
        return float(minibatch.task.loss(network.train()(minibatch.x_BCDHW), minibatch.y))

    gradient = np.zeros(weight.shape)
    with torch.no_grad():
        for at in np.ndindex(*weight.shape):
            old, losses = weight[at].item(), []
            for step in (1e-5, -1e-5):
                weight[at] = old + step
                losses.append(loss())
            weight[at] = old
            gradient[at] = (losses[0] - losses[1]) / 2e-5
    return gradient


def test_snip_and_the_norm_of_gradients_are_those_of_finite_differences() -> None:
    network, minibatch = tiny()
    weights = [network.convolution.weight, network.linear.weight]
    assert [id(weight) for weight in layer_weights(network)] == [id(weight) for weight in weights]
    gradients = [numeric_gradient(network, minibatch, weight) for weight in weights]
    assert grad_norm(network, minibatch) == pytest.approx(sum(np.sqrt((g**2).sum()) for g in gradients), rel=1e-4)
    products = [np.abs(w.detach().numpy() * g).sum() for w, g in zip(weights, gradients, strict=True)]
    assert snip(network, minibatch) == pytest.approx(sum(products), rel=1e-4)


def test_synflow_sums_over_all_paths_without_normalisation() -> None:
    """With absolute weights and an input of ones the network is linear, so that each path can be followed alone."""
    network, minibatch = tiny()
    conv_w, conv_b = (p.detach().abs().numpy() for p in (network.convolution.weight, network.convolution.bias))
    lin_w = network.linear.weight.detach().abs().numpy().reshape(2, 3, 2, 2)
    through_both = through_linear = 0.0
    for out, channel, i, j in itertools.product(range(2), range(3), range(2), range(2)):
        for weight in conv_w[channel].ravel():
            through_both += lin_w[out, channel, i, j] * weight
        through_linear += lin_w[out, channel, i, j] * conv_b[channel]
    # each path counts once for each weight on it; the bias of the convolution is not counted itself
    assert synflow(network, minibatch) == pytest.approx(2 * through_both + through_linear)
    assert any(float(p.detach().min()) < 0 for p in network.parameters()), "the network itself is unchanged"


def test_naswot_counts_the_units_that_two_samples_share() -> None:
    network, minibatch = tiny()
    with torch.no_grad():
        before = network.train().norm(network.convolution(minibatch.x_BCDHW)).flatten(1).tolist()
    kernel = [[sum((a > 0) == (b > 0) for a, b in zip(one, two, strict=True)) for two in before] for one in before]
    assert naswot(network, minibatch) == pytest.approx(math.log(abs(np.linalg.det(np.array(kernel)))))
    rows = nn.Sequential(nn.Flatten(0, 1), nn.ReLU()).double()  # as layers that rectify rows of voxels
    whole = nn.ReLU().double()
    assert naswot(rows, minibatch) == naswot(whole, minibatch)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).double()
    with pytest.raises(TrialFailed, match="without rectifiers"):
        naswot(linear, minibatch)


def test_jacob_cov_is_that_of_finite_differences() -> None:
    network, minibatch = tiny()
    jacobian = np.zeros((5, 16))
    for sample, pixel in np.ndindex(5, 16):
        sums = []
        for step in (1e-6, -1e-6):
            x = minibatch.x_BCDHW.clone()
            x.view(5, 16)[sample, pixel] += step
            sums.append(float(network.train()(x).detach().sum()))
        jacobian[sample, pixel] = (sums[0] - sums[1]) / 2e-6
    eigenvalues = np.linalg.eigvals(np.corrcoef(jacobian)).real
    assert jacob_cov(network, minibatch) == pytest.approx(
        -sum(np.log(v + K) + 1 / (v + K) for v in eigenvalues), rel=1e-3
    )
    constant = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).double()
    nn.init.zeros_(constant[1].weight)
    with pytest.raises(TrialFailed, match="does not depend"):
        jacob_cov(constant, minibatch)


def test_width_is_the_mean_of_the_channels_over_voxels() -> None:
    network = UNet(3, 1, 2, depth=1, width=4, blocks=1, kernel=3, norm="batch", up="transposed")
    minibatch = Minibatch(torch.rand(2, 1, 8, 8, 8), torch.zeros(2), Segmentation())
    # at full resolution the encoder, the transposed convolution and the decoder with 4 channels, below one with 8
    assert width(network, minibatch) == pytest.approx((3 * 512 * 4 + 64 * 8) / (3 * 512 + 64))


@pytest.mark.parametrize("dims", [2, 3])
def test_every_score_of_segmentation_networks(dims: int, tmp_path: Path) -> None:
    train, valid = ball_parts(tmp_path, dims)
    space = UNetSpace(depths=(1,), widths=(4, 8), block_counts=(1,), kernels=(3,), spatial_dims=dims)
    problem = problem_of(space, {"zero_cost": "maximize"}, task=Segmentation(dims=dims), shape=(1, *(16,) * dims))
    archs = [space.architecture(genes) for genes in ((0,) * 6, (0, 1, 0, 0, 0, 0), (0, 1, 0, 0, 1, 1))]
    context = context_in(tmp_path, train, valid)
    scores = zero_cost_scores(space, archs, problem, context, batch_size=6)
    assert set(scores) == set(SCORES)
    assert all(np.isfinite(values_N).all() for values_N in scores.values())
    assert all(scores[name][0] < scores[name][1] for name in ("width", "macs", "params", "naswot"))
    torch.manual_seed(1)  # nothing depends on torch's generator
    again = zero_cost_scores(space, archs[1:], problem, context, batch_size=6)
    assert all(again[name].tolist() == scores[name][1:].tolist() for name in SCORES)


def test_the_evaluator_gives_the_scores_of_a_classifier(tmp_path: Path) -> None:
    space = NASLungSpace(widths=(4, 8), max_depth=3)
    train, valid = halves(blob_store(tmp_path / "blobs.h5"))
    problem, context = problem_of(space, {"zero_cost": "maximize"}), context_in(tmp_path, train, valid)
    arch = space.from_stages([[4], [4], [8]])
    expected = zero_cost_scores(space, [arch], problem, context, batch_size=8)
    for name in SCORES:
        evaluator = ZeroCost(name, batch_size=8)
        metrics = evaluator.evaluate(Proposal(arch), problem, context)
        assert set(metrics) == evaluator.metrics(problem.task)
        assert metrics["zero_cost"] == expected[name][0]
    snip_of = [
        ZeroCost("snip", batch_size=8).evaluate(Proposal(arch, replicate=replicate), problem, changed)["zero_cost"]
        for replicate, changed in ((0, context), (1, context), (0, replace(context, seed=1)))
    ]
    assert len(set(snip_of)) == 3


def test_unknown_scores_and_other_spaces(tmp_path: Path) -> None:
    with pytest.raises(NASError, match=r"evaluator\.score"):
        ZeroCost("zen")
    space = NASLungSpace(widths=(4, 8), max_depth=3)
    train, valid = halves(blob_store(tmp_path / "blobs.h5"))
    context = context_in(tmp_path, train, valid)
    with pytest.raises(NASError, match="space of the problem"):
        zero_cost_scores(NASLungSpace(), [], problem_of(space, {"zero_cost": "maximize"}), context)

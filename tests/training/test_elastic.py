"""Elastic supernets: slices against networks of their own, sandwich training, statistics, the strategy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nas.errors import NASError
from nas.evaluators.supernet import InheritedWeights
from nas.history import History, Proposal
from nas.space import SearchSpace
from nas.strategies.elastic import Elastic
from nas.strategies.random import RandomSearch
from nas.supernets.elastic import ElasticSupernet, take
from nas.supernets.elastic_training import ElasticTraining, Sandwich, distillation_loss
from nas.supernets.recalibration import recalibrate
from nas.task_spec import TaskSpec
from nas.tasks.segmentation import Segmentation
from nas.training.settings import TrainingSettings
from search_spaces.naslung import NASLungSpace
from search_spaces.resnet3d import ResNet3DSpace
from search_spaces.unet import UNetSpace
from search_spaces.unet_flexible import FlexibleUNetSpace
from tests.problems import context_in, problem_of
from tests.training.test_segmentation_training import Parts, ball_parts

CPU = torch.device("cpu")
SETTINGS = TrainingSettings(epochs=3, batch_size=4, lr=0.02, precision="fp32")
SMALL = UNetSpace(depths=(1, 2), widths=(4, 8), block_counts=(1, 2), kernels=(3, 5), spatial_dims=2)
FLEXIBLE = FlexibleUNetSpace(
    depths=(1, 2), widths=((4, 8), (4, 8), (4, 12)), encoder_blocks=(1, 2), decoder_blocks=(1, 2), spatial_dims=2
)
SPACES: dict[str, tuple[SearchSpace, tuple[int, ...]]] = {
    "unet": (SMALL, (1, 16, 16)),
    "unet 3d": (UNetSpace(depths=(1,), widths=(4, 8), deep_supervision=True), (1, 8, 8, 8)),
    "flexible": (FLEXIBLE, (1, 16, 16)),
    "naslung": (NASLungSpace(widths=(4, 8), max_depth=6), (1, 8, 8, 8)),
    "softmax": (NASLungSpace(widths=(4, 8), max_depth=5, cbam="woo2018", head="softmax"), (1, 8, 8, 8)),
}


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    return ball_parts(tmp_path_factory.mktemp("balls"), 2)


def made(space: SearchSpace, task: TaskSpec | None = None) -> ElasticSupernet:
    torch.manual_seed(0)
    return ElasticSupernet(space, task)


@pytest.mark.parametrize("name", SPACES)
def test_a_network_of_slices_gives_the_output_of_the_supernet(name: str) -> None:
    """Bit for bit, for networks from all over the space, after statistics have been changed by a training step."""
    space, shape = SPACES[name]
    supernet, rng = made(space), np.random.default_rng(0)
    x = torch.rand(2, *shape)
    inputs = (x, torch.tensor([0, 1])) if supernet.needs_target else (x,)
    for arch in (supernet.largest, supernet.smallest):
        supernet.train()
        supernet.path = arch
        supernet(*inputs)
    supernet.eval()
    for arch in (supernet.largest, supernet.smallest, *(space.sample(rng) for _ in range(12))):
        supernet.path = arch
        with torch.no_grad():
            of_slices, alone = supernet(x), supernet.subnetwork(arch)(x)
        assert torch.equal(of_slices, alone)
    assert not torch.equal(supernet(x), supernet.subnetwork(supernet.smallest)(x))


@pytest.mark.parametrize("name", SPACES)
def test_every_shared_weight_is_used_in_full(name: str) -> None:
    """The largest networks of all choices reach every number, and no network needs a larger one."""
    space, _ = SPACES[name]
    supernet, rng = made(space), np.random.default_rng(0)
    seen = {key: torch.zeros_like(weight) for key, weight in supernet.weights.items()}
    for arch in (*space.covering(), *(space.sample(rng) for _ in range(50))):  # type: ignore[attr-defined]
        for key, value in supernet.subnetwork(arch).named_parameters():
            share = space.share(arch, key)  # type: ignore[attr-defined]
            piece = take(seen[share.name], value.shape, share.parts)
            assert piece.shape == value.shape
            if piece.data_ptr() == seen[share.name].data_ptr() and piece.shape == seen[share.name].shape:
                seen[share.name].fill_(1)
    whole = [key for key, mark in seen.items() if mark.all()]
    assert len(whole) >= 0.9 * len(seen)  # the others are the largest on each axis, but in no single network


def test_a_slice_has_leading_channels_of_each_part_and_the_centre_of_the_kernel() -> None:
    shared = torch.arange(6 * 8 * 5 * 5).reshape(6, 8, 5, 5)
    assert torch.equal(take(shared, (4, 6, 3, 3)), shared[:4, :6, 1:4, 1:4])
    two = take(shared, (4, 6, 5, 5), parts=2)
    assert torch.equal(two, torch.cat([shared[:4, :3], shared[:4, 4:7]], dim=1))
    assert take(shared, shared.shape, parts=2) is shared


def test_the_first_convolution_after_a_concatenation_has_both_halves() -> None:
    supernet = made(SMALL)
    arch = SMALL.architecture((1, 0, 0, 0, 0, 0))
    narrow = dict(supernet.subnetwork(arch).named_parameters())["merge.1.0.0.weight"]  # the finest level
    shared = supernet.weights["merge/level0/0/0/weight"]
    assert shared.shape == (8, 16, 5, 5)
    assert torch.equal(narrow, torch.cat([shared[:4, :4], shared[:4, 8:12]], dim=1)[:, :, 1:4, 1:4])


def test_a_shallower_network_has_the_finest_levels_of_a_deeper_one() -> None:
    supernet = made(SMALL)
    weights = [
        dict(supernet.subnetwork(SMALL.architecture((depth, 1, 1, 1, 0, 0))).named_parameters()) for depth in (0, 1)
    ]
    for shallow, deep in (("down.1.0.0.weight", "down.1.0.0.weight"), ("merge.0.0.0.weight", "merge.1.0.0.weight")):
        assert torch.equal(weights[0][shallow], weights[1][deep])


def training(parts: Parts, folder: Path, settings: TrainingSettings = SETTINGS, space: SearchSpace = SMALL, **how):  # type: ignore[no-untyped-def]
    sandwich = Sandwich(**how)
    task = Segmentation(dims=2)
    return ElasticTraining(
        made(space, task.spec), task, *parts, settings, sandwich, seed=3, device=CPU, folder=folder, fingerprint="test"
    )


def test_a_step_adds_the_gradients_of_all_its_networks(parts: Parts, tmp_path: Path) -> None:
    """Against the same losses computed one by one on networks of their own."""
    plain = replace(SETTINGS, optimizer="sgd", momentum=0.0, grad_clip=0.0, weight_decay=0.0)
    run = training(parts, tmp_path, plain, distillation=0.25)
    run.supernet.train()
    x, y, share = next(run._batches(1))
    paths = list(run._paths(1, 0))
    assert paths[:2] == [run.supernet.largest, run.supernet.smallest]
    assert len(paths) == 4
    assert paths == list(run._paths(1, 0)) != list(run._paths(1, 1))
    networks = [run.supernet.subnetwork(path) for path in paths]
    outputs = [network(x) for network in networks]
    teacher, mixed = outputs[0].detach(), 0.25  # a share that is not the default
    losses = [run.task.loss(outputs[0], y)]
    losses += [mixed * distillation_loss(o, teacher) + (1 - mixed) * run.task.loss(o, y) for o in outputs[1:]]
    sum(losses).backward()  # type: ignore[union-attr]
    shared = {key: torch.zeros_like(weight) for key, weight in run.supernet.weights.items()}
    for path, network in zip(paths, networks, strict=True):
        for name, parameter in network.named_parameters():
            mine = SMALL.share(path, name)
            if mine.parts == 1:
                take(shared[mine.name], parameter.shape).add_(parameter.grad)
    run._step(x, y, share, paths)
    for key, expected in shared.items():
        if not key.startswith("merge/level") or "/0/0/weight" not in key:
            found = run.supernet.weights[key].grad
            torch.testing.assert_close(torch.zeros_like(expected) if found is None else found, expected)


def test_a_killed_training_goes_on_bit_for_bit(parts: Parts, tmp_path: Path) -> None:
    whole = training(parts, tmp_path / "whole")
    whole.run()

    def kill(epoch: int, epochs: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training(parts, tmp_path / "killed").run(kill)
    resumed = training(parts, tmp_path / "killed")
    resumed.run()
    assert all(
        torch.equal(a, b)
        for a, b in zip(whole.supernet.state_dict().values(), resumed.supernet.state_dict().values(), strict=True)
    )
    assert [row["dice largest"] for row in whole.history] == [row["dice largest"] for row in resumed.history]
    assert whole.history[-1]["loss"] < whole.history[0]["loss"]
    with pytest.raises(NASError, match="sandwich"):
        training(parts, tmp_path / "killed", sampled=1).run()


def test_recalibrated_statistics_are_the_means_over_the_batches(parts: Parts) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.BatchNorm2d(1), nn.Conv2d(1, 2, 1))
    network[0].running_mean.fill_(7.0)
    train = parts[0].normalised_like(parts[0])
    recalibrate(network, train, 6, seed=0)
    means = [x.mean() for x, _ in train.batches(6, generator=torch.Generator().manual_seed(0))]
    assert not network.training
    assert network[0].momentum == 0.1
    torch.testing.assert_close(network[0].running_mean[0], torch.stack(means).mean(), rtol=1e-4, atol=1e-5)
    before = [parameter.clone() for parameter in network.parameters()]
    recalibrate(network, train, 6, seed=1)
    assert all(map(torch.equal, before, network.parameters()))


def test_the_strategy_trains_once_and_searches_over_inherited_weights(parts: Parts, tmp_path: Path) -> None:
    problem = problem_of(SMALL, {"dice": "maximize"}, task=Segmentation(dims=2), shape=(1, 16, 16))
    context = context_in(tmp_path, *parts)
    strategy, evaluator = Elastic(SETTINGS, RandomSearch()), InheritedWeights()
    strategy.check(problem)
    strategy.check_evaluator(evaluator, context)
    strategy.prepare(problem, context)
    written = (tmp_path / "supernet/last.pt").stat().st_mtime_ns
    Elastic(SETTINGS, RandomSearch()).prepare(problem, context)
    proposal = strategy.propose(SMALL, History((), problem.objectives, problem.cost, "macs"), np.random.default_rng(0))
    assert proposal is not None
    found = [evaluator.evaluate(Proposal(arch), problem, context) for arch in (proposal.arch, proposal.arch)]
    assert found[0] == found[1]
    assert 0 <= found[0]["dice"] <= 1
    assert len((tmp_path / "supernet/curves.csv").read_text().splitlines()) == 1 + SETTINGS.epochs
    assert (tmp_path / "supernet/last.pt").stat().st_mtime_ns >= written


def test_spaces_without_elastic_weights_are_refused() -> None:
    problem = problem_of(ResNet3DSpace(), {"auc": "maximize"})
    with pytest.raises(NASError, match="elastic weights of ResNet3DSpace"):
        Elastic(SETTINGS, RandomSearch()).check(problem)

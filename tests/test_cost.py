"""Costs against hand counts, and the latency table's contract."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nas.cost.latency import LatencyTable, measure_table
from nas.cost.model import CostModel, static_costs
from nas.cost.profile import profile, training_bytes
from nas.errors import NASError
from nas.strategies.differentiable import costs_of
from nas.task_spec import TaskSpec
from search_spaces.dints import DiNTSSpace
from search_spaces.naslung import NASLungSpace
from tests.commands import refused, voxnas

TASK, SHAPE = TaskSpec(), (1, 16, 16, 16)
SMALL = NASLungSpace(widths=(4, 8), max_depth=4)


def test_profile_of_a_network_counted_by_hand() -> None:
    network = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, 2, 3, padding=1), nn.BatchNorm3d(2))
    found = profile(network, (1, 1, 8, 8, 8))
    assert found.params == (27 * 4 + 4) + (27 * 4 * 2 + 2) + 4
    assert found.macs == 512 * 27 * 4 + 512 * 27 * 4 * 2
    assert found.flops == 2 * found.macs
    assert found.bytes == 4 * found.params + 2 * 2 * 4 + 8  # running mean and variance, and the int64 batch counter
    # the widest moment: the input (1 channel), the convolution's result and the ReLU's result (4 channels each)
    assert found.activation_bytes == 512 * 4 * (1 + 4 + 4)


def test_profile_leaves_the_model_alone_and_counts_the_batch() -> None:
    network = nn.Conv3d(1, 2, 1).train()
    weight = network.weight.detach().clone()
    assert profile(network, (3, 1, 4, 4, 4)).macs == 3 * profile(network, (1, 1, 4, 4, 4)).macs == 3 * 128
    assert network.training
    assert torch.equal(network.weight, weight)


def test_profile_of_a_shape_the_network_refuses() -> None:
    with pytest.raises(NASError, match="shape"):
        profile(nn.Conv3d(2, 2, 1), (1, 1, 4, 4, 4))


def test_bytes_of_a_training_step_counted_by_hand() -> None:
    network = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, 2, 3, padding=1))
    # the first convolution keeps the image, the ReLU its result, which is also what the second convolution keeps
    assert training_bytes(network, (3, 1, 8, 8, 8)) == 3 * 512 * 4 * (1 + 4)
    with pytest.raises(NASError, match="that the network accepts"):
        training_bytes(network, (3, 2, 8, 8, 8))


@pytest.mark.parametrize("use_downsample", [True, False])
def test_bytes_of_a_training_step_of_dints_are_those_of_its_blocks_and_of_real_tensors(use_downsample: bool) -> None:
    space = DiNTSSpace(5, 3, 0.25, use_downsample=use_downsample)
    arch = space.sample(np.random.default_rng(0))
    cost = CostModel(space, TaskSpec("segmentation"), (1, 32, 32, 32), "training_bytes")
    network = space.build(arch)
    assert cost.is_sum
    assert cost.of(arch) == training_bytes(network, (2, 1, 32, 32, 32)) / 2
    kept: dict[int, torch.Tensor] = {}
    weights = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(torch.randn(2, 1, 32, 32, 32))
    real = sum(tensor.untyped_storage().nbytes() for key, tensor in kept.items() if key not in weights)
    assert 2 * cost.of(arch) == pytest.approx(real, rel=0.1)


def test_bytes_of_a_training_step_of_blocks_that_share_tensors() -> None:
    """Where a stage of NAS-Lung ends, two blocks keep the same tensor."""
    arch = SMALL.sample(np.random.default_rng(0))
    whole = training_bytes(SMALL.build(arch), (2, *SHAPE)) / 2
    assert whole <= CostModel(SMALL, TASK, SHAPE, "training_bytes").of(arch) <= 1.05 * whole


def test_published_macs() -> None:
    """Model-1 at 32^3, layer by layer: 27 L C per voxel and convolution."""
    space, arch = NASLungSpace.from_name("model-1")
    voxels = 32**3
    stem = voxels * (27 * 4 + 27 * 16 + 27 * 2) + 2 * 2 * 4
    total, left = stem, 4
    for stage, widths in enumerate([[4, 4], [4, 8], [8, 8]], start=1):
        here = voxels // 8**stage
        total += here * 27 * left * left
        for width in widths:
            total += here * (27 * left * width + 27 * width * width + left * width)
            left = width
        total += here * 27 * 2 + 2 * 2 * left * (left // 4)
    total += left * 2
    assert profile(space.build(arch), (1, 1, 32, 32, 32)).macs == total


@pytest.mark.parametrize("metric", ["macs", "params", "bytes"])
def test_a_sum_of_blocks_is_the_whole(metric: str) -> None:
    space = NASLungSpace()
    rng = np.random.default_rng(0)
    archs = [space.sample(rng) for _ in range(6)]
    sums = CostModel(space, TASK, SHAPE, metric)(space.encode(archs))
    assert sums.tolist() == [static_costs(space, arch, TASK, SHAPE)[metric] for arch in archs]


def test_cost_of_a_space_without_blocks_is_taken_whole() -> None:
    class Plain(NASLungSpace):
        def blocks(self, genes_NG, input_size, task=None):  # type: ignore[no-untyped-def]
            return None

    space = Plain(widths=(4, 8), max_depth=4)
    arch = space.sample(np.random.default_rng(0))
    assert CostModel(space, TASK, SHAPE).of(arch) == CostModel(SMALL, TASK, SHAPE).of(SMALL.architecture(arch.genes))


@pytest.fixture(scope="module")
def table() -> LatencyTable:
    return measure_table(SMALL, SHAPE, TASK, torch.device("cpu"), checks=3)


def test_latency_is_a_deterministic_sum(table: LatencyTable, tmp_path: Path) -> None:
    table.save(tmp_path / "table.json")
    loaded = LatencyTable.load(tmp_path / "table.json")
    assert loaded.sha256 == table.sha256
    arch = SMALL.from_stages([[4], [4, 8], [8]])
    cost = CostModel(SMALL, TASK, SHAPE, "latency_ms", loaded)
    keys = ["stem", "pool 4 @1/2", "residual 4>4 @1/2", "cbam 4 @1/2", "pool 4 @1/4", "residual 4>4 @1/4"]
    keys += ["residual 4>8 @1/4", "cbam 8 @1/4", "pool 8 @1/8", "residual 8>8 @1/8", "cbam 8 @1/8", "head 8"]
    assert cost.of(arch) == pytest.approx(sum(table.blocks[key]["median"] for key in keys), rel=1e-12)
    assert cost.of(arch) == cost.of(arch)
    assert cost.identity["table"] == table.sha256
    assert {"networks", "median_error", "largest_error", "rank_correlation"} <= set(table.meta["check"])


def test_bad_tables(table: LatencyTable, tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    table.save(path)
    content = json.loads(path.read_text())
    content["blocks"]["stem"]["median"] *= 2
    path.write_text(json.dumps(content))
    with pytest.raises(NASError, match="recorded in the file"):
        LatencyTable.load(path)
    path.write_text(path.read_text()[:100])
    with pytest.raises(NASError, match="measure the table again"):
        LatencyTable.load(path)
    with pytest.raises(NASError, match="measure a table for this space"):
        CostModel(SMALL, TASK, (1, 32, 32, 32), "latency_ms", table)
    with pytest.raises(NASError, match=r"cost\.table=null"):
        CostModel(SMALL, TASK, SHAPE, "latency_ms")
    with pytest.raises(NASError, match="one of params"):
        CostModel(SMALL, TASK, SHAPE, "flops")


def test_latency_command(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "table.json"
    words = ["naslung", "--set", "widths=[4]", "--set", "max_depth=3", "--size", "8", "--networks", "2", "--out", out]
    code, said, err = voxnas(capsys, "cost", *words)
    assert (code, err) == (0, "")
    assert "random networks: median error" in said
    assert LatencyTable.load(out).meta["input_shape"] == [1, 8, 8, 8]


def test_a_table_for_images_that_are_no_cubes_steers_a_supernet(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "table.json"
    settings = ("num_blocks=2", "num_depths=2", "channel_mul=0.0625")
    words = ["dints", *(word for setting in settings for word in ("--set", setting))]
    more = ["--size", "8,16,12", "--outputs", "3", "--networks", "2", "--out", out]
    assert voxnas(capsys, "cost", *words, *more)[0] == 0
    space = DiNTSSpace(2, 2, 0.0625)
    task = TaskSpec("segmentation", outputs=3)
    cost = CostModel(space, task, (1, 8, 16, 12), "latency_ms", LatencyTable.load(out))
    supernet = space.supernet(task)
    found = supernet.expected_cost(costs_of(cost))
    gradients = torch.autograd.grad(found, list(supernet.architecture_parameters().values()))
    assert found.item() > 0
    assert all(gradient.abs().max() > 0 for gradient in gradients)
    with pytest.raises(NASError, match="latency table"):
        CostModel(space, task, (1, 16, 16, 16), "latency_ms", LatencyTable.load(out))


class OwnSpace(NASLungSpace):
    """A space that conf/ does not name."""


def test_the_latency_of_a_space_that_is_named_by_its_class(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    words = ["tests.test_cost.OwnSpace", "--set", "widths=[4]", "--set", "max_depth=3", "--size", "8"]
    code, said, err = voxnas(capsys, "cost", *words, "--networks", "2", "--out", tmp_path / "table.json")
    assert (code, err) == (0, ""), said


@pytest.mark.parametrize(
    "words",
    [
        ["nowhere"],
        ["no.such.Space"],
        ["nas.data.Msd"],
        ["naslung", "--speed", "3"],
        ["naslung", "--size", "8,8,8,8"],
        [],
        ["naslung", "--set", "speed=3"],
    ],
)
def test_latency_command_refuses_in_one_line(words: list[str], capsys: pytest.CaptureFixture) -> None:
    answer = voxnas(capsys, "cost", *words)
    refused(answer)
    assert answer[2].count("\n") == 1


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_profile_leaves_the_mode_of_the_network(device: str, training: bool) -> None:
    model = nn.Sequential(nn.Conv3d(1, 2, 3, device=device), nn.BatchNorm3d(2, device=device)).train(training)
    profile(model, (1, 1, 4, 4, 4))
    assert [module.training for module in model.modules()] == [training] * 3

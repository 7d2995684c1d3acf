"""The plain U-Nets beside a segmentation network: depth, equal cost, and the verdict on the paired differences."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.train.plain_unet import NAMES, plain_unets, verdict
from nas.artifact import Artifact
from nas.cost.model import static_costs
from nas.errors import NASError
from nas.metrics.metric import Metric
from nas.provenance import Provenance
from nas.tasks.classification import Classification
from nas.tasks.segmentation import Segmentation
from search_spaces.cascade import CascadeSpace
from search_spaces.dints.space import DiNTSSpace
from search_spaces.unet import UNetSpace

EQUAL, OWN = NAMES["equal_cost"], NAMES["own_size"]


@dataclass
class Setting:
    """Data and task of a training, as far as the shape of a U-Net depends on them."""

    task: Any
    store: Any


def setting_of(*shape: int, window: tuple[int, ...] | None = None, outputs: int = 3) -> Any:
    task = Segmentation(in_channels=shape[0], outputs=outputs, dims=len(shape) - 1, window=window)
    return Setting(task, SimpleNamespace(input_shape=shape, sample_shape=shape))


def network_of(space: Any, setting: Any, seed: int = 0) -> Artifact:
    return Artifact(space, space.sample(np.random.default_rng(seed)), setting.task.spec)


def macs_of(network: Artifact, setting: Any) -> float:
    return static_costs(network.space, network.arch, setting.task.spec, setting.store.input_shape)["macs"]


@pytest.mark.parametrize(
    ("space", "shape"),
    [
        (UNetSpace(depths=(1, 2)), (1, 16, 16, 16)),
        (UNetSpace(spatial_dims=2), (2, 48, 64)),
        (CascadeSpace(levels=(1,), depths=(2,)), (4, 32, 32, 32)),
        (DiNTSSpace(num_blocks=2, num_depths=2, channel_mul=0.125), (1, 24, 32, 16)),
    ],
)
@pytest.mark.parametrize("seed", [0])
def test_the_u_net_of_equal_cost_has_the_macs_of_the_network(space: Any, shape: tuple[int, ...], seed: int) -> None:
    setting = setting_of(*shape)
    network = network_of(space, setting, seed)
    (unet, name), *_ = plain_unets(setting, [network], "equal_cost")
    assert name == EQUAL
    assert macs_of(unet, setting) == pytest.approx(macs_of(network, setting), rel=0.05)
    out = unet.build(setting.task.spec).eval()(torch.rand(1, *shape))
    assert out.shape == (1, 3, *shape[1:])


def test_an_ensemble_is_compared_with_a_u_net_of_its_whole_cost() -> None:
    setting = setting_of(1, 16, 16, 16)
    networks = [network_of(UNetSpace(), setting, seed) for seed in (0, 2)]
    [(unet, _)] = plain_unets(setting, networks, "equal_cost")
    assert macs_of(unet, setting) == pytest.approx(sum(macs_of(one, setting) for one in networks), rel=0.03)


@pytest.mark.parametrize(
    ("shape", "window", "depth"),
    [
        ((1, 16, 16, 16), None, 2),
        ((1, 32, 48, 32), (40, 56, 40), 3),
        ((1, 32, 48, 32), None, 3),
        ((1, 24, 24), None, 2),
        ((4, 128, 128, 128), None, 5),
        ((1, 128, 128, 128), (64, 64, 16), 2),
    ],
)
def test_depth_follows_the_sides_of_images_and_windows(
    shape: tuple[int, ...], window: tuple[int, ...] | None, depth: int
) -> None:
    """At least four voxels are left at the lowest resolution."""
    setting = setting_of(*shape, window=window)
    other = network_of(UNetSpace(spatial_dims=len(shape) - 1), setting)
    [(unet, name)] = plain_unets(setting, [other], "own_size")
    assert name == OWN
    assert unet.space.arguments["depths"] == [depth]
    widths = unet.space.level_widths(depth, 32)
    assert widths == [32, 64, 128, 256, 320, 320][: depth + 1]


def test_the_named_network_itself_has_no_plain_u_net_beside_it() -> None:
    for side in (16, 32):
        setting = setting_of(1, side, side, side)
        space, arch = UNetSpace.from_name("plain-3d")
        network = Artifact(space, arch, setting.task.spec, provenance=Provenance(published="unet/plain-3d"))
        assert plain_unets(setting, [network], "both") == []


def test_deep_supervision_is_that_of_the_network() -> None:
    setting = setting_of(4, 32, 32, 32)
    for deep in (True, False):
        network = network_of(CascadeSpace(depths=(2,), levels=(1,), deep_supervision=deep), setting)
        [(unet, _)] = plain_unets(setting, [network], "own_size")
        out = unet.build(setting.task.spec).train()(torch.rand(1, 4, 32, 32, 32))
        sides = [one.shape[-1] for one in out] if deep else [out.shape[-1]]
        assert sides == ([32, 16, 8] if deep else [32])


@pytest.mark.parametrize(("weights", "outputs"), [([0.4, 0.3, 0.2], 3), ([0.5, 0.5], 1)])
def test_a_task_with_too_few_weights_of_scales_has_no_deep_supervision(weights: list[float], outputs: int) -> None:
    """The published cascade has three outputs and weights, a U-Net of deep images may have more outputs."""
    setting = setting_of(4, 32, 32, 32)
    setting.task = Segmentation(in_channels=4, outputs=3, scale_weights=weights)
    network = network_of(CascadeSpace(depths=(2,), levels=(1,), deep_supervision=True), setting)
    [(unet, _)] = plain_unets(setting, [network], "own_size")
    out = unet.build(setting.task.spec).train()(torch.rand(1, 4, 32, 32, 32))
    assert (len(out) if isinstance(out, tuple) else 1) == outputs
    setting.task.loss(out, torch.randint(0, 3, (1, 32, 32, 32)))


def test_what_is_asked_for() -> None:
    setting = setting_of(1, 16, 16, 16)
    network = network_of(UNetSpace(), setting)
    assert [name for _, name in plain_unets(setting, [network], "both")] == [EQUAL, OWN]
    assert plain_unets(setting, [network], None) == plain_unets(setting, [network], False) == []
    with pytest.raises(NASError, match=r"baselines\.plain_unet=some.*both, equal_cost, own_size or null"):
        plain_unets(setting, [network], "some")
    other = Setting(Classification(), setting.store)
    assert plain_unets(other, [network], "both") == []  # type: ignore[arg-type]


def test_a_u_net_that_cannot_be_made_is_left_out_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    setting = setting_of(1, 21, 21, 21)
    with caplog.at_level(logging.WARNING):
        assert plain_unets(setting, [network_of(UNetSpace(), setting)], "own_size") == []
    assert "no row for the plain U-Net, own size: got images of 21 x 21 x 21 voxels" in caplog.text


@pytest.mark.parametrize(
    ("equal", "own", "said"),
    [
        (
            (0.012, (0.003, 0.020)),
            (-0.004, (-0.015, 0.006)),
            "The searched network is better than the plain U-Net of equal cost in Dice (+0.012 [+0.003, +0.020]). The "
            "difference to the plain U-Net at its own size is -0.004 [-0.015, +0.006]: within noise.",
        ),
        (
            (0.001, (-0.003, 0.020)),
            None,
            "The difference in Dice of the searched network and the plain U-Net of equal cost is within noise "
            "(+0.001 [-0.003, +0.020]).",
        ),
        (None, (-0.02, (-0.03, -0.01)), "is worse than the plain U-Net at its own size in Dice"),
        (None, None, ""),
    ],
)
def test_verdict(equal: Any, own: Any, said: str) -> None:
    differences = {
        name: {"dice": {"value": found[0], "ci95": found[1]}} for name, found in ((EQUAL, equal), (OWN, own)) if found
    }
    result: Any = SimpleNamespace(columns=[Metric("dice", "Dice")], differences=differences)
    text = verdict(result, "the searched network")
    assert said in text if said else text == ""


@settings(max_examples=10, deadline=None)
@given(
    st.sampled_from(["pool", "stride"]),
    st.sampled_from(["relu", "leaky_relu"]),
    st.floats(1, 3),
    st.integers(2, 12),
    st.booleans(),
)
def test_any_later_arguments_of_the_space_build(
    down: str, activation: str, growth: float, limit: int, deep: bool
) -> None:
    """Widths are those of the description, and deep supervision gives logits of every level above the bottom."""
    space = UNetSpace(
        (2,), (4,), (1,), (3,), ("instance",), ("resize",), 2, 1, 3, down, activation, growth, limit, 1.25, deep
    )
    arch = space.architecture((0,) * 6)
    network = space.build(arch).train()
    out = network(torch.rand(2, 1, 16, 16))
    shapes = [one.shape for one in out] if deep else [out.shape]
    assert shapes == [(2, 3, 16, 16), (2, 3, 8, 8)][: 1 + deep]
    assert network.eval()(torch.rand(2, 1, 16, 16)).shape == (2, 3, 16, 16)
    widths = [round(1.25 * min(4 * growth**level, limit)) for level in range(3)]
    for level, width in enumerate(widths):
        assert f"{width} channels" in space.describe(arch).splitlines()[1 + level]
    kinds = {type(module).__name__ for module in network.modules()}
    assert ("MaxPool2d" in kinds) == (down == "pool")
    assert ("LeakyReLU" in kinds) == (activation == "leaky_relu")


def test_arguments_with_their_defaults_are_no_part_of_the_fingerprint() -> None:
    assert UNetSpace().fingerprint == "UNetSpace-3a5dd7182c7a"  # as before these arguments
    assert UNetSpace(activation="leaky_relu").fingerprint != UNetSpace().fingerprint
    assert set(UNetSpace(down="stride").arguments) - set(UNetSpace().arguments) == {"down"}
    with pytest.raises(NASError, match="multiples of 4 channels on every level"):
        UNetSpace(widths=(4,), growth=1.3)
    with pytest.raises(NASError, match=r"at most 4096 channels at the lowest resolution"):
        UNetSpace(norms=("batch",), scale=64, widths=(64,))

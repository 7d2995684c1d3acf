"""Exported networks say what torch says: every published network, and one architecture of every space in conf/."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from experiments.build import build
from nas.errors import NASError
from nas.export.onnx import FORMATS, convert, export
from nas.inference.model_spec import MODEL_JSON, ModelFile, ModelSpec, Sides
from nas.inference.runtime import ExportedNetwork
from nas.space import SearchSpace
from search_spaces.unet import UNetSpace
from tests.exported import at_the_smallest_size, lively
from tests.test_conformance import composed, names

LIMIT = 1e-4
SMALL = 3_000_000  # parameters


def space_of(name: str) -> SearchSpace:
    return build(composed(f"space={name}").space, "space", SearchSpace)


PUBLISHED = {space: listed for space in names("space") if (listed := list(type(space_of(space)).published))}
QUICK = ("naslung", "nodule_patch")


def agrees(files: Mapping[str, ModelFile], formats: Sequence[str]) -> None:
    assert set(files) == set(formats)
    for kind, file in files.items():
        if file.precision == "fp32":
            assert file.difference <= LIMIT, kind
        assert file.difference <= 0.05 * file.largest_output, f"{kind} of a network that says nothing"
        assert len(file.shapes) == 2


@pytest.mark.parametrize(
    "space", [pytest.param(space, marks=() if space in QUICK else pytest.mark.slow) for space in PUBLISHED]
)
def test_first_published_network(space: str) -> None:
    name = PUBLISHED[space][0]
    is_exported(space, name, published_network(space, name))


@pytest.mark.slow
@pytest.mark.parametrize("space", [space for space, listed in PUBLISHED.items() if len(listed) > 1])
def test_published_networks_of_other_layers(space: str) -> None:
    """One of each set of layers, which differ in more than channels."""
    first, *others = PUBLISHED[space]
    seen = {kinds_of_layers(published_network(space, first))}
    for name in others:
        network = published_network(space, name)
        kinds = kinds_of_layers(network)
        if kinds not in seen:
            seen.add(kinds)
            is_exported(space, name, network)


def published_network(space: str, name: str) -> nn.Module:
    home, arch = type(space_of(space)).from_name(name)
    torch.manual_seed(0)
    return home.build(arch)


def kinds_of_layers(network: nn.Module) -> frozenset[tuple[object, ...]]:
    settings = ("kernel_size", "stride", "padding", "dilation", "scale_factor", "output_size", "p")
    return frozenset((type(one), *(str(getattr(one, name, None)) for name in settings)) for one in network.modules())


def is_exported(space: str, name: str, network: nn.Module) -> None:
    """As ONNX; the first of each space, where it is small, also for OpenVINO, which compiles for seconds. All of them
    in all formats: python -m benchmarks.bench_export."""
    size = sum(parameter.numel() for parameter in network.parameters())
    formats = ("onnx", "openvino") if size < SMALL and name == PUBLISHED[space][0] else ("onnx",)
    agrees(at_the_smallest_size(network, lambda one, shape: convert(one, shape, formats)).files, formats)


@pytest.mark.parametrize("name", names("space"))
def test_one_architecture_of_every_space(name: str, tmp_path: Path) -> None:
    """In all formats, written and read again: a batch of three of a size that was not compared before."""
    space = space_of(name)
    torch.manual_seed(0)
    built = space.build(space.sample(np.random.default_rng(0)))
    spec, network, shape = at_the_smallest_size(
        built, lambda one, shape: (export(one, shape, tmp_path, FORMATS), one, shape)
    )
    agrees(spec.files, FORMATS)
    assert ModelSpec.load(tmp_path / MODEL_JSON) == spec
    sides = shape[1:] if spec.sides.fixed else [*shape[1:-1], shape[-1] + spec.sides.multiple_of]
    x_BCDHW = torch.randn(3, shape[0], *sides)
    with torch.inference_mode():
        meant = network(x_BCDHW)
    meant = meant if isinstance(meant, torch.Tensor) else torch.utils._pytree.tree_leaves(meant)[0]
    for file in ("model.onnx", "model.xml"):
        said = ExportedNetwork(tmp_path / file, threads=1)(x_BCDHW.numpy())
        assert np.abs(said[0] - meant.numpy()).max() <= LIMIT
        assert len(said) == len(spec.outputs)


def unet(**genes: int) -> nn.Module:
    space = UNetSpace(depths=(2,), widths=(4,), block_counts=(1,), kernels=(3,))
    names_of = [gene.name for gene in space.genes]
    torch.manual_seed(0)
    return lively(space.build(space.architecture([genes.get(name, 0) for name in names_of])))


@pytest.mark.parametrize("up", [0, 1])
@pytest.mark.parametrize("norm", [0, 1, 2])
def test_sides_are_free_in_steps_for_every_layer(norm: int, up: int) -> None:
    made = convert(unet(norm=norm, up=up), (1, 8, 8, 8), ("onnx",))
    assert made.sides == Sides(multiple_of=4, at_least=8)
    assert made.files["onnx"].shapes == ((2, 1, 8, 8, 8), (1, 1, 12, 8, 8))
    assert made.outputs[0].shape == ("batch", 2, "depth", "height", "width")


def test_a_network_that_takes_one_size_only() -> None:
    network = nn.Sequential(nn.Conv2d(1, 3, 5), nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    made = convert(network, (1, 12, 12), ("onnx",))
    assert made.sides == Sides(fixed=(12, 12))
    assert made.outputs[0].shape == ("batch", 2)
    assert made.files["onnx"].difference <= LIMIT


class Deep(nn.Module):
    """Several outputs in training, as networks with deep supervision have them; several in inference where asked."""

    def __init__(self, always: bool) -> None:
        super().__init__()
        self.always = always
        self.layer = nn.Conv3d(1, 2, 3, padding=1)

    def forward(self, x_BCDHW: torch.Tensor) -> torch.Tensor | dict[str, list[torch.Tensor]]:
        logits = self.layer(x_BCDHW)
        return {"fine": [logits], "coarse": [logits[..., ::2]]} if self.training or self.always else logits


def test_outputs_of_training_are_left_out_and_those_of_inference_are_named() -> None:
    network = Deep(always=False).train()
    made = convert(network, (1, 8, 8, 8), ("onnx",))
    assert [port.name for port in made.outputs] == ["logits"]
    assert network.training
    made = convert(Deep(always=True), (1, 8, 8, 8), ("onnx",))
    assert [port.name for port in made.outputs] == ["output_fine_0", "output_coarse_0"]
    assert made.outputs[0].axes == "BKDHW"
    assert made.files["onnx"].difference <= LIMIT


class Wayward(nn.Module):
    """Its computation depends on what it sees, which a traced graph cannot."""

    def forward(self, x_BCDHW: torch.Tensor) -> torch.Tensor:
        mean = x_BCDHW.mean()
        return x_BCDHW.mean((2, 3, 4)) * (1 if x_BCDHW.is_meta or len(x_BCDHW) == 2 else -1) + 0 * mean


def test_a_file_that_says_something_else_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(NASError, match=r"model\.onnx that differs from torch by"):
        export(Wayward(), (1, 4, 4, 4), tmp_path, ("onnx",))
    assert list(tmp_path.iterdir()) == []


class Counted(nn.Module):
    """With the batch as a constant, where it is traced."""

    def forward(self, x_BCDHW: torch.Tensor) -> torch.Tensor:
        return x_BCDHW.mean((2, 3, 4)) + torch.ones(1, 1).expand(len(x_BCDHW), -1)


def test_a_batch_that_is_taken_for_a_constant() -> None:
    with pytest.raises(NASError, match=r"model\.onnx"):
        convert(Counted(), (1, 4, 4, 4), ("onnx",))


def test_a_layer_that_onnx_has_for_one_size_only() -> None:
    network = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 2))
    assert convert(network, (1, 8, 8), ("onnx",)).sides == Sides(fixed=(8, 8))
    with pytest.raises(NASError, match="a layer that ONNX lacks"):
        convert(network, (1, 9, 9), ("onnx",))


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    network = nn.Conv3d(1, 2, 1)
    nn.init.constant_(network.weight, float("nan"))
    with pytest.raises(NASError, match="differs from torch by inf"):
        export(network, (1, 4, 4, 4), tmp_path, ("onnx",))


def test_mistakes_are_reported(tmp_path: Path) -> None:
    with pytest.raises(NASError, match="export=tensorrt"):
        convert(unet(), (1, 8, 8, 8), ("tensorrt",))
    with pytest.raises(NASError, match="multiples of 4"):
        convert(unet(), (1, 9, 8, 8), ("onnx",))
    with pytest.raises(NASError, match=r"model\.xml"):
        ExportedNetwork(tmp_path / "model.pt")
    with pytest.raises(NASError, match="cannot be read as a model specification"):
        ExportedNetwork(tmp_path / "model.onnx")


def test_a_model_and_the_spec_of_another(tmp_path: Path) -> None:
    export(unet(), (1, 8, 8, 8), tmp_path, ("onnx",))
    ExportedNetwork(tmp_path / "model.onnx")
    content = (tmp_path / "model.onnx").read_bytes()
    (tmp_path / "model.onnx").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(NASError, match="sha256"):
        ExportedNetwork(tmp_path / "model.onnx")
    spec = json.loads((tmp_path / MODEL_JSON).read_text())
    (tmp_path / MODEL_JSON).write_text(json.dumps({**spec, "schema": 3}))
    with pytest.raises(NASError, match="schema 3"):
        ModelSpec.load(tmp_path / MODEL_JSON)

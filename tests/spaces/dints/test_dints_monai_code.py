"""MONAI's codes: networks equal to MONAI's own of the same code, files both ways, codes that do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from nas.errors import NASError
from search_spaces.dints import DiNTSSpace
from search_spaces.dints.monai_code import from_monai, load_monai_code, save_monai_code, to_monai
from search_spaces.dints.network import DiNTSNetwork, edge_name
from tests.spaces.dints.oracle import monai_network

TINY = 1 / 16


def copy_weights(ours: DiNTSNetwork, theirs: torch.nn.Module) -> None:
    parts = [(stem, theirs.stem_down[level]) for level, stem in ours.stems.items()]
    parts += [(module, theirs.stem_up[str(level)]) for level, module in enumerate(ours.head.levels)]
    parts += [(ours.head.final, theirs.stem_finals)]
    for block, wires in enumerate(ours.wiring):
        parts += [(ours.edges[edge_name(block, e)], theirs.dints_space.cell_tree[str((block, e))]) for e, _, _ in wires]
    for own, other in parts:
        for parameter, value in zip(own.parameters(), other.parameters(), strict=True):
            parameter.copy_(value)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("use_downsample", [True, False])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("few", [False, True])
def test_a_network_is_equal_to_monais_of_the_same_code(dims: int, use_downsample: bool, seed: int, few: bool) -> None:
    operations = (("skip",) if dims == 2 else ("skip", "3x3x1", "1x3x3")) if few else None
    space = DiNTSSpace(4, 3, TINY, 2, 3, dims, use_downsample, operations=operations)
    arch = space.sample(np.random.default_rng(seed))
    torch.manual_seed(seed)
    ours, theirs = space.build(arch).double(), monai_network(space, arch).double()
    x = torch.randn(2, 2, *(16, 24, 16)[:dims], dtype=torch.float64)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        copy_weights(ours, theirs)
    outputs = [model(x) for model in (ours, theirs)]
    torch.testing.assert_close(*outputs, rtol=1e-10, atol=1e-10)
    used = sum(parameter.numel() for parameter in ours.parameters())
    outputs[1].square().mean().backward()
    moved = [parameter for parameter in theirs.parameters() if parameter.grad is not None and parameter.grad.any()]
    assert sum(parameter.numel() for parameter in moved) == used, "we build what MONAI trains, and no more"


def test_a_saved_code_trains_in_monai(tmp_path: Path) -> None:
    space = DiNTSSpace(3, 3, TINY)
    arch = space.sample(np.random.default_rng(1))
    save_monai_code(tmp_path / "search_code_7.pt", space, arch)
    code = torch.load(tmp_path / "search_code_7.pt", weights_only=True)
    assert {name: tuple(tensor.shape) for name, tensor in code.items()} == {
        "node_a": (4, 3),
        "arch_code_a": (3, 7),
        "arch_code_c": (3, 7),
    }
    network = monai_network(space, load_monai_code(tmp_path / "search_code_7.pt", space))
    optimiser = torch.optim.SGD(network.parameters(), 0.05)
    torch.manual_seed(0)
    x = torch.randn(2, 1, 16, 16, 16)
    losses = []
    for _ in range(4):
        loss = torch.nn.functional.cross_entropy(network(x), (x[:, 0] > 0).long())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_numpy_codes_of_monais_search_are_read(tmp_path: Path) -> None:
    space = DiNTSSpace(3, 3, TINY)
    arch = space.sample(np.random.default_rng(2))
    code = {name: tensor.numpy() for name, tensor in to_monai(space, arch).items()}
    extra = {"iter_num": 12, "epochs": 3, "best_dsc": np.float64(0.5), "arch_code_a_max": code["arch_code_a"]}
    torch.save(code | extra, tmp_path / "search_code_3.pt")
    assert load_monai_code(tmp_path / "search_code_3.pt", space) == arch


def test_codes_that_do_not_fit(tmp_path: Path) -> None:
    space = DiNTSSpace(3, 3, TINY)
    code = to_monai(space, space.sample(np.random.default_rng(0)))
    with pytest.raises(NASError, match="of shape"):
        from_monai(DiNTSSpace(4, 3, TINY), code)
    with pytest.raises(NASError, match="without 'arch_code_c'"):
        from_monai(space, {"arch_code_a": code["arch_code_a"]})
    with pytest.raises(NASError, match="not feasible"):
        from_monai(space, code | {"arch_code_a": torch.zeros(3, 7)})
    with pytest.raises(NASError, match="unknown operations"):
        from_monai(space, code | {"arch_code_c": code["arch_code_c"] + 5})
    fewer = DiNTSSpace(3, 3, TINY, operations=("skip", "3x1x3"))
    arch = fewer.sample(np.random.default_rng(0))
    assert from_monai(fewer, to_monai(fewer, arch)) == arch
    with pytest.raises(NASError, match="and operations 0, 3"):
        from_monai(fewer, code)
    with pytest.raises(NASError, match=r"check the file"):
        load_monai_code(tmp_path / "none.pt", space)
    torch.save({"arch_code_a": Path("x")}, tmp_path / "code.pt")
    with pytest.raises(NASError, match=r"check the file"):
        load_monai_code(tmp_path / "code.pt", space)

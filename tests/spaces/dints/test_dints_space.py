"""The DiNTS space: exact counts, repair to the nearest architecture, samples, networks, costs as sums, bad input."""

from __future__ import annotations

import itertools
from collections import Counter
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.artifact import Artifact, load
from nas.cost.model import CostModel
from nas.cost.profile import profile
from nas.errors import NASError
from nas.task_spec import TaskSpec
from nas.tasks.segmentation import Segmentation
from nas.testing import check_space
from search_spaces.dints import DiNTSSpace
from search_spaces.dints.paths import nearest
from search_spaces.dints.space import u_shaped
from search_spaces.dints.topology import lattice

TINY = 1 / 16


@pytest.mark.parametrize(
    ("depths", "patterns", "states", "pairs", "arcs"),
    [(3, 127, 7, 35, 4_999), (4, 1_023, 15, 125, 249_999), (5, 8_191, 31, 453, 12_499_999)],
)
def test_the_lattice_has_the_known_numbers(depths: int, patterns: int, states: int, pairs: int, arcs: int) -> None:
    tables = lattice(depths)
    assert (len(tables.patterns_NE), tables.edges, tables.states) == (patterns, 3 * depths - 2, states)
    counts_SS = tables.counts_SS
    # arcs: ordered pairs of patterns that fit together in consecutive blocks
    assert (np.count_nonzero(counts_SS), counts_SS.sum(axis=0) @ counts_SS.sum(axis=1)) == (pairs, arcs)


@pytest.mark.parametrize(
    ("depths", "blocks", "count"),
    [
        (3, 6, 2.32e10),
        (3, 12, 2.43e20),
        (4, 6, 2.06e15),
        (4, 8, 1.89e20),
        (4, 12, 1_607_993_224_832_840_742_702_868_269_231),
        (5, 12, 1.05e40),
    ],
)
def test_the_number_of_feasible_topologies(depths: int, blocks: int, count: float) -> None:
    found = lattice(depths).topologies(blocks)
    assert found == count if isinstance(count, int) else found == pytest.approx(count, rel=5e-3)
    if (depths, blocks) == (4, 12):
        assert np.log10(float(lattice(4).topologies(12, operations=5))) == pytest.approx(92.80, abs=0.005)


@pytest.mark.parametrize(("dims", "operations"), [(2, 2), (3, 5)])
def test_edges_and_operations(dims: int, operations: int) -> None:
    space = DiNTSSpace(spatial_dims=dims)
    assert len(space.genes) == 12 * 10
    assert len(space.operations) == operations
    assert space.lattice.sources_E.tolist() == [0, 1, 0, 1, 2, 1, 2, 3, 2, 3]
    assert space.lattice.targets_E.tolist() == [0, 0, 1, 1, 1, 2, 2, 2, 3, 3]


CONFORMING: list[Any] = [
    ({"num_blocks": 3, "num_depths": 3, "channel_mul": TINY}, (2, 16, 16, 8)),
    ({"num_blocks": 2, "num_depths": 4, "channel_mul": TINY, "use_downsample": False}, (1, 16, 8, 8)),
    pytest.param(
        {"num_blocks": 3, "num_depths": 2, "channel_mul": TINY, "spatial_dims": 2}, (3, 16, 24), marks=pytest.mark.slow
    ),
    ({"num_blocks": 2, "num_depths": 2, "channel_mul": TINY, "spatial_dims": 2, "use_downsample": False}, (1, 4, 6)),
    ({"num_blocks": 2, "num_depths": 1, "channel_mul": TINY}, (1, 4, 4, 4)),
    ({"num_blocks": 3, "num_depths": 2, "channel_mul": TINY, "operations": ["skip", "3x3x1"]}, (1, 8, 8, 8)),
]


@pytest.mark.parametrize(("arguments", "shape"), CONFORMING)
def test_conformance(arguments: dict[str, Any], shape: tuple[int, ...]) -> None:
    check_space(DiNTSSpace(**arguments), shape, outputs=3)


def test_the_enumeration_is_complete() -> None:
    for space in (DiNTSSpace(2, 2, TINY, spatial_dims=2), DiNTSSpace(1, 2, TINY)):
        every = space.enumerate()
        assert every is not None
        sizes = [range(len(gene.choices)) for gene in space.genes]
        valid = [genes for genes in itertools.product(*sizes) if space.repair(genes).genes == genes]
        assert sorted(map(tuple, every.tolist())) == sorted(valid)
    assert DiNTSSpace().enumerate() is None


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_repair_goes_to_the_nearest_feasible_architecture(data: st.DataObject) -> None:
    space = DiNTSSpace(2, 2, TINY, spatial_dims=2)
    every = _all_of_the_small_space()
    genes = [data.draw(st.integers(0, 2)) for _ in space.genes]
    found = space.repair(genes)
    distances = (every != np.array(genes)).sum(axis=1)
    assert (np.array(found.genes) != np.array(genes)).sum() == distances.min()
    assert space.repair(found.genes) == found


@cache
def _all_of_the_small_space() -> np.ndarray:
    every = DiNTSSpace(2, 2, TINY, spatial_dims=2).enumerate()
    assert every is not None
    return every


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-3, 9), min_size=120, max_size=120))
def test_repair_is_total_and_idempotent_in_the_published_space(genes: list[int]) -> None:
    space = DiNTSSpace()
    found = space.repair(genes)
    assert space.lattice.is_feasible(space.table(found.genes) >= 0)
    assert space.repair(found.genes) == found


def test_nearest_on_three_levels_by_brute_force() -> None:
    tables, rng = lattice(3), np.random.default_rng(0)
    every_TBE = tables.patterns_NE[tables.every_topology(2)]
    for _ in range(50):
        on_BE = rng.random((2, tables.edges)) < rng.random()
        found = nearest(tables, on_BE)
        assert (found != on_BE).sum() == (every_TBE != on_BE).sum(axis=(1, 2)).min()


def test_samples_are_uniform_over_topologies() -> None:
    space, rng = DiNTSSpace(2, 2, TINY), np.random.default_rng(0)
    total = space.lattice.topologies(2)
    draws = Counter((space.table(space.sample(rng).genes) >= 0).tobytes() for _ in range(60 * total))
    assert len(draws) == total
    deviations = (np.array(list(draws.values())) - 60) / np.sqrt(60)
    assert np.mean(deviations**2) == pytest.approx(1.0, abs=0.35)  # chi-square by degree of freedom


def test_a_mutation_is_kept_and_others_are_few() -> None:
    space, rng = DiNTSSpace(), np.random.default_rng(0)
    arch = space.sample(rng)
    changed = [(np.array(space.mutate(arch, rng).genes) != np.array(arch.genes)).sum() for _ in range(200)]
    assert min(changed) >= 1
    assert np.median(changed) <= 2
    edges = [(space.table(space.mutate(arch, rng).genes) >= 0).tobytes() for _ in range(100)]
    assert len(set(edges)) > 20, "topologies hardly change"


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("use_downsample", [True, False])
def test_costs_are_sums_of_blocks(dims: int, use_downsample: bool) -> None:
    space = DiNTSSpace(3, 3, 0.125, spatial_dims=dims, use_downsample=use_downsample)
    task, rng = TaskSpec("segmentation", dims, 2, 3), np.random.default_rng(1)
    shape = (2, 32, 16, 16)[: dims + 1]
    cost = CostModel(space, task, shape)
    for _ in range(5):
        arch = space.sample(rng)
        whole = profile(space.build(arch, task), (1, *shape))
        for metric in ("params", "macs", "bytes"):
            assert cost.of_metric(metric).of(arch) == getattr(whole, metric)


def test_only_what_is_used_is_built_and_trained() -> None:
    space, rng = DiNTSSpace(4, 4, TINY), np.random.default_rng(0)
    for _ in range(5):
        network = space.build(space.sample(rng))
        network(torch.randn(1, 1, 32, 32, 32)).square().mean().backward()
        assert all(parameter.grad is not None for parameter in network.parameters())


def test_deep_supervision_gives_logits_of_every_level_in_training() -> None:
    space, task = DiNTSSpace(4, 3, TINY, deep_supervision=True), Segmentation(outputs=3)
    arch = space.architecture(u_shaped(4, 3, operation=1))
    network = space.build(arch, task.spec)
    out = network(torch.randn(1, 1, 16, 16, 16))
    assert [tuple(part.shape) for part in out] == [(1, 3, 16, 16, 16)] * 4
    y = torch.randint(3, (1, 16, 16, 16))
    loss = task.loss(out, y)
    parts = [task.loss(part, y) for part in out]
    torch.testing.assert_close(loss, sum(part / 2**n for n, part in enumerate(parts)) / (1 + 1 / 2 + 1 / 4 + 1 / 8))
    loss.backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    inherited = space.supernet(task.spec).subnetwork(arch)
    assert [name for name, _ in inherited.named_parameters()] == [name for name, _ in network.named_parameters()]
    assert network.eval()(torch.randn(1, 1, 16, 16, 16)).shape == (1, 3, 16, 16, 16)


def test_arch_json_builds_the_same_network(tmp_path: Any) -> None:
    space = DiNTSSpace(3, 3, TINY)
    arch, task = space.sample(np.random.default_rng(0)), TaskSpec("segmentation", 3, 1, 2)
    Artifact(space, arch, task).save(tmp_path / "arch.json")
    again = load(tmp_path / "arch.json")
    assert again.arch == arch
    again.build().load_state_dict(space.build(arch, task).state_dict())


def test_ids_are_those_of_the_time_before_operations_could_be_chosen() -> None:
    space, arch = DiNTSSpace.from_name("u-shaped")
    assert arch.id == "572d5c08858b"
    assert DiNTSSpace(operations=["skip", "3x3x3", "3x3x1", "3x1x3", "1x3x3"]).fingerprint == space.fingerprint
    assert DiNTSSpace(operations=["skip", "3x3x3"]).fingerprint != space.fingerprint


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"num_depths": 0}, "num_depths=0"),
        ({"num_depths": 9}, "num_depths=9"),
        ({"num_blocks": 0}, "num_blocks=0"),
        ({"channel_mul": 0.01}, "at least 1/32"),
        ({"out_channels": 1}, "background included"),
        ({"spatial_dims": 4}, "2 or 3"),
        ({"operations": ["3x3x3"]}, "skip and any of the others, in this order: skip, 3x3x3, 3x3x1, 3x1x3, 1x3x3"),
        ({"operations": ["skip", "3x3x1", "3x3x3"]}, "in this order"),
        ({"operations": ["skip", "5x5x5"]}, "in this order"),
        ({"operations": []}, "skip and any"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(NASError, match=words):
        DiNTSSpace(**arguments)


def test_bad_input_is_refused() -> None:
    space = DiNTSSpace(2, 3, TINY)
    network = space.build(space.sample(np.random.default_rng(0)))
    for sides in ((20, 16, 16), (8, 8, 8), (16, 16)):
        with pytest.raises(NASError, match="multiples of 8, one of them at least 16"):
            network(torch.zeros(1, 1, *sides))
    with pytest.raises(NASError, match="a task of 2 dimensions"):
        space.build(space.sample(np.random.default_rng(0)), TaskSpec("segmentation", 2, 1, 2))
    with pytest.raises(NASError, match="one per edge"):
        space.repair([0])
    with pytest.raises(NASError, match="expected genes of DiNTSSpace"):
        space.architecture([0] * len(space.genes))

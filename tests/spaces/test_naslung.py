"""The NAS-Lung space against measured counts of the published networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.errors import NASError
from nas.task_spec import TaskSpec
from search_spaces.naslung import NASLungSpace
from search_spaces.naslung_network import NASLungNet

MODEL_LIST_COUNTS = {
    "[4,4,[8, 8, 8], [16, 16, 16], [32, 32]]": (157_606, 157_604, 158_502, 158_500),
    "[4,4,[8, 16, 16], [16, 32, 64], [128, 128]]": (1_946_662, 1_946_660, 1_957_254, 1_957_252),
    "[4,4,[4, 8, 16, 16, 16], [32, 128], [128]]": (1_996_282, 1_996_280, 2_013_018, 2_013_016),
    "[4,4,[64, 64, 64, 64], [64], [128, 128]]": (2_819_630, 2_819_628, 2_832_142, 2_832_140),
    "[4,4,[8, 32], [64, 64, 64], [64, 64, 128, 128]]": (2_824_598, 2_824_596, 2_835_574, 2_835_572),
    "[32,64,[64], [64], [64, 64, 128, 128]]": (2_867_458, 2_867_456, 2_882_010, 2_882_008),
    "[32,64,[64, 64, 64], [64, 64, 64, 64], [64, 64, 64, 64, 128]]": (3_546_178, 3_546_176, 3_560_730, 3_560_728),
    "[32,64,[64], [64, 64, 256], [512, 512]]": (30_132_034, 30_132_032, 30_300_186, 30_300_184),
    "[32,64,[64, 64], [64, 128, 128, 128, 128], [256, 256, 512, 512]]": (
        36_249_922,
        36_249_920,
        36_393_498,
        36_393_496,
    ),
    "[32,64,[64, 64], [64, 64], [64, 128, 512, 512, 512]]": (39_954_370, 39_954_368, 40_091_802, 40_091_800),
}
PUBLISHED_COUNTS = {
    "model-1": 16_128,
    "default": 28_456_204,
    **{
        variant + name: count
        for name, counts in MODEL_LIST_COUNTS.items()
        for variant, count in zip(("plain", "sp", "cbam", "spcbam"), counts, strict=True)
    },
}
TOPS_AND_DOWN_SETS = [
    ([[128] * 3] * 3, 2002, 26),
    ([[4, 8, 16], [16, 32, 64], [64, 128, 128]], 767, 244),
    ([[8, 32], [64, 64, 64], [64, 64, 128, 128]], 1398, 71),
    ([[8, 16, 16], [16, 32, 64], [128, 128]], 617, 69),
]


def parameters(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(("name", "count"), PUBLISHED_COUNTS.items())
def test_published_parameter_counts(name: str, count: int) -> None:
    space, arch = NASLungSpace.from_name(name)
    with torch.device("meta"):
        assert parameters(space.build(arch)) == count


def test_the_published_names_are_exactly_these() -> None:
    assert set(NASLungSpace.published) == set(PUBLISHED_COUNTS)


def test_a_published_name_is_found_whatever_its_white_space() -> None:
    spaced = NASLungSpace.from_name("spcbam[4,4,[8, 8, 8], [16, 16, 16], [32, 32]]")
    compact = NASLungSpace.from_name("spcbam[4,4,[8,8,8],[16,16,16],[32,32]]")
    assert spaced[1] == compact[1]


@pytest.mark.parametrize("seed", range(10))
def test_closed_form_of_the_parameter_count(seed: int) -> None:
    space = NASLungSpace()
    arch = space.sample(np.random.default_rng(seed))

    def cbam(c: int) -> int:
        return 2 * c * (c // 4) + 54

    s1, s2 = space.stem
    expected = 27 * s1 + 3 * s1 + 27 * s1 * s2 + 3 * s2 + cbam(s2)
    left = s2
    for stage in space.stages(arch):
        expected += 27 * left**2 + 2 * left
        for c in stage:
            expected += 27 * left * c + 3 * c + 27 * c * c + 3 * c + left * c + 3 * c
            left = c
        expected += cbam(left)
    assert parameters(space.build(arch)) == expected + 2 * left


def test_size_of_the_space() -> None:
    space = NASLungSpace()
    every = space.enumerate()
    assert every is not None
    assert every.shape == (101_529, 21)
    assert len(np.unique(every, axis=0)) == 101_529
    depths = (every > 0).sum(axis=1)
    assert [int((depths == d).sum()) for d in range(3, 10)] == [56, 378, 1512, 4620, 11880, 27027, 56056]
    assert [space.count(d) for d in range(3, 10)] == [56, 378, 1512, 4620, 11880, 27027, 56056]


@pytest.mark.parametrize(("stages", "narrower", "shallower"), TOPS_AND_DOWN_SETS)
def test_down_sets_of_the_partial_order(stages: list[list[int]], narrower: int, shallower: int) -> None:
    space = NASLungSpace()
    every = space.enumerate()
    assert every is not None
    top = np.array(space.from_stages(stages).genes)
    under = every[(every <= top).all(axis=1)]
    same_split = ((under > 0) == (top > 0)).all(axis=1)
    assert int(same_split.sum()) == narrower
    deleted = {tuple(map(tuple, s)) for s in deletions(stages)}
    assert len(deleted) == shallower
    rows = {tuple(row) for row in under.tolist()}
    assert all(space.from_stages(s).genes in rows for s in deleted)


def deletions(stages: list[list[int]]) -> set[tuple[tuple[int, ...], ...]]:
    """Everything that deleting blocks gives, at least one left per stage and another network than the start."""
    found: set[tuple[tuple[int, ...], ...]] = set()
    todo = [tuple(map(tuple, stages))]
    while todo:
        current = todo.pop()
        for s, stage in enumerate(current):
            for b in range(len(stage)):
                if len(stage) > 1:
                    child = (*current[:s], stage[:b] + stage[b + 1 :], *current[s + 1 :])
                    if child not in found:
                        found.add(child)
                        todo.append(child)
    return found


@given(st.lists(st.integers(-3, 12), min_size=21, max_size=21))
@settings(max_examples=300, deadline=None)
def test_repair_is_total_idempotent_and_lands_in_the_space(genes: list[int]) -> None:
    space = NASLungSpace()
    arch = space.repair(genes)
    stages = space.stages(arch)
    flat = [width for stage in stages for width in stage]
    assert all(stages)
    assert 3 <= len(flat) <= 9
    assert flat == sorted(flat)
    assert space.repair(arch.genes) == arch
    assert space.from_stages(stages) == arch


def test_every_point_of_a_small_space_is_its_own_repair() -> None:
    space = NASLungSpace(widths=(4, 8, 16), max_depth=5)
    every = space.enumerate()
    assert every is not None
    assert all(space.repair(row).genes == tuple(row) for row in every.tolist())


def test_samples_are_uniform() -> None:
    space = NASLungSpace(widths=(4, 8), max_depth=4)
    every = space.enumerate()
    assert every is not None
    rng = np.random.default_rng(0)
    counts = {tuple(row): 0 for row in every.tolist()}
    for _ in range(200 * len(every)):
        counts[space.sample(rng).genes] += 1
    frequency = np.array(list(counts.values()))
    chi_square = ((frequency - 200) ** 2 / 200).sum()
    assert chi_square < len(every) + 4 * np.sqrt(2 * len(every))


def test_mutation_and_crossover_stay_in_the_space() -> None:
    space = NASLungSpace()
    rng = np.random.default_rng(1)
    a, b = space.sample(rng), space.sample(rng)
    for _ in range(50):
        child = space.crossover(space.mutate(a, rng), b, rng)
        assert space.architecture(child.genes) == child
        assert space.mutate(child, rng) != child


@pytest.mark.parametrize("side", [16, 32])
@pytest.mark.parametrize("cbam", ["none", "published", "woo2018"])
@pytest.mark.parametrize("head", ["softmax", "a_softmax"])
def test_networks_train_at_both_sizes(side: int, cbam: str, head: str) -> None:
    torch.manual_seed(0)
    space = NASLungSpace(cbam=cbam, head=head)
    network = space.build(space.from_stages([[4, 4], [4, 8], [8, 8]]), TaskSpec(in_channels=2, outputs=3))
    x, y = torch.rand(4, 2, side, side, side), torch.tensor([0, 1, 2, 1])
    logits = network(x, y) if network.needs_target else network(x)
    assert logits.shape == (4, 3)
    torch.nn.functional.cross_entropy(logits, y).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_blocks_add_up_to_the_network() -> None:
    space = NASLungSpace()
    rng = np.random.default_rng(3)
    archs = [space.sample(rng) for _ in range(5)]
    vocabulary, ids_NK = space.blocks(space.encode(archs), (16, 16, 16))
    for arch, ids in zip(archs, ids_NK, strict=True):
        blocks = [vocabulary[i] for i in ids if i >= 0]
        assert sum(parameters(block.build()) for block in blocks) == parameters(space.build(arch))


def test_a_side_that_is_no_multiple_of_eight() -> None:
    space, arch = NASLungSpace.from_name("model-1")
    with pytest.raises(NASError, match="multiples of 8"):
        space.build(arch)(torch.rand(2, 1, 20, 20, 20))


@pytest.mark.parametrize(
    "arguments",
    [
        {"stem": (4,)},
        {"widths": (8, 4)},
        {"min_depth": 2},
        {"min_depth": 6, "max_depth": 5},
        {"cbam": "sum"},
        {"head": "arcface"},
        {"in_channels": 0},
    ],
)
def test_arguments_out_of_range(arguments: dict) -> None:
    with pytest.raises(NASError, match=next(iter(arguments))):
        NASLungSpace(**arguments)


def test_unknown_names_and_stages() -> None:
    with pytest.raises(NASError, match="model-1"):
        NASLungSpace.from_name("model-99")
    with pytest.raises(NASError, match="widen the space"):
        NASLungSpace().from_stages([[4], [8], [256]])
    with pytest.raises(NASError, match="expected genes of NASLungSpace"):
        NASLungSpace().from_stages([[8], [4], [4]])
    with pytest.raises(NASError, match="2 dimensions for a space of 3"):
        NASLungSpace().build(NASLungSpace().from_stages([[4], [4], [4]]), TaskSpec(dims=2))


def test_description_names_every_width() -> None:
    space, arch = NASLungSpace.from_name("model-1")
    text = space.describe(arch)
    assert "4 > 8" in text
    assert "a_softmax, 8 features" in text


def test_the_network_is_the_published_composition() -> None:
    """Pool conv without bias; projection even where the widths agree; ReLU before the sum, none after."""
    network = NASLungNet(1, (4, 4), [[4], [4], [4]], "published", "softmax", 2).eval()
    block = network.stages[0][1]
    assert network.stages[0][0][0].bias is None
    x = torch.randn(2, 4, 8, 8, 8)
    body, projection = block.body(x), block.projection(x)
    assert (body >= 0).all()
    assert (projection >= 0).all()
    torch.testing.assert_close(block(x), body + projection)

"""Each change by itself: what it does to known volumes, that draws differ by sample and repeat with the seed."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from nas.data.transforms.augment import Augment, _rotations
from nas.errors import NASError

EVERYTHING = Augment(flip=(0, 1, 2), shift=2, rotate=10, scale=0.1, cutout=3)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(batch: int = 64, channels: int = 1, shape: tuple[int, ...] = (6, 8, 10)) -> torch.Tensor:
    return torch.rand((batch, channels, *shape), generator=seeded(99)) + 0.5


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 2), (0, 1, 2)])
def test_flip_mirrors_exactly_the_named_axes(axes: tuple[int, ...]) -> None:
    x = noise()
    out = Augment(flip=axes)(x, seeded())
    subsets = [[a for i, a in enumerate(axes) if bits >> i & 1] for bits in range(2 ** len(axes))]
    counts = [0] * len(subsets)
    for before, after in zip(x, out, strict=True):
        matches = [torch.equal(before.flip([a + 1 for a in chosen]), after) for chosen in subsets]
        assert sum(matches) == 1
        counts[matches.index(True)] += 1
    assert min(counts) > 0
    assert max(counts) < 64


def test_shift_is_padding_by_the_border_and_cropping() -> None:
    x, shift = noise(channels=2), 2
    out = Augment(shift=shift)(x, seeded())
    padded = torch.nn.functional.pad(x, (shift,) * 6, mode="replicate")
    offsets = set()
    for before, after in zip(padded, out, strict=True):
        found = [
            (d, h, w)
            for d in range(5)
            for h in range(5)
            for w in range(5)
            if torch.equal(before[:, d : d + 6, h : h + 8, w : w + 10], after)
        ]
        assert len(found) == 1
        offsets.add(found[0])
    assert {d for d, _, _ in offsets} == {h for _, h, _ in offsets} == {w for _, _, w in offsets} == set(range(5))


def test_cutout_zeroes_one_cube_within_the_volume() -> None:
    out = Augment(cutout=3)(noise(channels=2), seeded())
    holes = out == 0
    assert (holes.flatten(1).sum(1) == 2 * 27).all()
    corners = set()
    for hole in holes[:, 0]:
        first, last = hole.nonzero().min(0).values, hole.nonzero().max(0).values
        assert (last - first == 2).all()
        corners.add(tuple(first.tolist()))
    assert len(corners) > 16
    assert (Augment(cutout=99)(noise(), seeded()) == 0).all()


def test_the_rest_of_a_cutout_is_untouched() -> None:
    x = noise()
    out = Augment(cutout=3)(x, seeded())
    assert torch.equal(out[out != 0], x[out != 0])


def test_rotation_matrices_are_rotations() -> None:
    turned = _rotations(torch.rand((16, 3), generator=seeded(), dtype=torch.float64) * 3)
    eye = torch.eye(3, dtype=torch.float64).expand(16, 3, 3)
    torch.testing.assert_close(turned @ turned.mT, eye)
    torch.testing.assert_close(torch.linalg.det(turned), torch.ones(16, dtype=torch.float64))


def ball(radius: float, shape: tuple[int, int, int]) -> torch.Tensor:
    axes = [torch.arange(side) - (side - 1) / 2 for side in shape]
    d, h, w = torch.meshgrid(*axes, indexing="ij")
    return torch.sigmoid(4 * (radius - (d**2 + h**2 + w**2).sqrt()))


@pytest.mark.parametrize("shape", [(16, 16, 16), (12, 16, 24)])
def test_rotation_keeps_a_ball_and_turns_a_rod(shape: tuple[int, int, int]) -> None:
    """In a box with unequal sides too: the turn is in voxels, not in fractions of the sides."""
    x = ball(4, shape).expand(8, 1, *shape).contiguous()
    out = Augment(rotate=30)(x, seeded())
    assert (out - x).abs().max() < 0.35  # trilinear blur of the steep edge
    torch.testing.assert_close(out.sum((1, 2, 3, 4)), x.sum((1, 2, 3, 4)), rtol=0.02, atol=0)
    rod = torch.zeros((8, 1, *shape))
    rod[:, :, shape[0] // 2, shape[1] // 2, 4:-4] = 1
    assert (Augment(rotate=30)(rod, seeded()) - rod).flatten(1).abs().amax(1).min() > 0.5


def test_scale_grows_and_shrinks_the_volume_of_a_ball() -> None:
    x = ball(4, (16, 16, 16)).expand(64, 1, 16, 16, 16).contiguous()
    ratios = Augment(scale=0.2)(x, seeded()).sum((1, 2, 3, 4)) / x.sum((1, 2, 3, 4))
    assert 0.8**3 * 0.95 < ratios.min() < 0.7
    assert 1.4 < ratios.max() < 1.2**3 * 1.05


def test_a_turn_of_nothing_changes_nothing() -> None:
    x = noise()
    tiny = Augment(rotate=1e-6)(x, seeded())
    torch.testing.assert_close(tiny, x, rtol=1e-4, atol=1e-4)
    assert Augment()(x, seeded()) is x


def test_the_same_seed_gives_the_same_bits_and_another_seed_others() -> None:
    x = noise(channels=2)
    first = EVERYTHING(x, seeded(1))
    assert first.shape == x.shape
    assert torch.equal(first, EVERYTHING(x, seeded(1)))
    assert not torch.equal(first, EVERYTHING(x, seeded(2)))


def test_the_input_is_left_alone() -> None:
    x = noise()
    before = x.clone()
    EVERYTHING(x, seeded())
    assert torch.equal(x, before)


@pytest.mark.parametrize(
    "arguments",
    [
        {"flip": (3,)},
        {"shift": -1},
        {"rotate": 200},
        {"scale": 1.0},
        {"cutout": -2},
        {"gamma": -1},
        {"contrast": 1.0},
        {"brightness": -0.1},
        {"noise": -0.1},
    ],
    ids=lambda arguments: next(iter(arguments)),
)
def test_values_out_of_range_are_reported(arguments: dict[str, Any]) -> None:
    with pytest.raises(NASError, match=f"augment.{next(iter(arguments))}"):
        Augment(**arguments)

"""The segmentation task: loss and metrics against hand calculation and MONAI, empty regions, the sliding window."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from monai.inferers import sliding_window_inference
from monai.metrics import compute_dice
from scipy import ndimage
from torch import nn

from nas.errors import NASError, TrialFailed
from nas.metrics.surface import dice, surfaces
from nas.tasks.segmentation import Segmentation
from search_spaces.unet import UNetSpace
from tests.exported import lively

SIDES = (5, 6, 4)
masks = arrays(np.uint8, (2, *SIDES), elements=st.integers(0, 2))
UNIT = np.ones((1, 3))


def one_hot(classes: np.ndarray, count: int = 3) -> np.ndarray:
    """(N, D, H, W) -> probabilities (N, K, D, H, W) that are certain."""
    return np.moveaxis(np.eye(count)[classes], -1, 1)


def block(*corner: int, side: int = 3, shape: tuple[int, ...] = (10, 10, 10)) -> np.ndarray:
    mask = np.zeros((1, *shape), dtype=np.uint8)
    mask[(0, *(slice(start, start + side) for start in corner))] = 1
    return mask


@settings(max_examples=50, deadline=None)
@given(masks, masks)
def test_dice_is_monais(guess: np.ndarray, target: np.ndarray) -> None:
    pair = [torch.from_numpy(one_hot(mask)) for mask in (guess, target)]
    theirs = compute_dice(*pair, include_background=False, ignore_empty=False).numpy()
    both_empty = np.array(
        [[not (g == k).any() and not (t == k).any() for k in (1, 2)] for g, t in zip(guess, target, strict=True)]
    )
    ours = dice(guess, target, 3)
    np.testing.assert_array_equal(np.isnan(ours), both_empty)
    np.testing.assert_allclose(ours[~both_empty], theirs[~both_empty], atol=1e-6)


def brute_force(guess: np.ndarray, target: np.ndarray, spacing: np.ndarray, tolerance: float) -> tuple[float, float]:
    """hd95 and surface Dice from all distances between surface voxels: those with a neighbour outside."""

    def surface(mask: np.ndarray) -> np.ndarray:
        inner = ndimage.binary_erosion(mask, ndimage.generate_binary_structure(mask.ndim, 1), border_value=0)
        return np.argwhere(mask & ~inner) * spacing

    a, b = surface(guess == 1), surface(target == 1)
    distance_AB = np.linalg.norm(a[:, None] - b[None], axis=2)
    to_b, to_a = distance_AB.min(axis=1), distance_AB.min(axis=0)
    hd95 = max(np.percentile(to_b, 95), np.percentile(to_a, 95))
    near = (to_b <= tolerance).sum() + (to_a <= tolerance).sum()
    return hd95, near / (len(a) + len(b))


@settings(max_examples=40, deadline=None)
@given(
    arrays(np.uint8, (1, *SIDES), elements=st.integers(0, 1)),
    arrays(np.uint8, (1, *SIDES), elements=st.integers(0, 1)),
    st.tuples(*[st.sampled_from([0.7, 1.0, 2.5])] * 3),
    st.sampled_from([0.0, 1.0, 2.0]),
)
def test_distances_between_surfaces_by_brute_force(
    guess: np.ndarray, target: np.ndarray, spacing: tuple[float, ...], tolerance: float
) -> None:
    guess[0, 0, 0, 0] = target[0, -1, -1, -1] = 1  # neither is empty
    hd95, share = surfaces(guess, target, 2, np.array([spacing]), tolerance)
    expected = brute_force(guess[0], target[0], np.array(spacing), tolerance)
    np.testing.assert_allclose((hd95[0, 0], share[0, 0]), expected, rtol=1e-4)  # MONAI measures in fp32


def test_a_block_moved_by_two_voxels() -> None:
    """By hand: two of three planes apart; Dice 1/3; the far faces are 2 voxels of 1.5 mm from the other block."""
    target, guess = block(3, 3, 3), block(5, 3, 3)
    assert dice(guess, target, 2)[0, 0] == pytest.approx(1 / 3)
    hd95, share = surfaces(guess, target, 2, np.array([[1.5, 1.0, 1.0]]), tolerance=3.0)
    assert (hd95[0, 0], share[0, 0]) == (3.0, 1.0)


def test_slices_are_measured_in_their_plane() -> None:
    target, guess = block(1, 1, side=2, shape=(8, 8)), block(1, 4, side=2, shape=(8, 8))
    hd95, share = surfaces(guess, target, 2, np.array([[9.0, 0.5]]), tolerance=1.0)
    assert hd95[0, 0] == 1.5
    assert share[0, 0] == 0.5  # the facing columns are 2 voxels of 0.5 mm apart


def test_the_rule_for_empty_regions() -> None:
    """Class 1 is in the first case only, and found; class 2 is in the second case only, and found in the first too."""
    target = np.zeros((3, 4, 4, 4), dtype=np.uint8)
    guess = target.copy()
    target[0, 0], guess[0, 0], guess[0, 1] = 1, 1, 2
    target[1, 2] = 2
    found = Segmentation(outputs=3).score(one_hot(guess), target, np.full((3, 3), 2.0)).over()
    diagonal = 2.0 * np.sqrt(48)
    assert (found["dice_1"], found["hd95_1"], found["surface_dice_1"]) == (1.0, 0.0, 1.0)  # one case counts
    assert (found["dice_2"], found["surface_dice_2"]) == (0.0, 0.0)  # found where it is not; missed where it is
    assert found["hd95_2"] == pytest.approx(diagonal)
    assert (found["dice"], found["surface_dice"]) == (0.5, 0.5)
    assert found["hd95"] == pytest.approx(diagonal / 2)


def test_lengths_are_in_voxels_where_no_spacing_is_known() -> None:
    found = Segmentation(outputs=2).score(one_hot(block(5, 3, 3), 2), block(3, 3, 3)).over()
    assert found["hd95"] == 2.0


def test_the_loss_by_hand() -> None:
    torch.manual_seed(0)
    logits, y = torch.randn(2, 3, 4, 4, 4), torch.randint(0, 3, (2, 4, 4, 4))
    prob, truth = logits.softmax(1), torch.nn.functional.one_hot(y, 3).movedim(-1, 1).float()
    axes = (2, 3, 4)
    overlap = (2 * (prob * truth).sum(axes) + 1e-5) / (prob.sum(axes) + truth.sum(axes) + 1e-5)
    entropy = -(truth * logits.log_softmax(1)).sum(1).mean()
    found = Segmentation(outputs=3).loss(logits.bfloat16(), y)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, 1 - overlap.mean() + entropy, rtol=2e-2, atol=0)
    torch.testing.assert_close(Segmentation(outputs=3).loss(logits, y), 1 - overlap.mean() + entropy)
    assert Segmentation(outputs=3, dims=2).loss(logits[:, :, 0], y[:, 0]).ndim == 0


class Watched(nn.Module):
    """A convolution that sees one voxel, and remembers the windows it was shown."""

    def __init__(self, dims: int = 3) -> None:
        super().__init__()
        self.layer = (nn.Conv3d if dims == 3 else nn.Conv2d)(1, 3, 1)
        self.seen: list[tuple[int, ...]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(tuple(x.shape[2:]))
        assert not self.training
        return self.layer(x)


@pytest.mark.parametrize(
    ("dims", "window", "windows"),
    [(3, None, {(12, 10, 8)}), (3, 8, {(8, 8, 8)}), (3, (16, 10, 4), {(16, 10, 4)}), (2, (4, 8), {(4, 8)})],
)
def test_windows_give_what_the_whole_image_gives(dims: int, window: Any, windows: set[tuple[int, ...]]) -> None:
    """Also for images smaller than the window, and with the model left in its mode."""
    model, x = Watched(dims), torch.rand(2, 1, *(12, 10, 8)[:dims])
    task = Segmentation(outputs=3, dims=dims, window=window, overlap=0.5, precision="fp32")
    found = task.predict(model, x)
    assert set(model.seen) == windows
    assert model.training
    torch.testing.assert_close(found, model.layer(x).softmax(1))


def test_windows_are_weighted_as_a_gaussian() -> None:
    """Where two windows overlap, the one whose middle is nearer says more; each says the mean of what it saw."""

    class Mean(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            mean = x.mean(dim=(2, 3), keepdim=True) + torch.zeros_like(x)
            return torch.cat([torch.zeros_like(x), mean], dim=1)

    x = torch.zeros(1, 1, 8, 16)
    x[..., 12:] = 1.0  # seen by the second window only: 0 to 12, and 4 to 16
    prob = Segmentation(dims=2, window=(8, 12), overlap=0.6).predict(Mean(), x)[0, 1, 3]
    alone, half = torch.tensor([0.0, 1 / 3]).sigmoid(), torch.tensor(1 / 6).sigmoid()
    torch.testing.assert_close(prob[[0, 15]], alone)
    assert alone[0] < prob[5] < prob[6] < half < prob[9] < prob[10] < alone[1]


@pytest.mark.parametrize("flips", [(0,), (2,), (0, 2)])
def test_mirrored_views_are_turned_back_and_averaged(flips: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    model, x = nn.Conv3d(1, 3, 3, padding=1), torch.rand(2, 1, 4, 5, 6)
    task = Segmentation(outputs=3, flips=flips, precision="fp32")
    found = task.predict(model, x)
    views = [[], *([2 + axis] for axis in flips), *([[2 + axis for axis in flips]] if len(flips) > 1 else [])]
    expected = torch.stack([model(x.flip(axes)).softmax(1).flip(axes) for axes in views]).mean(dim=0)
    torch.testing.assert_close(found, expected)
    mirrored = task.predict(model, x.flip(2 + flips[0])).flip(2 + flips[0])
    torch.testing.assert_close(found, mirrored)


@pytest.mark.parametrize(("dims", "side", "window"), [(3, 11, 8), (2, 20, (16, 8))])
def test_windows_are_blended_as_by_monai(dims: int, side: int, window: Any) -> None:
    """Also with normalisations that are joined with the convolutions, and with mirrored views."""
    space = UNetSpace(depths=(1,), widths=(4,), norms=("batch",), spatial_dims=dims, out_channels=3)
    torch.manual_seed(0)
    model, x = lively(space.build(space.repair([0] * 6))), torch.rand(2, 1, *[side] * dims)
    sides = (window,) * dims if isinstance(window, int) else window
    found = Segmentation(outputs=3, dims=dims, window=window, overlap=0.4, precision="fp32").predict(model, x)
    with torch.inference_mode():
        logits = sliding_window_inference(x, sides, 3, model.eval(), overlap=0.4, mode="gaussian")
    torch.testing.assert_close(found, logits.softmax(1), atol=1e-5, rtol=0)


def test_a_prediction_in_bf16_has_the_dice_of_one_in_fp32() -> None:
    """Predictions of a network that has learnt to find balls; probabilities are fp32."""
    torch.manual_seed(0)
    space = UNetSpace(depths=(1,), widths=(8,), norms=("batch",))
    model, task = space.build(space.repair([0] * 6)), Segmentation(window=16, overlap=0.25)
    x, y = balls(4, 24)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(25):
        optimizer.zero_grad()
        task.loss(model(x[:3]), y[:3]).backward()
        optimizer.step()
    both = [Segmentation(window=16, precision=precision).predict(model, x[3:]) for precision in ("fp32", "bf16")]
    assert both[1].dtype == torch.float32
    scores = [dice(prob.argmax(dim=1).numpy(), y[3:].numpy(), 2)[0, 0] for prob in both]
    assert scores[0] > 0.8
    assert scores[1] == pytest.approx(scores[0], abs=0.01)
    assert not torch.equal(*both)


def balls(count: int, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (B, 1, D, H, W) of a ball in noise, and its voxels."""
    places = torch.stack(torch.meshgrid(*[torch.arange(side)] * 3, indexing="ij"))
    middles = side / 3 + torch.rand(count, 3, 1, 1, 1) * side / 3
    inside = (places - middles).square().sum(dim=1) < (side / 4) ** 2
    return (inside + 0.3 * torch.randn(count, side, side, side))[:, None], inside.long()


def test_resampled_cases_give_the_metrics_of_these_cases() -> None:
    rng = np.random.default_rng(0)
    target = rng.integers(0, 3, (6, *SIDES)).astype(np.uint8)
    prob = rng.dirichlet(np.ones(3), (6, *SIDES)).transpose(0, 4, 1, 2, 3)
    target[5] = 0
    task, spacing = Segmentation(outputs=3), np.tile([[1.0, 2.0, 0.5]], (6, 1))
    statistic = task.score(prob, target, spacing).over
    for rows in (np.arange(6), np.array([0, 0, 3, 5])):
        direct = task.score(prob[rows], target[rows], spacing[rows]).over()
        assert statistic(rows) == pytest.approx(direct)
    assert statistic(np.empty(0, dtype=int)) == {}
    assert task.score(prob, target, quick=True).over() == {
        k: v for k, v in statistic(np.arange(6)).items() if k.startswith("dice")
    }
    assert np.isnan(task.score(one_hot(target), target).over(np.array([5]))["dice"])


def test_a_split_without_a_class_and_a_network_that_diverged() -> None:
    task, target = Segmentation(outputs=3), np.ones((2, *SIDES), dtype=np.uint8)
    with pytest.raises(NASError, match="lack class 2"):
        task.score(one_hot(target), target).over()
    with pytest.raises(TrialFailed, match="not finite"):
        task.score(np.full((2, 3, *SIDES), np.nan), target, quick=True).over()


@pytest.mark.parametrize(
    ("name", "value"),
    [("outputs", 1), ("window", 0), ("window", (8, 8)), ("overlap", 1.0), ("tolerance", -1.0), ("flips", (3,))],
)
def test_settings_out_of_range(name: str, value: Any) -> None:
    with pytest.raises(NASError, match=f"task.{name}"):
        Segmentation(**{name: value})


def test_without_monai_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(NASError, match="medical"):
        Segmentation()


def test_levels_of_deep_supervision_count_half_of_the_one_before() -> None:
    """1/2^i, normalised to 1, as in nnU-Net; one output has the plain loss."""
    task, y = Segmentation(outputs=3), torch.randint(3, (2, 8, 8, 8))
    outputs = [torch.randn(2, 3, side, side, side) for side in (8, 4, 2)]
    losses = [float(task.loss((one,), y)) for one in outputs]
    assert losses[0] == pytest.approx(float(task.loss(outputs[0], y)))
    assert float(task.loss(tuple(outputs), y)) == pytest.approx(float(np.average(losses, weights=[1, 0.5, 0.25])))

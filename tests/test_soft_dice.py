"""Soft Dice at every scale: MONAI's where targets are one-hot, shares by hand where they are not, weights of scales."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.losses import DiceCELoss, DiceLoss

from nas.errors import NASError
from nas.tasks.segmentation import Segmentation
from nas.tasks.soft_dice import shares, soft_dice_loss

BATCH, CLASSES, SIDE = 2, 3, 8


@pytest.fixture
def y_BDHW() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, CLASSES, (BATCH, SIDE, SIDE, SIDE)))


def logits(side: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(BATCH, CLASSES, side, side, side, generator=torch.Generator().manual_seed(seed))


def test_on_one_hot_targets_it_is_monais(y_BDHW: torch.Tensor) -> None:
    theirs = DiceLoss(
        include_background=False, to_onehot_y=True, softmax=True, squared_pred=True, smooth_nr=1.0, smooth_dr=1.0
    )
    ours = soft_dice_loss(logits(SIDE), shares(y_BDHW, CLASSES, (SIDE,) * 3))
    torch.testing.assert_close(ours, theirs(logits(SIDE), y_BDHW[:, None]))


def test_by_hand_where_a_voxel_holds_half_of_each_class() -> None:
    """Σ t counts the share, not its square: p = t = 1/2 in 4 voxels gives (2·4·1/4 + 1) / (4·1/4 + 4·1/2 + 1)."""
    share = torch.full((1, 2, 1, 2, 2), 0.5)
    assert float(soft_dice_loss(torch.zeros(1, 2, 1, 2, 2), share)) == pytest.approx(1 - 3 / 4)


def test_an_empty_image_said_to_be_empty_costs_nothing() -> None:
    certain = torch.tensor([40.0, 0.0]).view(1, 2, 1, 1, 1).expand(1, 2, 4, 4, 4)
    empty = torch.zeros(1, 4, 4, 4, dtype=torch.long)
    assert float(soft_dice_loss(certain, shares(empty, 2, (4, 4, 4)))) == pytest.approx(0, abs=1e-6)


def test_a_coarser_target_is_the_share_of_each_class(y_BDHW: torch.Tensor) -> None:
    found = shares(y_BDHW, CLASSES, (4, 4, 4))
    blocks = y_BDHW.numpy().reshape(BATCH, 4, 2, 4, 2, 4, 2)
    expected = np.stack([(blocks == number).mean(axis=(2, 4, 6)) for number in range(CLASSES)], axis=1)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
    assert shares(y_BDHW[:, 0], CLASSES, (4, 2)).shape == (BATCH, CLASSES, 4, 2)


def test_scales_are_weighted_as_set(y_BDHW: torch.Tensor) -> None:
    outputs = (logits(8), logits(4, 1), logits(2, 2))
    task = Segmentation(outputs=CLASSES, loss="soft_dice", scale_weights=[0.4, 0.3, 0.2])
    each = [soft_dice_loss(out, shares(y_BDHW, CLASSES, out.shape[2:])) for out in outputs]
    torch.testing.assert_close(task.loss(outputs, y_BDHW), 0.4 * each[0] + 0.3 * each[1] + 0.2 * each[2])
    torch.testing.assert_close(task.loss(outputs[:2], y_BDHW), 0.4 * each[0] + 0.3 * each[1])
    torch.testing.assert_close(task.loss(outputs[0], y_BDHW), each[0])
    halves = Segmentation(outputs=CLASSES, loss="soft_dice")
    torch.testing.assert_close(halves.loss(outputs, y_BDHW), (4 * each[0] + 2 * each[1] + each[2]) / 7)
    with pytest.raises(NASError, match="one weight per output"):
        task.loss((*outputs, logits(1)), y_BDHW)


def test_dice_and_cross_entropy_at_a_coarser_scale(y_BDHW: torch.Tensor) -> None:
    """Cross entropy against shares is the mean of that against each of the voxels they stand for."""
    coarse = logits(4, 1)
    share = shares(y_BDHW, CLASSES, (4, 4, 4))
    spread = coarse.repeat_interleave(2, 2).repeat_interleave(2, 3).repeat_interleave(2, 4)
    dice = DiceCELoss(softmax=True, lambda_ce=0.0)(coarse, share)
    expected = dice + torch.nn.functional.cross_entropy(spread, y_BDHW)
    found = Segmentation(outputs=CLASSES, scale_weights=[1.0]).loss((coarse,), y_BDHW)
    torch.testing.assert_close(found, expected)


def test_settings_out_of_range() -> None:
    for setting in ({"loss": "focal"}, {"scale_weights": []}, {"scale_weights": [0.5, 0.0]}):
        with pytest.raises(NASError, match="task"):
            Segmentation(**setting)  # type: ignore[arg-type]

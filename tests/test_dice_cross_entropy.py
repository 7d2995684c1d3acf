"""Options of the loss "dice_ce": MONAI's where targets are classes, by hand where they are shares."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from monai.losses import DiceCELoss

from nas.errors import NASError
from nas.tasks.segmentation import Segmentation
from nas.tasks.soft_dice import shares

FOREGROUND: dict[str, Any] = {"include_background": False, "batch_dice": True, "class_weights": [0.2, 1, 1]}


@pytest.fixture
def logits_BKDHW() -> torch.Tensor:
    return torch.randn(4, 3, 4, 6, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def y_BDHW() -> torch.Tensor:
    return torch.randint(0, 3, (4, 4, 6, 8), generator=torch.Generator().manual_seed(1))


def by_hand(logits: torch.Tensor, share: torch.Tensor, weights: list[float]) -> torch.Tensor:
    """Foreground Dice over the batch plus cross entropy, of shares of classes (B, K, D, H, W)."""
    prob, weight_K = logits.softmax(1), torch.tensor(weights)
    axes = (0, 2, 3, 4)
    overlap_K = (2 * (prob * share).sum(axes) + 1e-5) / (prob.sum(axes) + share.sum(axes) + 1e-5)
    dice = ((1 - overlap_K[1:]) * weight_K[1:]).sum() / weight_K[1:].sum()
    each_K = (share * logits.log_softmax(1)).sum(axes)
    return dice - (each_K * weight_K).sum() / (share.sum(axes) * weight_K).sum()


def test_the_foreground_loss_is_monais(logits_BKDHW: torch.Tensor, y_BDHW: torch.Tensor) -> None:
    weight = torch.tensor(FOREGROUND["class_weights"])
    theirs = DiceCELoss(to_onehot_y=True, softmax=True, include_background=False, batch=True, weight=weight)
    found = Segmentation(outputs=3, **FOREGROUND).loss(logits_BKDHW, y_BDHW)
    torch.testing.assert_close(found, theirs(logits_BKDHW, y_BDHW[:, None]))


@pytest.mark.parametrize("weights", [[0.2, 1, 1], [0.4, 2, 2], [1, 3, 0.5]])
def test_only_ratios_of_weights_count_at_every_scale(
    logits_BKDHW: torch.Tensor, y_BDHW: torch.Tensor, weights: list[float]
) -> None:
    coarse = logits_BKDHW[:, :, :2, :3, :4]
    task, tenfold = (
        Segmentation(outputs=3, **{**FOREGROUND, "class_weights": [factor * weight for weight in weights]})
        for factor in (1, 10)
    )
    expected = [by_hand(out, shares(y_BDHW, 3, out.shape[2:]), weights) for out in (logits_BKDHW, coarse)]
    for one in (task, tenfold):
        torch.testing.assert_close(one.loss(logits_BKDHW, y_BDHW), expected[0])
        found = one.loss((logits_BKDHW, coarse), y_BDHW)
        torch.testing.assert_close(found, 2 / 3 * expected[0] + 1 / 3 * expected[1])


def test_a_class_that_an_image_lacks_does_not_count_as_missed(y_BDHW: torch.Tensor) -> None:
    """The first image has no class 2; with a perfect answer for the others Dice over the batch loses nothing."""
    y_BDHW[0][y_BDHW[0] == 2] = 1
    perfect = 40.0 * shares(y_BDHW, 3, y_BDHW.shape[1:])
    assert float(Segmentation(outputs=3, **FOREGROUND).loss(perfect, y_BDHW)) == pytest.approx(0, abs=1e-6)


def test_defaults_are_no_part_of_the_identity() -> None:
    plain = Segmentation(outputs=3).settings
    assert set(plain) == {"window", "overlap", "tolerance", "flips", "loss", "scale_weights"}
    changed = Segmentation(outputs=3, **FOREGROUND).settings
    assert {name: changed[name] for name in set(changed) - set(plain)} == {
        "include_background": False,
        "batch_dice": True,
        "class_weights": (0.2, 1, 1),
    }
    two = Segmentation(outputs=3, **{**FOREGROUND, "class_weights": [0.2, 1]})
    assert two.settings == changed


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"class_weights": [1, 2, 3, 4]}, "one weight for each class"),
        ({"class_weights": [1, 0, 1]}, "class_weights"),
        ({"loss": "soft_dice", "batch_dice": True}, "batch_dice=True with task.loss=soft_dice"),
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(NASError, match=named):
        Segmentation(outputs=3, **settings)

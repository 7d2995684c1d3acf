"""Soft Dice against shares of classes, so that outputs of any scale have a target."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F


def soft_dice_loss(logits_BKDHW: torch.Tensor, share_BKDHW: torch.Tensor) -> torch.Tensor:
    """Compute the soft Dice loss against shares of classes.

    1 - the mean over images and classes but the background of (2 Σ p t + 1) / (Σ p² + Σ t + 1). Both sums are over the
    voxels of one image; t is not squared, so that a share counts as much as the voxels that it stands for (Lachinov et
    al., arXiv 1810.04008).

    Args:
        logits_BKDHW: Logits (B, K, D, H, W), whose softmax is p.
        share_BKDHW: The share t of each class in each voxel, of the same shape.

    Returns:
        A scalar in [0, 1].
    """
    prob_BKV, share_BKV = (tensor[:, 1:].flatten(2) for tensor in (logits_BKDHW.softmax(dim=1), share_BKDHW))
    overlap_BK = 2 * (prob_BKV * share_BKV).sum(dim=2) + 1
    total_BK = prob_BKV.square().sum(dim=2) + share_BKV.sum(dim=2) + 1
    return 1 - (overlap_BK / total_BK).mean()


def shares(y_BDHW: torch.Tensor, classes: int, sides: Sequence[int]) -> torch.Tensor:
    """Compute the share of each class among the voxels that a coarser voxel holds.

    Args:
        y_BDHW: Classes (B, D, H, W), in 2D (B, H, W).
        classes: Number of classes.
        sides: Sides of the result, of which those of y_BDHW are multiples.

    Returns:
        Shares (B, classes, *sides); one-hot if the sides stay the same.
    """
    one_hot_BKDHW = F.one_hot(y_BDHW, classes).movedim(-1, 1).float()
    if tuple(y_BDHW.shape[1:]) == tuple(sides):
        return one_hot_BKDHW
    kernel = [fine // coarse for fine, coarse in zip(y_BDHW.shape[1:], sides, strict=True)]
    return (F.avg_pool3d if y_BDHW.ndim == 4 else F.avg_pool2d)(one_hot_BKDHW, kernel)

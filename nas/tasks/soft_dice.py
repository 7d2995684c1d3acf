"""Soft Dice against shares of classes, so that outputs of any scale have a target."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F


def soft_dice_loss(logits_BKDHW: torch.Tensor, share_BKDHW: torch.Tensor) -> torch.Tensor:
    """1 - the mean over images and classes but the background of (2 Σ p t + 1) / (Σ p² + Σ t + 1), in [0, 1].

    p: softmax of the logits. t: the share of each class in each voxel. Both sums are over the voxels of one image; t is
    not squared, so that a share counts as much as the voxels that it stands for (Lachinov et al., arXiv 1810.04008).
    """
    prob_BKV, share_BKV = (tensor[:, 1:].flatten(2) for tensor in (logits_BKDHW.softmax(dim=1), share_BKDHW))
    overlap_BK = 2 * (prob_BKV * share_BKV).sum(dim=2) + 1
    total_BK = prob_BKV.square().sum(dim=2) + share_BKV.sum(dim=2) + 1
    return 1 - (overlap_BK / total_BK).mean()


def shares(y_BDHW: torch.Tensor, classes: int, sides: Sequence[int]) -> torch.Tensor:
    """Classes (B, D, H, W) -> (B, classes, *sides): the share of each class among the voxels that a coarser voxel
    holds; where the sides stay as they are, one-hot. sides: whole parts of those of y_BDHW. In 2D without D."""
    one_hot_BKDHW = F.one_hot(y_BDHW, classes).movedim(-1, 1).float()
    if tuple(y_BDHW.shape[1:]) == tuple(sides):
        return one_hot_BKDHW
    kernel = [fine // coarse for fine, coarse in zip(y_BDHW.shape[1:], sides, strict=True)]
    return (F.avg_pool3d if y_BDHW.ndim == 4 else F.avg_pool2d)(one_hot_BKDHW, kernel)

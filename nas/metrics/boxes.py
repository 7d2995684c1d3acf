"""Boxes in any number of dimensions: overlap, generalised overlap, non-maximum suppression; torch alone.

A box is (2n,): the low corner, then the high one, in the order of the image's axes (D, H, W), in 2D (H, W). Corners are
edges, in voxels: voxel i reaches from i to i + 1. This is MONAI's StandardMode.
"""

from __future__ import annotations

import torch

EPS = torch.finfo(torch.float32).eps


def volumes(boxes_NX: torch.Tensor) -> torch.Tensor:
    """Compute areas in 2D, volumes in 3D.

    Args:
        boxes_NX: Boxes (..., 2n).

    Returns:
        Sizes (...).
    """
    low, high = boxes_NX.chunk(2, dim=-1)
    return (high - low).clamp(min=0).prod(dim=-1)


def overlaps(a_NX: torch.Tensor, b_MX: torch.Tensor) -> torch.Tensor:
    """Compute the intersection over union of each pair, 0 for two empty boxes.

    Args:
        a_NX: Boxes (N, 2n).
        b_MX: Boxes (M, 2n).

    Returns:
        Overlaps (N, M).
    """
    return _over_union(a_NX[:, None], b_MX[None])[0]


def paired_overlaps(a_NX: torch.Tensor, b_NX: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the intersection over union of paired boxes and its generalisation, which also measures their distance.

    Source: Rezatofighi et al., CVPR 2019, arXiv 1902.09630, algorithm 1.

    Args:
        a_NX: Boxes (N, 2n).
        b_NX: Boxes (N, 2n).

    Returns:
        Overlaps (N,), and generalised overlaps (N,) in [-1, 1].
    """
    overlap_N, union_N = _over_union(a_NX, b_NX)
    (low_a, high_a), (low_b, high_b) = a_NX.chunk(2, dim=-1), b_NX.chunk(2, dim=-1)
    hull_N = (torch.maximum(high_a, high_b) - torch.minimum(low_a, low_b)).prod(dim=-1)
    return overlap_N, overlap_N - (hull_N - union_N) / (hull_N + EPS)


def _over_union(a_X: torch.Tensor, b_X: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    (low_a, high_a), (low_b, high_b) = a_X.chunk(2, dim=-1), b_X.chunk(2, dim=-1)
    common = (torch.minimum(high_a, high_b) - torch.maximum(low_a, low_b)).clamp(min=0).prod(dim=-1)
    union = volumes(a_X) + volumes(b_X) - common
    return common / (union + EPS), union


def non_max_suppression(boxes_NX: torch.Tensor, scores_N: torch.Tensor, threshold: float) -> torch.Tensor:
    """Select boxes by falling score; each removes those behind it that overlap it too much.

    Args:
        boxes_NX: Boxes (N, 2n).
        scores_N: Scores (N,). Among equal scores the earlier box comes first.
        threshold: Largest overlap that is kept.

    Returns:
        Positions of the boxes that are kept, by falling score.
    """
    left = scores_N.argsort(descending=True, stable=True)
    kept = []
    while len(left):
        kept.append(left[0])
        overlap_1L = overlaps(boxes_NX[left[:1]], boxes_NX[left[1:]])
        left = left[1:][overlap_1L[0] <= threshold]
    return torch.stack(kept) if kept else left


def suppressed_by_class(
    boxes_NX: torch.Tensor, scores_N: torch.Tensor, classes_N: torch.Tensor, threshold: float
) -> torch.Tensor:
    """Select boxes as `non_max_suppression` does, except that only boxes of one class remove each other.

    Args:
        boxes_NX: Boxes (N, 2n).
        scores_N: Scores (N,).
        classes_N: Classes (N,).
        threshold: Largest overlap of two boxes of a class that is kept.

    Returns:
        Positions of the boxes that are kept, by falling score.
    """
    kept = []
    for number in classes_N.unique():
        rows = torch.nonzero(classes_N == number)[:, 0]
        kept.append(rows[non_max_suppression(boxes_NX[rows], scores_N[rows], threshold)])
    if not kept:
        return torch.empty(0, dtype=torch.long, device=boxes_NX.device)
    rows = torch.cat(kept)
    return rows[scores_N[rows].argsort(descending=True, stable=True)]

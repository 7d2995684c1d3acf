"""Mixup: training samples that are weighted means of two.

Source: Zhang et al., mixup: Beyond Empirical Risk Minimization, ICLR 2018 (arXiv 1710.09412), section 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Mixed:
    """How a batch was mixed with itself.

    Attributes:
        order_B: Positions of the other samples.
        share: Weight of each sample itself, in [0, 1]; the other one has 1 - share.
    """

    order_B: torch.Tensor
    share: float


def mixed(x_BCDHW: torch.Tensor, alpha: float, rng: np.random.Generator) -> tuple[torch.Tensor, Mixed]:
    """Mix each sample of a batch with another one.

    Args:
        x_BCDHW: (B, C, D, H, W) or (B, C, H, W) floats.
        alpha: Parameter of the distribution Beta(alpha, alpha) of the weight, above 0.
        rng: Decides weight and order.

    Returns:
        The mixed batch, and how the losses are to be mixed: cross entropy is linear in the target, so that the mean of
        the losses of both labels is the loss of the mixed label.
    """
    share = float(rng.beta(alpha, alpha))
    order_B = torch.from_numpy(rng.permutation(len(x_BCDHW))).to(x_BCDHW.device)
    return share * x_BCDHW + (1 - share) * x_BCDHW[order_B], Mixed(order_B, share)

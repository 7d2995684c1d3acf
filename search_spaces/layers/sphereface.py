"""The A-softmax (SphereFace) head, with its margin applied."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import nn

MARGIN = 4
LAMBDA_START, LAMBDA_DECAY, LAMBDA_MIN = 1500.0, 0.1, 5.0


def annealed_lambda(step: torch.Tensor) -> torch.Tensor:
    """lambda(t) = max(5, 1500 / (1 + 0.1 t)): 1363.6 at t = 1, 750 at 10, 5 from t = 2990 on."""
    return (LAMBDA_START / (1.0 + LAMBDA_DECAY * step)).clamp(min=LAMBDA_MIN)


def phi(cosine: torch.Tensor) -> torch.Tensor:
    """(-1)^k cos(4 theta) - 2k with k = floor(4 theta / pi): a decreasing continuation of cos(4 theta) to [0, pi].

    cosine in [-1, 1]; the result lies in [-7, 1]. Source: Liu et al., SphereFace, CVPR 2017 (arXiv 1704.08063), eq. 7.
    """
    square = cosine.square()
    cos_4theta = 8.0 * square.square() - 8.0 * square + 1.0
    k = torch.floor(MARGIN * torch.acos(cosine.detach()) / math.pi).clamp(max=MARGIN - 1)
    return (1.0 - 2.0 * (k % 2)) * cos_4theta - 2.0 * k


class AngularHead(nn.Module):
    """features (B, C) -> logits |x| cos(theta_k) (B, K); weights have unit length, there is no bias.

    Called with the target in training, the target's logit becomes |x| (lambda cos + phi) / (1 + lambda): the margin
    m = 4 of SphereFace, lambda annealed by the number of training steps, which is kept in the state dict. Computed in
    fp32 whatever autocast says. A feature vector of length zero gives zero logits and finite gradients.
    """

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(F.normalize(torch.empty(outputs, features).uniform_(-1.0, 1.0), dim=1))
        self.steps: torch.Tensor
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, x_BC: torch.Tensor, y_B: torch.Tensor | None = None) -> torch.Tensor:
        with _full_precision(x_BC.device.type):
            x_BC = x_BC.float()
            length_B1 = x_BC.norm(dim=1, keepdim=True)
            direction_BC = x_BC / length_B1.clamp(min=1e-8)
            cosine_BK = F.linear(direction_BC, F.normalize(self.weight.float(), dim=1)).clamp(-1.0, 1.0)
            if y_B is None or not self.training:
                return length_B1 * cosine_BK
            self.steps += 1
            share = 1.0 / (1.0 + annealed_lambda(self.steps))
            is_target_BK = F.one_hot(y_B, cosine_BK.shape[1]).bool()
            margin_BK = cosine_BK + share * (phi(cosine_BK) - cosine_BK)
            return length_B1 * torch.where(is_target_BK, margin_BK, cosine_BK)


def _full_precision(device_type: str) -> AbstractContextManager[object]:
    """Autocast off; a device that knows no autocast (meta, on which costs are counted) needs nothing."""
    if not torch.amp.is_autocast_available(device_type):
        return nullcontext()
    return torch.autocast(device_type, enabled=False)


class LinearHead(nn.Module):
    """features (B, C) -> logits (B, K): the ordinary softmax head."""

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, outputs)

    def forward(self, x_BC: torch.Tensor, y_B: torch.Tensor | None = None) -> torch.Tensor:
        return self.linear(x_BC).float()

"""Classification heads: A-softmax (SphereFace) with its margin applied, and softmax."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from search_spaces.layers.precision import full_precision

MARGIN = 4
LAMBDA_START, LAMBDA_DECAY, LAMBDA_MIN = 1500.0, 0.1, 5.0
PUBLISHED_STEPS = 28_000  # of SphereFace's training (section 4.1 of the paper), to which lambda was fitted


def annealed_lambda(step: torch.Tensor) -> torch.Tensor:
    """Compute lambda(t) = max(5, 1500 / (1 + 0.1 t)): 1363.6 at t = 1, 750 at 10, 5 from t = 2990 on.

    Args:
        step: Number t of training steps, () and >= 0.

    Returns:
        Weight lambda of the plain cosine, (), in [5, 1500].
    """
    return (LAMBDA_START / (1.0 + LAMBDA_DECAY * step)).clamp(min=LAMBDA_MIN)


def phi(cosine: torch.Tensor) -> torch.Tensor:
    """Compute (-1)^k cos(4 theta) - 2k with k = floor(4 theta / pi), decreasing in theta over [0, pi].

    Source: Liu et al., SphereFace, CVPR 2017 (arXiv 1704.08063), equation 7.

    Args:
        cosine: cos(theta), of any shape, in [-1, 1].

    Returns:
        Values of the same shape, in [-7, 1].
    """
    square = cosine.square()
    cos_4theta = 8.0 * square.square() - 8.0 * square + 1.0
    k = torch.floor(MARGIN * torch.acos(cosine.detach()) / math.pi).clamp(max=MARGIN - 1)
    return (1.0 - 2.0 * (k % 2)) * cos_4theta - 2.0 * k


class AngularHead(nn.Module):
    """A-softmax head with logits |x| cos(theta_k); weights have unit length, there is no bias.

    Called with the target in training, the target's logit becomes |x| (lambda cos + phi) / (1 + lambda): the margin
    m = 4 of SphereFace (Liu et al., CVPR 2017, arXiv 1704.08063), with lambda annealed by the number of training
    steps, which is part of the state dict: the published schedule. Its share 1 / (1 + lambda) of the margin is 0.5 %
    after 70 steps, 7 % after 1,000 and its largest value, 17 %, after 2,990. Computed in fp32 even under autocast. A
    feature vector of length zero gives zero logits and finite gradients.

    Args:
        features: Length C of a feature vector.
        outputs: Number K of classes.
    """

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(F.normalize(torch.empty(outputs, features).uniform_(-1.0, 1.0), dim=1))
        self.steps: torch.Tensor
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, x_BC: torch.Tensor, y_B: torch.Tensor | None = None) -> torch.Tensor:
        """Compute logits, in training with the margin of the target.

        Args:
            x_BC: Features (B, C).
            y_B: Classes (B,), whole numbers from 0 to K - 1, or None; ignored outside training.

        Returns:
            Logits (B, K), fp32.
        """
        with full_precision(x_BC.device.type):
            x_BC = x_BC.float()
            length_B1 = x_BC.norm(dim=1, keepdim=True)
            direction_BC = x_BC / length_B1.clamp(min=1e-8)
            cosine_BK = F.linear(direction_BC, F.normalize(self.weight.float(), dim=1)).clamp(-1.0, 1.0)
            if y_B is None or not self.training:
                return length_B1 * cosine_BK
            self.steps += 1
            share = 1.0 / (1.0 + annealed_lambda(self._published_step()))
            is_target_BK = F.one_hot(y_B, cosine_BK.shape[1]).bool()
            margin_BK = cosine_BK + share * (phi(cosine_BK) - cosine_BK)
            return length_B1 * torch.where(is_target_BK, margin_BK, cosine_BK)

    def _published_step(self) -> torch.Tensor:
        """Step of the published schedule with the same lambda as this step, ()."""
        return self.steps


class RelativeAngularHead(AngularHead):
    """A-softmax head whose margin is annealed relative to the length of the training.

    A step has the lambda that SphereFace's training of 28,000 steps had after the same share of its steps, so that the
    margin reaches its largest share after 11 % of any training. Training loops state the length through
    `set_training_steps`; before that the head follows the published schedule.

    Args:
        features: Length C of a feature vector.
        outputs: Number K of classes.
    """

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__(features, outputs)
        self.length = PUBLISHED_STEPS

    def set_training_steps(self, steps: int) -> None:
        """Set the length of the training, see `nas.space.announce_length`.

        Args:
            steps: Number of optimiser steps, at least 1.
        """
        self.length = steps

    def _published_step(self) -> torch.Tensor:
        return self.steps * (PUBLISHED_STEPS / self.length)


class LinearHead(nn.Module):
    """Linear layer with bias, the ordinary softmax head.

    Args:
        features: Length C of a feature vector.
        outputs: Number K of classes.
    """

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, outputs)

    def forward(self, x_BC: torch.Tensor, y_B: torch.Tensor | None = None) -> torch.Tensor:
        """Compute logits.

        Args:
            x_BC: Features (B, C).
            y_B: Ignored; heads with a margin take the classes here.

        Returns:
            Logits (B, K), fp32.
        """
        return self.linear(x_BC).float()

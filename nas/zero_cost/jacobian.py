"""jacob_cov: how differently a network responds to small changes of the samples."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from nas.errors import TrialFailed
from nas.zero_cost.minibatch import Minibatch

K = 1e-5  # keeps logarithm and quotient finite


def jacob_cov(network: nn.Module, minibatch: Minibatch) -> float:
    """Score the correlations between the Jacobians of the samples.

    Source: Mellor et al. (arXiv 2006.04647 v1), equations 3 to 5, in the code of Abdelfattah et al., ICLR 2021 (arXiv
    2101.08134): J_i is the gradient of the sum of the outputs with respect to sample i, and v are the eigenvalues of
    the correlation matrix of the J_i; the score is -sum(log(v + k) + 1 / (v + k)) with k = 1e-5. Computed in training
    mode.

    Args:
        network: Network with its initial weights.
        minibatch: Samples.

    Returns:
        The score; larger is better.

    Raises:
        TrialFailed: If the output does not depend on a sample.
    """
    x_BCDHW = minibatch.x_BCDHW.detach().clone().requires_grad_()
    output = minibatch.output(network, x_BCDHW)
    (jacobian_BCDHW,) = torch.autograd.grad(output.sum(), x_BCDHW)
    jacobian_BI = jacobian_BCDHW.flatten(1).double().cpu().numpy()
    if not (jacobian_BI.std(axis=1) > 0).all():
        raise TrialFailed("a network whose output does not depend on every sample")
    eigenvalues_B = np.linalg.eigvalsh(np.corrcoef(jacobian_BI)).clip(min=0)
    return float(-(np.log(eigenvalues_B + K) + 1 / (eigenvalues_B + K)).sum())

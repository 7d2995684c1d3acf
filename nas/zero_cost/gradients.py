"""Scores from the gradient of the loss on one minibatch."""

from __future__ import annotations

from torch import nn

from nas.zero_cost.minibatch import Minibatch


def grad_norm(network: nn.Module, minibatch: Minibatch) -> float:
    """Sum the norms of the gradients of all layers.

    Source: Abdelfattah et al., ICLR 2021 (arXiv 2101.08134), section 3.1: the sum over convolutions and linear layers
    of the Euclidean norm of the gradient of their weights.

    Args:
        network: Network with its initial weights.
        minibatch: Samples with targets.

    Returns:
        At least 0.
    """
    return sum(float(gradient.norm()) for _, gradient in minibatch.weights_and_gradients(network))


def snip(network: nn.Module, minibatch: Minibatch) -> float:
    """Sum the connection sensitivities.

    Source: Lee et al., SNIP (ICLR 2019, arXiv 1810.02340), equation 6 without its normalisation, summed over weights
    as in Abdelfattah et al., ICLR 2021 (arXiv 2101.08134): sum |dL/dw * w|.

    Args:
        network: Network with its initial weights.
        minibatch: Samples with targets.

    Returns:
        At least 0.
    """
    return sum(float((weight * gradient).abs().sum()) for weight, gradient in minibatch.weights_and_gradients(network))

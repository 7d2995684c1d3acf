"""Synaptic flow: a score without data."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from nas.zero_cost.minibatch import Minibatch, layer_weights

NORMALISATIONS = {"batch_norm", "instance_norm", "group_norm", "layer_norm"}


class WithoutNormalisation(TorchFunctionMode):
    """Context in which normalisations return their input, also those that are called as functions."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__name__", "") in NORMALISATIONS:
            return args[0]
        return func(*args, **(kwargs or {}))


def synflow(network: nn.Module, minibatch: Minibatch) -> float:
    """Sum the synaptic saliencies.

    Source: Tanaka et al., SynFlow (NeurIPS 2020, arXiv 2006.05467), equation 2, summed over weights as in Abdelfattah
    et al., ICLR 2021 (arXiv 2101.08134): all parameters are replaced by their absolute values, R is the sum of the
    outputs for an image of ones, and the score is the sum |dR/dw * w| over convolutions and linear layers. It is
    computed in double precision in evaluation mode, and normalisation is left out, as it would undo the flow.

    Args:
        network: Network with its initial weights.
        minibatch: Gives the shape of an image alone.

    Returns:
        At least 0; infinite for a network too deep for double precision.
    """
    positive = copy.deepcopy(network).double().eval()
    with torch.no_grad():
        for parameter in positive.parameters():
            parameter.abs_()
    ones = torch.ones_like(minibatch.x_BCDHW[:1], dtype=torch.float64)
    with WithoutNormalisation():
        output = positive(ones)
    (output[0] if isinstance(output, tuple | list) else output).sum().backward()
    weights = layer_weights(positive)
    return sum(float((weight.detach() * weight.grad).abs().sum()) for weight in weights if weight.grad is not None)

"""Networks for prediction, whose batch normalisations are part of the convolutions before them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import cast

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

PAIRS = ((nn.Conv2d, nn.BatchNorm2d), (nn.Conv3d, nn.BatchNorm3d))


def with_folded_norms(model: nn.Module) -> nn.Module:
    """Return a network in evaluation mode with one pass over memory less for each normalisation after a convolution.

    Only neighbours in an `nn.Sequential` are joined, as only these are known to follow one another.

    Args:
        model: Network in evaluation mode, which is not changed.

    Returns:
        A copy with the same outputs up to rounding; the network itself if there is nothing to join.
    """
    if not any(True for _ in _pairs(model)):
        return model
    model = copy.deepcopy(model)
    for chain, place in list(_pairs(model)):
        layer, norm = cast(nn.Conv3d, chain[place]), cast(nn.BatchNorm3d, chain[place + 1])  # or those of 2D
        chain[place] = fuse_conv_bn_eval(layer, norm)
        chain[place + 1] = nn.Identity()
    return model


def _pairs(model: nn.Module) -> Iterator[tuple[nn.Sequential, int]]:
    """Find the places of convolutions with a normalisation behind them that uses its running statistics."""
    for chain in model.modules():
        if isinstance(chain, nn.Sequential):
            for place, (layer, norm) in enumerate(zip(chain, list(chain)[1:], strict=False)):
                pair = any(isinstance(layer, conv) and type(norm) is batch for conv, batch in PAIRS)
                if pair and not layer.training and norm.running_var is not None:
                    yield chain, place

"""Statistics of batch normalisation for networks with inherited weights."""

from __future__ import annotations

import torch
from torch import nn

from nas.data.loading import VolumeSet
from nas.training.steps import derive

BATCHES = 16  # at most
STREAM = 31  # of the order of samples


def recalibrate(network: nn.Module, train: VolumeSet, batch_size: int, seed: int) -> None:
    """Measure the running statistics of batch normalisation on training samples; weights do not change.

    Statistics of shared weights are those of no single network. Source: Yu and Huang, universally slimmable networks
    (ICCV 2019, arXiv 1903.05134), section 3.4: exact averages over some batches.

    Args:
        network: Network, in evaluation mode at the end.
        train: Training samples on the device of the network, normalised.
        batch_size: Samples per batch, at least 2.
        seed: Seed of the samples.
    """
    network.eval()
    layers = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the average over all batches
        layer.train()
    order = torch.Generator().manual_seed(derive(seed, STREAM))
    with torch.no_grad():
        for number, (x_BCDHW, _) in enumerate(train.batches(batch_size, generator=order)):
            if number == BATCHES:
                break
            if len(x_BCDHW) > 1 or number == 0:
                network(x_BCDHW)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    network.eval()

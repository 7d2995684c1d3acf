"""The minibatch on which networks are scored, and the layers whose weights count."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from nas.context import RunContext
from nas.errors import NASError
from nas.network_traits import takes_target
from nas.tasks.base import Task
from nas.training.steps import derive

WEIGHTED = (nn.modules.conv._ConvNd, nn.Linear)  # as in Abdelfattah et al., also for transposed convolutions
STREAM = 20  # of the order of samples; trainings use other numbers


@dataclass(frozen=True)
class Minibatch:
    """Samples of the training part with their targets, the same for all networks that are compared.

    Args:
        x_BCDHW: Images (B, C, D, H, W), in 2D (B, C, H, W), fp32.
        y: Targets: classes (B,), masks (B, D, H, W) or boxes.
        task: The task, whose loss is used.
    """

    x_BCDHW: torch.Tensor
    y: torch.Tensor
    task: Task

    @classmethod
    def of(cls, context: RunContext, task: Task, batch_size: int, replicate: int = 0) -> Minibatch:
        """Draw a minibatch of the training part, without augmentation.

        Args:
            context: Training part, device and seed.
            task: The task.
            batch_size: Samples, at least 2.
            replicate: Replicates have other samples.

        Returns:
            The minibatch; smaller than `batch_size` if the training part is.

        Raises:
            NASError: If the training part has fewer than two samples.
        """
        train = context.train.normalised_like(context.train)
        if len(train) < 2:
            raise NASError(f"{len(train)} samples in the training part", "at least 2", "use fewer folds or more data")
        order = torch.Generator().manual_seed(derive(context.seed, replicate, STREAM))
        x_BCDHW, y = next(iter(train.batches(batch_size, generator=order)))
        return cls(x_BCDHW.to(context.device), y.to(context.device), task.for_training(train.labels))

    def output(self, network: nn.Module, x_BCDHW: torch.Tensor | None = None) -> torch.Tensor:
        """Compute the output of a network in training mode.

        Args:
            network: Network of the task.
            x_BCDHW: Images in place of those of the minibatch.

        Returns:
            Output of the network; of several the finest one.
        """
        output = self._outputs(network, self.x_BCDHW if x_BCDHW is None else x_BCDHW)
        return output[0] if isinstance(output, tuple | list) else output

    def _outputs(self, network: nn.Module, x_BCDHW: torch.Tensor) -> torch.Tensor:
        network.train()
        return network(x_BCDHW, self.y) if takes_target(network) else network(x_BCDHW)

    def weights_and_gradients(self, network: nn.Module) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Compute the gradient of the loss in training mode.

        Args:
            network: Network of the task; its gradients are replaced.

        Yields:
            The weight of each convolution and each linear layer, and its gradient.
        """
        network.zero_grad(set_to_none=True)
        self.task.loss(self._outputs(network, self.x_BCDHW), self.y).backward()
        for weight in layer_weights(network):
            if weight.grad is not None:
                yield weight.detach(), weight.grad


def layer_weights(network: nn.Module) -> list[nn.Parameter]:
    """Return the weights of convolutions and linear layers, without biases and normalisation.

    Args:
        network: Any network.

    Returns:
        Parameters with two or more dimensions, each once.
    """
    found = {
        id(parameter): parameter
        for module in network.modules()
        for name, parameter in module.named_parameters(recurse=False)
        if isinstance(module, WEIGHTED) and name == "weight"
    }
    return list(found.values())

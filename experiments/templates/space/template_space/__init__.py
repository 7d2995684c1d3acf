"""A search space: chains of convolutions, in 2D or 3D as the data are."""

import itertools
from collections.abc import Sequence

from nas import Architecture, Gene, SearchSpace, TaskSpec
from torch import nn

LAYERS = {  # by the number of spatial dimensions
    2: (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d),
    3: (nn.Conv3d, nn.BatchNorm3d, nn.MaxPool3d, nn.AdaptiveAvgPool3d),
}
ACTIVATIONS = {"relu": nn.ReLU, "silu": nn.SiLU}


class TemplateSpace(SearchSpace):
    """Convolutions of one width with pooling between them, then a linear layer.

    Args:
        widths: Choices of the number of channels, increasing.
        depths: Choices of the number of convolutions, increasing; sides of the data are at least 2^depth.
    """

    kind = "classification"  # the networks return logits (B, classes)

    def __init__(self, widths: Sequence[int] = (4, 8, 16), depths: Sequence[int] = (1, 2, 3)) -> None:
        # every argument is kept under its name: arch.json records them and builds the space again
        self.widths, self.depths = tuple(widths), tuple(depths)
        self.genes = (
            Gene("width", self.widths, ordered=True),  # ordered: a later choice is never a smaller network
            Gene("depth", self.depths, ordered=True),
            Gene("activation", tuple(ACTIVATIONS)),
        )

    def build(self, arch: Architecture, task: TaskSpec | None = None) -> nn.Module:
        """Build the network of an architecture for a task."""
        task = task or TaskSpec(self.kind)
        width, depth, activation = self.values(arch)
        convolution, norm, pool, mean = LAYERS[task.dims]
        channels = [task.in_channels, *[int(width)] * int(depth)]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(channels):
            layers += [convolution(before, after, 3, padding=1), norm(after), ACTIVATIONS[str(activation)](), pool(2)]
        return nn.Sequential(*layers, mean(1), nn.Flatten(), nn.Linear(int(width), task.outputs))

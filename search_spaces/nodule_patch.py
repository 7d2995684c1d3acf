"""Patch classifiers after LeNet: convolutions alternating with pooling, then two hidden layers.

Sources: LeCun et al., Proc. IEEE 86(11), 1998 (LeNet-5); the network `lung-screening` is the second stage of the lung
screening proposed in openvinotoolkit/open_model_zoo#1705, which classifies 64 x 64 pixels of a CT slice as nodule or
other tissue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, Le
from torch import nn

from nas.architecture import Architecture, Gene
from nas.errors import NASError
from nas.published import Published
from nas.space import SearchSpace
from nas.task_spec import TaskSpec
from nas.utils.annotations import Channels, Fraction, OneOf, SomeOf
from nas.utils.checked import checked
from search_spaces.arguments import Increasing

GRID = 4  # sides of the map that the hidden layers read; the published network reduces 64 x 64 pixels to 4 x 4
RATIO = 0.7  # neurons of the second hidden layer relative to the first: 84 of 120
NORMS = ("none", "batch")
PADDINGS = ("same", "valid")
LAYERS = {  # by number of spatial dimensions
    2: (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.Dropout2d, nn.AdaptiveAvgPool2d),
    3: (nn.Conv3d, nn.BatchNorm3d, nn.MaxPool3d, nn.Dropout3d, nn.AdaptiveAvgPool3d),
}


@checked("space")
class NodulePatchSpace(SearchSpace):
    """Networks of `depth` stages (convolution, ReLU, pooling by 2) and two hidden layers, in 2D or 3D like the task.

    The genes are depth, stem, width, kernel and hidden, which are ordered, and norm, which is not.

    Args:
        depths: Choices of the number of stages, increasing, >= 2.
        stems: Choices of the channels of the first stage, increasing, >= 1.
        widths: Choices of the channels of the other stages, increasing, >= 1.
        kernels: Choices of the kernel's side, increasing odd numbers.
        hidden: Choices of the neurons of the first hidden layer, increasing, >= 2; the second has 0.7 times as many.
        norms: Choices of the normalisation: "none", "batch".
        padding: "same" keeps the sides in a convolution; "valid", as published, reduces them by kernel - 1.
        dropout: Probability, in [0, 1), of dropping whole channels after the last convolution and neurons of the
            hidden layers.
        in_channels: Channels of a patch, >= 1.
        outputs: Classes, >= 2.

    Raises:
        NASError: If an argument is out of range.
    """

    published: ClassVar[Mapping[str, Published]] = {
        "lung-screening": Published(
            genes=(0, 0, 0, 0, 0, 0),
            arguments={
                "depths": (3,),
                "stems": (6,),
                "widths": (16,),
                "kernels": (5,),
                "hidden": (120,),
                "norms": ("none",),
                "padding": "valid",
            },
            source="nodule patches of the screening pipeline proposed in openvinotoolkit/open_model_zoo#1705",
        )
    }

    def __init__(
        self,
        depths: Annotated[Sequence[int], Increasing(2, 12)] = (2, 3),
        stems: Annotated[Sequence[int], Increasing(1, 4096)] = (4, 6, 8, 12),
        widths: Annotated[Sequence[int], Increasing(1, 4096)] = (8, 16, 32),
        kernels: Annotated[Sequence[int], Increasing(1, 15, 2, 1)] = (3, 5),
        hidden: Annotated[Sequence[int], Increasing(2, 65536)] = (30, 60, 120),
        norms: Annotated[Sequence[str], SomeOf(*NORMS)] = NORMS,
        padding: Annotated[str, OneOf(*PADDINGS)] = "same",
        dropout: Fraction = 0.5,
        in_channels: Channels = 1,
        outputs: Annotated[int, Ge(2), Le(4096)] = 2,
    ) -> None:
        self.depths, self.stems, self.widths = tuple(depths), tuple(stems), tuple(widths)
        self.kernels, self.hidden, self.norms = tuple(kernels), tuple(hidden), tuple(norms)
        self.padding, self.dropout = padding, dropout
        self.in_channels, self.outputs = in_channels, outputs
        self.genes = (
            Gene("depth", self.depths, ordered=True),
            Gene("stem", self.stems, ordered=True),
            Gene("width", self.widths, ordered=True),
            Gene("kernel", self.kernels, ordered=True),
            Gene("hidden", self.hidden, ordered=True),
            Gene("norm", self.norms),
        )

    def build(self, arch: Architecture, task: TaskSpec | None = None) -> nn.Module:
        """Build the network of an architecture.

        Args:
            arch: Architecture of this space.
            task: Task that sets dimensions, channels and outputs; if None, 2D and the space's own numbers.

        Returns:
            A `PatchNet`.
        """
        if task is None:
            task = TaskSpec(dims=2, in_channels=self.in_channels, outputs=self.outputs)
        genes = dict(zip(("depth", "stem", "width", "kernel", "hidden", "norm"), self.values(arch), strict=True))
        settings = {"padding": self.padding, "dropout": self.dropout}
        return PatchNet(task.dims, task.in_channels, task.outputs, **genes, **settings)  # type: ignore[arg-type]

    def describe(self, arch: Architecture) -> str:
        """Describe an architecture in words.

        Args:
            arch: Architecture of this space.

        Returns:
            One line per stage, then one for the hidden layers.
        """
        depth, stem, width, kernel, hidden, norm = self.values(arch)
        norms = "" if norm == "none" else f", {norm} normalisation"
        lines = [
            f"stage {stage}  {stem if stage == 0 else width} channels, kernel {kernel}{norms}, ReLU, pooling by 2"
            for stage in range(int(depth))
        ]
        return "\n".join([*lines, f"head     {hidden} > {_second(int(hidden))} > classes"])


class PatchNet(nn.Module):
    """Classifier of patches in 2D or 3D.

    Args:
        dims: Spatial dimensions, 2 or 3.
        in_channels: Channels of a patch.
        outputs: Classes.
        depth: Stages.
        stem: Channels of the first stage.
        width: Channels of the other stages.
        kernel: Side of the kernel, odd.
        hidden: Neurons of the first hidden layer.
        norm: "none" or "batch".
        padding: "same" or "valid".
        dropout: Probability, in [0, 1).
    """

    def __init__(
        self,
        dims: int,
        in_channels: int,
        outputs: int,
        depth: int,
        stem: int,
        width: int,
        kernel: int,
        hidden: int,
        norm: str,
        padding: str,
        dropout: float,
    ) -> None:
        super().__init__()
        self.shrinks, self.depth = kernel - 1 if padding == "valid" else 0, depth
        convolution, batch_norm, pool, drop_channels, adaptive = LAYERS[dims]
        stages: list[nn.Module] = []
        channels = in_channels
        for stage in range(depth):
            stage_width = stem if stage == 0 else width
            stages.append(convolution(channels, stage_width, kernel, padding=padding))
            if norm == "batch":
                stages.append(batch_norm(stage_width))
            if stage == depth - 1:
                stages.append(drop_channels(dropout))
            stages += [nn.ReLU(), pool(2)]
            channels = stage_width
        self.stages = nn.Sequential(*stages)
        self.grid = adaptive(GRID)
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels * GRID**dims, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, _second(hidden)),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(_second(hidden), outputs),
        )

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Compute the logits of patches.

        Args:
            x_BCHW: Patches (B, in_channels, H, W), in 3D (B, in_channels, D, H, W).

        Returns:
            Logits (B, outputs).

        Raises:
            NASError: If the stages reduce a side to zero.
        """
        side = min(x_BCHW.shape[2:])
        for _ in range(self.depth):
            side = (side - self.shrinks) // 2
        if side < 1:
            raise NASError(
                f"a patch of {'x'.join(map(str, x_BCHW.shape[2:]))} for {self.depth} stages",
                "sides that leave at least one voxel after every convolution and pooling",
                "use larger patches (`data.size`), smaller space.depths, or space.padding=same",
            )
        return self.head(self.grid(self.stages(x_BCHW)))


def _second(hidden: int) -> int:
    """Return the neurons of the second hidden layer."""
    return round(RATIO * hidden)

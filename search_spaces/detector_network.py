"""An anchor-free detector: stem, backbone, feature pyramid, and one head for all its levels.

Sources: feature pyramid, Lin et al., CVPR 2017, arXiv 1612.03144; head shared by levels, one point one box, Tian et al.
(FCOS), ICCV 2019, arXiv 1904.01355; middle and sides of a box in strides, Zhou et al. (CenterNet), arXiv 1904.07850.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from nas.errors import NASError
from search_spaces.unet_network import GROUPS, LAYERS

PRIOR = 0.01  # probability of an object at a point before training, so that empty points do not dominate the loss
MAX_LOG_SIDE = 6.0  # of the logarithm of a side in strides


class Detector(nn.Module):
    """One-stage detector without anchors.

    Args:
        dims: Spatial dimensions, 2 or 3.
        in_channels: Channels of an image.
        stem: Stride of the convolutions before the backbone: 1, 2 or 4.
        backbone: Result of `SearchSpace.features` for `stem_width(stem, in_channels)` channels.
        width: Channels of pyramid and head, a multiple of 4.
        depth: Convolutions of the head.
        outputs: Classes of objects.
    """

    def __init__(
        self, dims: int, in_channels: int, stem: int, backbone: nn.Module, width: int, depth: int, outputs: int
    ) -> None:
        super().__init__()
        channels: Sequence[int] = backbone.channels  # type: ignore[assignment]
        convolution = LAYERS[dims][0]
        self.dims, self.stride, self.outputs = dims, stem, outputs
        halvings = int(math.log2(stem))
        inputs = [in_channels] + [stem_width(stem, in_channels)] * halvings
        self.stem = nn.Sequential(*(_unit(dims, inputs[i], inputs[i + 1], stride=2) for i in range(halvings)))
        self.backbone = backbone
        self.lateral = nn.ModuleList(convolution(count, width, 1) for count in channels)
        self.smooth = nn.ModuleList(_unit(dims, width, width) for _ in channels)
        self.head = nn.Sequential(*(_unit(dims, width, width) for _ in range(depth)))
        self.answer = convolution(width, outputs + 1 + 2 * dims, 3, padding=1)
        nn.init.normal_(self.answer.weight, std=0.01)
        start = torch.zeros(outputs + 1 + 2 * dims)
        start[:outputs] = -math.log(1 / PRIOR - 1)
        self.answer.bias = nn.Parameter(start)

    def forward(self, x_BCDHW: torch.Tensor) -> torch.Tensor:
        """Compute scores and boxes of all points.

        Args:
            x_BCDHW: Image (B, in_channels, D, H, W), in 2D (B, in_channels, H, W).

        Returns:
            (B, outputs + 2 + 3 dims, P), fp32, for the P points of all levels of the pyramid, finest first: in the
            layout of nas/tasks/detection.py, positions in voxels.

        Raises:
            NASError: If a side is not a multiple of the stem's stride, or the backbone refuses it.
        """
        if any(side % self.stride for side in x_BCDHW.shape[2:]):
            raise NASError(
                f"an image of {'x'.join(map(str, x_BCDHW.shape[2:]))} voxels for a stem of stride {self.stride}",
                f"sides that are multiples of {self.stride}",
                "use smaller space.stems, or crop or pad the data (`data.size`)",
            )
        maps = self.backbone(self.stem(x_BCDHW))
        maps = [lateral(x) for lateral, x in zip(self.lateral, maps, strict=True)]
        for level in reversed(range(len(maps) - 1)):
            maps[level] = maps[level] + F.interpolate(maps[level + 1], size=maps[level].shape[2:])
        return torch.cat(
            [
                self._decode_level(self.answer(self.head(smooth(x))), self.stride * 2**level)
                for level, (smooth, x) in enumerate(zip(self.smooth, maps, strict=True))
            ],
            dim=2,
        )

    def _decode_level(self, answer_BCDHW: torch.Tensor, stride: int) -> torch.Tensor:
        """Convert (B, outputs + 1 + 2 dims, D, H, W) in strides to (B, outputs + 2 + 3 dims, P) in voxels."""
        answer_BCP = answer_BCDHW.flatten(2).float()
        logits, shift, size = answer_BCP.split([self.outputs + 1, self.dims, self.dims], dim=1)
        axes = [torch.arange(side, device=answer_BCP.device) for side in answer_BCDHW.shape[2:]]
        point_nP = (torch.stack(torch.meshgrid(axes, indexing="ij")).flatten(1) + 0.5) * stride
        point_BnP = point_nP.expand(answer_BCP.shape[0], -1, -1)  # `len` would be a constant in an exported graph
        middle = point_BnP + shift * stride
        half = size.clamp(max=MAX_LOG_SIDE).exp() * stride / 2
        strides_B1P = torch.full_like(answer_BCP[:, :1], float(stride))
        return torch.cat([logits, middle - half, middle + half, point_BnP, strides_B1P], dim=1)


def stem_width(stem: int, in_channels: int) -> int:
    """Return the channels of the backbone's input.

    Args:
        stem: Stride of the stem: 1, 2 or 4.
        in_channels: Channels of an image.

    Returns:
        4 * stem; the channels of the image if the stride is 1.
    """
    return in_channels if stem == 1 else 4 * stem


def _unit(dims: int, inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Return convolution, group normalisation (batches of large images are small) and ReLU."""
    return nn.Sequential(
        LAYERS[dims][0](inputs, outputs, 3, stride, padding=1), nn.GroupNorm(GROUPS, outputs), nn.ReLU()
    )

"""Random changes of a whole batch of volumes, or slices, at once, on the device where it lies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Le

from nas.data.transforms.intensity_changes import changed_intensities
from nas.errors import NASError
from nas.utils.checked import Fraction, NonNegativeFloat, Rule, checked


@checked("training.augment")
@dataclass(frozen=True)
class Augment:
    """Each sample gets its own draw; labels stay true, masks and boxes move along. Bit for bit the same from the same
    generator.

    flip: axes that are mirrored with probability 1/2 each (0 = D, 1 = H, 2 = W). shift: voxels, each axis moves by a
    whole number in [-shift, shift] (padding by the border voxel, then cropping). rotate: degrees, about each axis by an
    angle in [-rotate, rotate]. scale: fraction, zoom by a factor in [1 - scale, 1 + scale]. cutout: edge in voxels of
    a cube at a random place that is set to 0. gamma, contrast, brightness, noise: of the intensities
    (nas/data/transforms/intensity_changes.py), in the units of the normalised volumes.
    Rotation and zoom are one trilinear resampling (of masks: the nearest voxel), skipped where both are 0, as they have
    to be with boxes; the rest is exact voxel copying. Slices (B, C, H, W) are volumes with D = 1, and turn in their own
    plane only.
    """

    flip: Annotated[Sequence[int], Rule(lambda axes: set(axes) <= {0, 1, 2}, "axes out of 0, 1, 2")] = ()
    shift: Annotated[int, Ge(0), Le(4096)] = 0
    rotate: Annotated[float, Ge(0), Le(180)] = 0.0
    scale: Fraction = 0.0
    cutout: Annotated[int, Ge(0), Le(4096)] = 0
    gamma: NonNegativeFloat = 0.0
    contrast: Fraction = 0.0
    brightness: NonNegativeFloat = 0.0
    noise: NonNegativeFloat = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "flip", tuple(self.flip))

    def __call__(self, x_BCDHW: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """(B, C, D, H, W) float -> the same shape and device. generator: on the CPU or on the batch's device."""
        return self._changed(x_BCDHW, None, generator)[0]

    def of_batch(
        self, x_BCDHW: torch.Tensor, y: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Volumes with their labels (B,), which stay, or with masks (B, D, H, W), or with boxes (B, M, 7), in 2D
        (B, M, 5), of floats, which move along. Raises NASError for boxes with rotation or zoom."""
        if y.is_floating_point():
            return self.with_boxes(x_BCDHW, y, generator)
        return self.with_mask(x_BCDHW, y, generator) if y.ndim > 1 else (self(x_BCDHW, generator), y)

    def with_mask(
        self, x_BCDHW: torch.Tensor, mask_BDHW: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Volumes, changed as without masks, and the masks of whole numbers moved along; cutout leaves masks alone."""
        x_BCDHW, moved_BCDHW = self._changed(x_BCDHW, mask_BDHW[:, None], generator)
        assert moved_BCDHW is not None  # a mask was given
        return x_BCDHW, moved_BCDHW[:, 0]

    def with_boxes(
        self, x_BCDHW: torch.Tensor, boxes_BMX: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Volumes, changed as without boxes, and the boxes (nas/metrics/boxes.py, then their class) moved along and cut
        off at the edge; one that has left the volume gets class -1; cutout leaves boxes alone."""
        if self.rotate or self.scale:
            raise NASError(
                f"augment.rotate={self.rotate}, augment.scale={self.scale} for boxes",
                "0 of both",
                "training.augment.rotate=0 training.augment.scale=0",
            )
        moves = self._moves(len(x_BCDHW), generator.clone_state())  # the draws that `self(...)` takes first
        x_BCDHW = self(x_BCDHW, generator)
        dims, low, high = x_BCDHW.ndim - 2, [], []
        for axis, side in enumerate(x_BCDHW.shape[2:]):
            flipped_B1, offset_B1 = (of_3B[3 - dims + axis, :, None].to(boxes_BMX.device) for of_3B in moves)
            first, last = boxes_BMX[..., axis], boxes_BMX[..., dims + axis]
            low.append(torch.where(flipped_B1, side + offset_B1 - last, first - offset_B1).clamp(0, side))
            high.append(torch.where(flipped_B1, side + offset_B1 - first, last - offset_B1).clamp(0, side))
        inside_BM = (torch.stack(low) < torch.stack(high)).all(dim=0)
        classes_BM = torch.where(inside_BM, boxes_BMX[..., -1], -1.0)
        return x_BCDHW, torch.stack([*low, *high, classes_BM], dim=-1)

    def _changed(
        self, x_BCDHW: torch.Tensor, mask_BCDHW: torch.Tensor | None, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        if x_BCDHW.ndim == 4:
            lifted = None if mask_BCDHW is None else mask_BCDHW[:, :, None]
            x_BCDHW, mask_BCDHW = self._changed(x_BCDHW[:, :, None], lifted, generator)
            return x_BCDHW[:, :, 0], None if mask_BCDHW is None else mask_BCDHW[:, :, 0]
        if self.rotate or self.scale:
            grid = self._grid(x_BCDHW, generator)
            x_BCDHW = _sampled(x_BCDHW, grid, "bilinear")
            if mask_BCDHW is not None:
                mask_BCDHW = _sampled(mask_BCDHW.to(x_BCDHW.dtype), grid, "nearest").to(mask_BCDHW.dtype)
        if self.flip or self.shift:
            source = self._flip_and_shift(x_BCDHW, generator)
            x_BCDHW = _gathered(x_BCDHW, source)
            mask_BCDHW = None if mask_BCDHW is None else _gathered(mask_BCDHW, source)
        intensities = (self.gamma, self.contrast, self.brightness, self.noise)
        if any(intensities):
            x_BCDHW = changed_intensities(x_BCDHW, *intensities, generator)
        if self.cutout:
            x_BCDHW = self._cut_out(x_BCDHW, generator)
        return x_BCDHW, mask_BCDHW

    def _flip_and_shift(self, x_BCDHW: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """(B, D, H, W) for one gather: on each axis, output voxel i reads input voxel clamp(flipped(i) + shift)."""
        B, _, *sides = x_BCDHW.shape
        flipped_3B, offset_3B = (of_3B.to(x_BCDHW.device) for of_3B in self._moves(B, generator))
        source = torch.zeros((B, 1, 1, 1), dtype=torch.int64, device=x_BCDHW.device)
        for axis, side in enumerate(sides):
            index_BN = torch.arange(side, device=x_BCDHW.device).expand(B, side)
            index_BN = torch.where(flipped_3B[axis, :, None], side - 1 - index_BN, index_BN)
            index_BN = (index_BN + offset_3B[axis, :, None]).clamp(0, side - 1)
            source = source * side + index_BN.reshape(B, *(-1 if i == axis else 1 for i in range(3)))
        return source

    def _moves(self, batch: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """(3, B) bool: which axes of a sample are mirrored; (3, B) int64: voxels that it is then moved by."""
        draws_6B = torch.rand((6, batch), generator=generator, device=generator.device)
        mirrored_31 = torch.tensor([[axis in self.flip] for axis in range(3)], device=generator.device)
        return (draws_6B[:3] < 0.5) & mirrored_31, (draws_6B[3:] * (2 * self.shift + 1)).long() - self.shift

    def _grid(self, x_BCDHW: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """(B, D, H, W, 3): where in the input each voxel of the output is read."""
        B, _, *sides = x_BCDHW.shape
        draws_B4 = torch.rand((B, 4), generator=generator, device=generator.device).to(x_BCDHW.device) * 2 - 1
        angles_B3 = draws_B4[:, :3] * math.radians(self.rotate)
        if sides[0] == 1:
            angles_B3 = angles_B3 * angles_B3.new_tensor([0.0, 0.0, 1.0])
        zoom_B11 = 1 + draws_B4[:, 3, None, None] * self.scale
        half_3 = (
            torch.tensor(sides[::-1], dtype=x_BCDHW.dtype, device=x_BCDHW.device) / 2
        )  # (W, H, D) as the grid's x, y, z
        theta_B33 = _rotations(angles_B3.to(x_BCDHW.dtype)) / zoom_B11.to(x_BCDHW.dtype)
        theta_B33 = (
            theta_B33 * half_3[None, None, :] / half_3[None, :, None]
        )  # the grid is in half-sides, not in voxels
        theta_B34 = F.pad(theta_B33, (0, 1))
        return F.affine_grid(theta_B34, list(x_BCDHW.shape), align_corners=False)

    def _cut_out(self, x_BCDHW: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        B, _, *sides = x_BCDHW.shape
        draws_3B = torch.rand((3, B), generator=generator, device=generator.device).to(x_BCDHW.device)
        inside = torch.ones((B, 1, 1, 1, 1), dtype=torch.bool, device=x_BCDHW.device)
        for axis, side in enumerate(sides):
            edge = min(self.cutout, side)
            first_B1 = (draws_3B[axis, :, None] * (side - edge + 1)).long()
            index_1N = torch.arange(side, device=x_BCDHW.device)[None]
            inside_BN = (index_1N >= first_B1) & (index_1N < first_B1 + edge)
            inside = inside & inside_BN.reshape(B, 1, *(-1 if i == axis else 1 for i in range(3)))
        return x_BCDHW.masked_fill(inside, 0.0)


def _sampled(x_BCDHW: torch.Tensor, grid: torch.Tensor, mode: str) -> torch.Tensor:
    return F.grid_sample(x_BCDHW, grid, mode=mode, padding_mode="border", align_corners=False)


def _gathered(x_BCDHW: torch.Tensor, source_BDHW: torch.Tensor) -> torch.Tensor:
    """source_BDHW: for each output voxel the position of an input voxel in the flattened volume."""
    B, C = x_BCDHW.shape[:2]
    return x_BCDHW.flatten(2).gather(2, source_BDHW.reshape(B, 1, -1).expand(B, C, -1)).view_as(x_BCDHW)


def _rotations(angles_B3: torch.Tensor) -> torch.Tensor:
    """(B, 3) radians about x, y and z -> rotation matrices (B, 3, 3)."""
    turned = torch.eye(3, dtype=angles_B3.dtype, device=angles_B3.device).expand(len(angles_B3), 3, 3)
    for axis, (i, j) in enumerate(((1, 2), (0, 2), (0, 1))):
        cosine_B, sine_B = angles_B3[:, axis].cos(), angles_B3[:, axis].sin()
        one = torch.eye(3, dtype=angles_B3.dtype, device=angles_B3.device).repeat(len(angles_B3), 1, 1)
        one[:, i, i], one[:, j, j], one[:, i, j], one[:, j, i] = cosine_B, cosine_B, -sine_B, sine_B
        turned = turned @ one
    return turned

"""Random changes of a whole batch of volumes or slices at once, on its device."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Le

from nas.data.transforms.intensity_changes import changed_intensities
from nas.errors import NASError
from nas.utils.annotations import Flips, Fraction, Planes, Strength
from nas.utils.checked import checked
from nas.utils.views import plane_axes


@checked("training.augment")
@dataclass(frozen=True)
class Augment:
    """Random augmentation with one draw per sample; masks and boxes are moved with the volume.

    Equal generators give bitwise equal results. Rotation and zoom are one trilinear resampling (of masks: the nearest
    voxel), which is skipped if both are 0; with boxes they must be 0. All other geometric changes copy voxels exactly.
    Slices (B, C, H, W) are volumes with D = 1 and turn in their own plane only.

    Args:
        flip: Axes that are mirrored with probability 1/2 each (0 = D, 1 = H, 2 = W).
        shift: Each axis is moved by a whole number of voxels in [-shift, shift]; the border voxel is repeated.
        rotate: Degrees; the volume is turned about each axis by an angle in [-rotate, rotate], up to 180.
        scale: The volume is zoomed by a factor in [1 - scale, 1 + scale], 0 <= scale < 1.
        cutout: Side in voxels of a cube at a random position that is set to 0.
        gamma: Intensities of each channel, rescaled to [0, 1] and back, are raised to a power between 1 / (1 + gamma)
            and 1 + gamma; at least 0.
        contrast: Differences from the mean of a channel are multiplied by a factor in [1 - contrast, 1 + contrast], a
            fraction in [0, 1).
        brightness: A number in [-brightness, brightness] is added, in the unit of the normalised volumes; at least 0.
        noise: Gaussian noise with a standard deviation in [0, noise] is added, in the same unit; at least 0.
        turns: Planes ("DH", "DW", "HW") of equal sides in which a volume is turned by 0, 90, 180 or 270 degrees with
            equal probability; for voxels that are squares in the plane. With boxes there must be none.
        mixup: Each training sample is mixed with another one of its batch, of a weight drawn from Beta(mixup, mixup)
            for each batch, and the losses of both labels are mixed likewise (Zhang et al., ICLR 2018, arXiv
            1710.09412); for classification. The training does it after all other changes; 0 disables it.

    Raises:
        NASError: If an argument is out of range.
    """

    flip: Flips = ()
    shift: Annotated[int, Ge(0), Le(4096)] = 0
    rotate: Annotated[float, Ge(0), Le(180)] = 0.0
    scale: Fraction = 0.0
    cutout: Annotated[int, Ge(0), Le(4096)] = 0
    gamma: Strength = 0.0
    contrast: Fraction = 0.0
    brightness: Strength = 0.0
    noise: Strength = 0.0
    turns: Planes = ()
    mixup: Strength = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "flip", tuple(self.flip))
        object.__setattr__(self, "turns", tuple(self.turns))

    def __call__(self, x_BCDHW: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Change a batch of volumes.

        Args:
            x_BCDHW: (B, C, D, H, W) or (B, C, H, W) floats.
            generator: On the CPU or on the batch's device.

        Returns:
            A batch of the same shape on the same device.
        """
        return self._changed(x_BCDHW, None, generator)[0]

    def of_batch(
        self, x_BCDHW: torch.Tensor, y: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Change a batch of volumes with their targets.

        Args:
            x_BCDHW: (B, C, D, H, W) or (B, C, H, W) floats.
            y: Labels or real numbers (B,), masks (B, D, H, W) or (B, H, W) of whole numbers, or boxes (B, M, 7) or
                (B, M, 5) of floats.
            generator: On the CPU or on the batch's device.

        Returns:
            The changed batch, and its targets: labels unchanged, masks and boxes moved.

        Raises:
            NASError: If boxes are to be rotated or zoomed.
        """
        if y.ndim == 1:
            return self(x_BCDHW, generator), y
        move = self.with_boxes if y.is_floating_point() else self.with_mask
        return move(x_BCDHW, y, generator)

    def with_mask(
        self, x_BCDHW: torch.Tensor, mask_BDHW: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Change a batch of volumes with masks; cutout does not change masks.

        Args:
            x_BCDHW: (B, C, D, H, W) or (B, C, H, W) floats, changed as without masks.
            mask_BDHW: (B, D, H, W) or (B, H, W) whole numbers.
            generator: On the CPU or on the batch's device.

        Returns:
            The changed batch and the moved masks.
        """
        x_BCDHW, moved_BCDHW = self._changed(x_BCDHW, mask_BDHW[:, None], generator)
        assert moved_BCDHW is not None  # a mask was given
        return x_BCDHW, moved_BCDHW[:, 0]

    def with_boxes(
        self, x_BCDHW: torch.Tensor, boxes_BMX: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Change a batch of volumes with boxes; cutout does not change boxes.

        Args:
            x_BCDHW: (B, C, D, H, W) or (B, C, H, W) floats, changed as without boxes.
            boxes_BMX: (B, M, 7) or (B, M, 5): corners as in nas/metrics/boxes.py, then the class.
            generator: On the CPU or on the batch's device.

        Returns:
            The changed batch and the moved boxes, cut off at the edge of the volume; a box outside of it gets class -1.

        Raises:
            NASError: If the volumes are to be rotated, turned or zoomed.
        """
        if self.rotate or self.scale:
            raise NASError(
                f"augment.rotate={self.rotate}, augment.scale={self.scale} for boxes",
                "0 of both",
                "training.augment.rotate=0 training.augment.scale=0",
            )
        if self.turns:
            raise NASError(
                f"augment.turns={list(self.turns)} for boxes", "no planes", "set training.augment.turns to []"
            )
        moves = self._moves(len(x_BCDHW), generator.clone_state())  # the first draws of `self(...)`
        x_BCDHW = self(x_BCDHW, generator)
        dims, low, high = x_BCDHW.ndim - 2, [], []
        for axis, side in enumerate(x_BCDHW.shape[2:]):
            flipped_B1, offset_B1 = (move_3B[3 - dims + axis, :, None].to(boxes_BMX.device) for move_3B in moves)
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
        for plane in self.turns:
            quarters_B = torch.randint(4, (len(x_BCDHW),), generator=generator, device=generator.device)
            x_BCDHW = turned(x_BCDHW, quarters_B, plane)
            mask_BCDHW = None if mask_BCDHW is None else turned(mask_BCDHW, quarters_B, plane)
        intensities = (self.gamma, self.contrast, self.brightness, self.noise)
        if any(intensities):
            x_BCDHW = changed_intensities(x_BCDHW, *intensities, generator)
        if self.cutout:
            x_BCDHW = self._cut_out(x_BCDHW, generator)
        return x_BCDHW, mask_BCDHW

    def _flip_and_shift(self, x_BCDHW: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return (B, D, H, W) for one gather: output voxel i of an axis is input voxel clamp(flipped(i) + shift)."""
        B, _, *sides = x_BCDHW.shape
        flipped_3B, offset_3B = (move_3B.to(x_BCDHW.device) for move_3B in self._moves(B, generator))
        source = torch.zeros((B, 1, 1, 1), dtype=torch.int64, device=x_BCDHW.device)
        for axis, side in enumerate(sides):
            index_BN = torch.arange(side, device=x_BCDHW.device).expand(B, side)
            index_BN = torch.where(flipped_3B[axis, :, None], side - 1 - index_BN, index_BN)
            index_BN = (index_BN + offset_3B[axis, :, None]).clamp(0, side - 1)
            source = source * side + index_BN.reshape(B, *(-1 if i == axis else 1 for i in range(3)))
        return source

    def _moves(self, batch: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw the mirrored axes of each sample (3, B) bool, and the voxels that it is then moved by (3, B) int64."""
        draws_6B = torch.rand((6, batch), generator=generator, device=generator.device)
        mirrored_31 = torch.tensor([[axis in self.flip] for axis in range(3)], device=generator.device)
        return (draws_6B[:3] < 0.5) & mirrored_31, (draws_6B[3:] * (2 * self.shift + 1)).long() - self.shift

    def _grid(self, x_BCDHW: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Draw (B, D, H, W, 3), the input position of each output voxel."""
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


def turned(x_BCDHW: torch.Tensor, quarters_B: torch.Tensor, plane: str) -> torch.Tensor:
    """Turn each volume of a batch by quarters, as `torch.rot90`.

    Args:
        x_BCDHW: (B, C, D, H, W), with equal sides in the plane.
        quarters_B: 0 to 3 quarters of each volume.
        plane: "DH", "DW" or "HW".

    Returns:
        The turned batch, on the same device.
    """
    axes = [2 + axis for axis in plane_axes(plane, 3)]
    out_BCDHW = x_BCDHW.clone()
    for quarters in range(1, 4):
        rows = (quarters_B == quarters).nonzero()[:, 0].to(x_BCDHW.device)
        out_BCDHW[rows] = x_BCDHW[rows].rot90(quarters, axes)
    return out_BCDHW


def _sampled(x_BCDHW: torch.Tensor, grid: torch.Tensor, mode: str) -> torch.Tensor:
    return F.grid_sample(x_BCDHW, grid, mode=mode, padding_mode="border", align_corners=False)


def _gathered(x_BCDHW: torch.Tensor, source_BDHW: torch.Tensor) -> torch.Tensor:
    """Copy voxels: source_BDHW holds for each output voxel the position of an input voxel in the flattened volume."""
    B, C = x_BCDHW.shape[:2]
    return x_BCDHW.flatten(2).gather(2, source_BDHW.reshape(B, 1, -1).expand(B, C, -1)).view_as(x_BCDHW)


def _rotations(angles_B3: torch.Tensor) -> torch.Tensor:
    """Make rotation matrices (B, 3, 3) of angles about x, y and z in radians."""
    turned = torch.eye(3, dtype=angles_B3.dtype, device=angles_B3.device).expand(len(angles_B3), 3, 3)
    for axis, (i, j) in enumerate(((1, 2), (0, 2), (0, 1))):
        cosine_B, sine_B = angles_B3[:, axis].cos(), angles_B3[:, axis].sin()
        turn = torch.eye(3, dtype=angles_B3.dtype, device=angles_B3.device).repeat(len(angles_B3), 1, 1)
        turn[:, i, i], turn[:, j, j], turn[:, i, j], turn[:, j, i] = cosine_B, cosine_B, -sine_B, sine_B
        turned = turned @ turn
    return turned

"""Intensities as a network sees them: by each volume's own statistics, or by those of the training part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nas.errors import NASError

if TYPE_CHECKING:  # exported networks prepare their input where torch is not installed
    import torch

PERCENTILES = (0.5, 99.5)


def standardised(volume_CDHW: np.ndarray, name: str) -> np.ndarray:
    """Each channel clipped to its percentiles 0.5 and 99.5, less its mean, over its standard deviation; float32.

    All of these are of this channel of this volume, over its voxels that are not 0: where a brain was cut out, 0 is
    what was cut away. Raises NASError for a channel of one value.
    """
    out_CDHW = np.empty(volume_CDHW.shape, dtype=np.float32)
    for c, channel_DHW in enumerate(volume_CDHW.astype(np.float64)):
        seen = channel_DHW[channel_DHW != 0]
        low, high = np.percentile(seen, PERCENTILES) if len(seen) else (0.0, 0.0)
        std = seen.clip(low, high).std() if len(seen) else 0.0
        if not std > 0:
            raise NASError(f"channel {c} of one value in {name}", "intensities that differ", "leave out the volume")
        out_CDHW[c] = (channel_DHW.clip(low, high) - seen.clip(low, high).mean()) / std
    return out_CDHW


def whole_hu(volume_CDHW: np.ndarray) -> np.ndarray:
    """CT as int16, half the size of float32."""
    return np.rint(volume_CDHW).clip(-32768, 32767).astype(np.int16)


@dataclass(frozen=True)
class Intensity:
    """Clipping to [low, high], less mean, over std; one number a channel."""

    low_C: tuple[float, ...]
    high_C: tuple[float, ...]
    mean_C: tuple[float, ...]
    std_C: tuple[float, ...]

    @classmethod
    def of_foreground(cls, values_NCKM: np.ndarray) -> Intensity:
        """From values of voxels of each class, NaN where a volume lacks it: percentiles 0.5 and 99.5, mean and
        deviation over all classes but the background (as nnU-Net does for CT, Isensee et al. 2021, here with equally
        many voxels of each patient and class). Raises NASError where these do not differ."""
        values_CV = np.moveaxis(values_NCKM[:, :, 1:], 1, 0).reshape(values_NCKM.shape[1], -1).astype(np.float64)
        values_CV = values_CV[:, np.isfinite(values_CV).all(axis=0)]
        if not values_CV.size or not (np.ptp(values_CV, axis=1) > 0).all():
            raise NASError(
                "a training part whose foreground has one value only",
                "intensities that differ",
                "data.normalise=volume",
            )
        low_C, high_C = np.percentile(values_CV, PERCENTILES, axis=1)
        return cls(*(tuple(of_C.tolist()) for of_C in (low_C, high_C, values_CV.mean(axis=1), values_CV.std(axis=1))))

    def __call__(self, x_BCDHW: torch.Tensor) -> torch.Tensor:
        low, high, mean, std = (
            x_BCDHW.new_tensor(of_C).view(-1, 1, 1, 1) for of_C in (self.low_C, self.high_C, self.mean_C, self.std_C)
        )
        return (x_BCDHW.clamp(low, high) - mean) / std

    def of_array(self, x_CDHW: np.ndarray) -> np.ndarray:
        """The same of one volume without torch; float32."""
        low, high, mean, std = (
            np.array(of_C, dtype=np.float32).reshape(-1, 1, 1, 1)
            for of_C in (self.low_C, self.high_C, self.mean_C, self.std_C)
        )
        return (x_CDHW.astype(np.float32).clip(low, high) - mean) / std

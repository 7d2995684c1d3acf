"""Normalisation of intensities by each volume's own statistics, or by those of the training set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nas.errors import NASError

if TYPE_CHECKING:  # exported networks prepare their input without torch
    import torch

PERCENTILES = (0.5, 99.5)


def standardised(volume_CDHW: np.ndarray, name: str) -> np.ndarray:
    """Clip each channel to its percentiles 0.5 and 99.5, subtract its mean and divide by its standard deviation.

    Statistics are those of this channel of this volume over its voxels that are not 0, because in extracted brains 0
    is the background.

    Args:
        volume_CDHW: Intensities.
        name: Name of the volume for messages.

    Returns:
        (C, D, H, W) float32.

    Raises:
        NASError: If a channel has one value only.
    """
    out_CDHW = np.empty(volume_CDHW.shape, dtype=np.float32)
    for c, channel_DHW in enumerate(volume_CDHW.astype(np.float64)):
        values = channel_DHW[channel_DHW != 0]
        low, high = np.percentile(values, PERCENTILES) if len(values) else (0.0, 0.0)
        std = values.clip(low, high).std() if len(values) else 0.0
        if not std > 0:
            raise NASError(f"channel {c} of one value in {name}", "intensities that differ", "leave out the volume")
        out_CDHW[c] = (channel_DHW.clip(low, high) - values.clip(low, high).mean()) / std
    return out_CDHW


def whole_hu(volume_CDHW: np.ndarray) -> np.ndarray:
    """Round a CT to whole HU.

    Args:
        volume_CDHW: HU.

    Returns:
        int16 of the same shape, half the size of float32.
    """
    return np.rint(volume_CDHW).clip(-32768, 32767).astype(np.int16)


@dataclass(frozen=True)
class Intensity:
    """Normalisation x -> (clip(x, low, high) - mean) / std, with one number per channel.

    Args:
        low_C: Lower ends of the clipping.
        high_C: Upper ends of the clipping.
        mean_C: Means to subtract.
        std_C: Standard deviations to divide by.
    """

    low_C: tuple[float, ...]
    high_C: tuple[float, ...]
    mean_C: tuple[float, ...]
    std_C: tuple[float, ...]

    @classmethod
    def of_foreground(cls, values_NCKM: np.ndarray) -> Intensity:
        """Compute percentiles 0.5 and 99.5, mean and deviation over all classes except the background.

        nnU-Net does so for CT (Isensee et al., Nature Methods 2021); here each patient and class has equally many
        voxels.

        Args:
            values_NCKM: Values of M voxels of each class in each sample, NaN if a sample lacks the class.

        Returns:
            The statistics.

        Raises:
            NASError: If a channel has one value only.
        """
        values_CV = np.moveaxis(values_NCKM[:, :, 1:], 1, 0).reshape(values_NCKM.shape[1], -1).astype(np.float64)
        values_CV = values_CV[:, np.isfinite(values_CV).all(axis=0)]
        if not values_CV.size or not (np.ptp(values_CV, axis=1) > 0).all():
            raise NASError(
                "a training set whose foreground has one value only",
                "intensities that differ",
                "data.normalise=volume",
            )
        low_C, high_C = np.percentile(values_CV, PERCENTILES, axis=1)
        statistics = (low_C, high_C, values_CV.mean(axis=1), values_CV.std(axis=1))
        return cls(*(tuple(values_C.tolist()) for values_C in statistics))

    def __call__(self, x_BCDHW: torch.Tensor) -> torch.Tensor:
        """Normalise a batch.

        Args:
            x_BCDHW: Stored values as floats.

        Returns:
            Normalised values of the same shape.
        """
        low, high, mean, std = (
            x_BCDHW.new_tensor(values_C).view(-1, 1, 1, 1)
            for values_C in (self.low_C, self.high_C, self.mean_C, self.std_C)
        )
        return (x_BCDHW.clamp(low, high) - mean) / std

    def of_array(self, x_CDHW: np.ndarray) -> np.ndarray:
        """Normalise one volume without torch.

        Args:
            x_CDHW: Stored values.

        Returns:
            (C, D, H, W) float32.
        """
        low, high, mean, std = (
            np.array(values_C, dtype=np.float32).reshape(-1, 1, 1, 1)
            for values_C in (self.low_C, self.high_C, self.mean_C, self.std_C)
        )
        return (x_CDHW.astype(np.float32).clip(low, high) - mean) / std

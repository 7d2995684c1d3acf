"""Random changes of intensities, as between scanners and protocols: contrast curve, contrast, brightness, noise.

The set of Isensee et al., nnU-Net (Nature Methods 2021), without its blurring, drawn for each channel of each sample.
"""

from __future__ import annotations

import math

import torch


def changed_intensities(
    x_BCDHW: torch.Tensor, gamma: float, contrast: float, brightness: float, noise: float, generator: torch.Generator
) -> torch.Tensor:
    """Change the intensities of each channel of each sample at random; an argument of 0 changes nothing.

    Args:
        x_BCDHW: A batch of volumes.
        gamma: Intensities, rescaled to [0, 1] and back, are raised to a power between 1 / (1 + gamma) and 1 + gamma,
            with a uniform logarithm.
        contrast: Differences from the channel's mean are multiplied by a factor in [1 - contrast, 1 + contrast].
        brightness: A number in [-brightness, brightness] is added.
        noise: Gaussian noise of a standard deviation in [0, noise] is added.
        generator: On the CPU or on the batch's device.

    Returns:
        A batch of the same shape.
    """
    B, C = x_BCDHW.shape[:2]
    draws = torch.rand((4, B, C, 1, 1, 1), generator=generator, device=generator.device).to(x_BCDHW)
    power, factor, added = 2 * draws[:3] - 1  # each in [-1, 1]
    if gamma:
        x_BCDHW = raised(x_BCDHW, torch.exp(power * math.log1p(gamma)))
    if contrast:
        mean = x_BCDHW.mean(dim=(2, 3, 4), keepdim=True)
        x_BCDHW = mean + (x_BCDHW - mean) * (1 + contrast * factor)
    if brightness:
        x_BCDHW = x_BCDHW + brightness * added
    if noise:
        normal = torch.randn(x_BCDHW.shape, generator=generator, device=generator.device).to(x_BCDHW)
        x_BCDHW = x_BCDHW + noise * draws[3] * normal
    return x_BCDHW


def raised(x_BCDHW: torch.Tensor, power: torch.Tensor) -> torch.Tensor:
    """Rescale each channel to [0, 1] by its own range, raise it to a power, and rescale it back.

    Args:
        x_BCDHW: A batch of volumes.
        power: (B, C, 1, 1, 1) exponents.

    Returns:
        A batch of the same shape; a channel of one value is unchanged.
    """
    least, most = x_BCDHW.amin(dim=(2, 3, 4), keepdim=True), x_BCDHW.amax(dim=(2, 3, 4), keepdim=True)
    span = (most - least).clamp_min(torch.finfo(x_BCDHW.dtype).tiny)
    return least + span * ((x_BCDHW - least) / span) ** power

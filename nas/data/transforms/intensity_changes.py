"""Random changes of intensities, as scanners and protocols differ: contrast curve, contrast, brightness, noise.

The set of Isensee et al., nnU-Net (Nature Methods 2021), without its blurring, drawn for each channel of each sample.
"""

from __future__ import annotations

import math

import torch


def changed_intensities(
    x_BCDHW: torch.Tensor, gamma: float, contrast: float, brightness: float, noise: float, generator: torch.Generator
) -> torch.Tensor:
    """(B, C, D, H, W) -> the same shape; what is 0 changes nothing.

    gamma: intensities, rescaled to [0, 1] and back, are raised to a power between 1 / (1 + gamma) and 1 + gamma, its
    logarithm uniform. contrast: differences from the channel's mean are multiplied by 1 - contrast to 1 + contrast.
    brightness: in [-brightness, brightness], is added. noise: Gaussian, of a standard deviation in [0, noise].
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
    """Each channel, rescaled to [0, 1] by its own range, to the power (B, C, 1, 1, 1), in its range again. A channel
    of one value stays as it is."""
    least, most = x_BCDHW.amin(dim=(2, 3, 4), keepdim=True), x_BCDHW.amax(dim=(2, 3, 4), keepdim=True)
    span = (most - least).clamp_min(torch.finfo(x_BCDHW.dtype).tiny)
    return least + span * ((x_BCDHW - least) / span) ** power

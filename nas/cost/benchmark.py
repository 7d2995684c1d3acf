"""Benchmark columns of a network: parameters, MACs, bytes, latency and memory on one device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from nas.cost.latency import BATCH, device_name, forward_times, quantiles
from nas.cost.profile import profile


def benchmark(model: nn.Module, input_shape: Sequence[int], device: torch.device) -> dict[str, Any]:
    """Measure fp32 inference of one volume.

    Args:
        model: Network, moved to `device`.
        input_shape: (C, D, H, W) of the volume.
        device: Device to measure on.

    Returns:
        `params`, `macs` and `bytes` as in `nas.cost.profile.Profile`; `latency_ms`, a mapping of median, p10 and p90
        over repeated calls after a warm-up, with device, batch (1), threads and torch; `peak_memory_mb` (10^6 bytes),
        on a GPU the allocator's peak, on a CPU the weights plus the largest sum of live tensors, counted without
        running.

    Raises:
        NASError: If the network does not accept the shape.
    """
    shape = (BATCH, *input_shape)
    exact = profile(model, shape)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    times = forward_times(model, shape, device, repeats=30)
    on_gpu = device.type == "cuda"
    peak_bytes = torch.cuda.max_memory_allocated(device) if on_gpu else exact.bytes + exact.activation_bytes
    return {
        "params": exact.params,
        "macs": exact.macs,
        "bytes": exact.bytes,
        "latency_ms": {
            **quantiles(times),
            "device": device_name(device),
            "batch": BATCH,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        },
        "peak_memory_mb": peak_bytes / 1e6,
    }

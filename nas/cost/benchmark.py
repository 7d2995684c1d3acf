"""The benchmark columns of a network: parameters, MACs, bytes, latency and memory on this device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from nas.cost.latency import device_name, forward_times, quantiles
from nas.cost.profile import profile


def benchmark(model: nn.Module, input_shape: Sequence[int], device: torch.device) -> dict[str, Any]:
    """One volume through the network in fp32 inference. input_shape: (C, D, H, W).

    latency_ms: median, p10, p90 over repeated calls after a warm-up. peak_memory_mb (10^6 bytes): on a GPU the
    allocator's peak; on a CPU weights plus the largest sum of live tensors, which is counted, not sampled.
    """
    shape = (1, *input_shape)
    exact = profile(model, shape)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    times = forward_times(model, shape, device, repeats=30)
    measured = (
        torch.cuda.max_memory_allocated(device) if device.type == "cuda" else exact.bytes + exact.activation_bytes
    )
    return {
        "params": exact.params,
        "macs": exact.macs,
        "bytes": exact.bytes,
        "latency_ms": {
            **quantiles(times),
            "device": device_name(device),
            "batch": 1,
            "threads": torch.get_num_threads(),
        },
        "peak_memory_mb": measured / 1e6,
    }

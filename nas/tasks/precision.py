"""The precision of computations on a device: bf16 or fp32."""

from __future__ import annotations

import torch

PRECISIONS = ("auto", "bf16", "fp32")


def uses_bf16(precision: str, device: torch.device) -> bool:
    """Resolve a precision for a device.

    Args:
        precision: "bf16", "fp32", or "auto" for bf16 if the device computes in it natively.
        device: Device of the computation.

    Returns:
        True for bf16, False for fp32.
    """
    return has_fast_bf16(device) if precision == "auto" else precision == "bf16"


def has_fast_bf16(device: torch.device) -> bool:
    """Check whether a device has bf16 arithmetic; CPUs without AVX512-BF16 emulate it, far slower than fp32.

    Args:
        device: Device of the computation.

    Returns:
        True if bf16 is faster than fp32.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()

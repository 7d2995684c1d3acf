"""Full precision within a network that is computed under autocast."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def full_precision(device_type: str) -> AbstractContextManager[object]:
    """Switch autocast off, if the device has it (meta, used to count costs, has not).

    Args:
        device_type: Type of the device, for example "cuda".

    Returns:
        The context.
    """
    if not torch.amp.is_autocast_available(device_type):
        return nullcontext()
    return torch.autocast(device_type, enabled=False)

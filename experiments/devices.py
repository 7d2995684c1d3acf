"""Choice of the device on which a command computes."""

from __future__ import annotations

import torch

from nas.errors import NASError, first_line

TYPES = ("cpu", "cuda", "mps", "xpu")  # devices on which networks can be trained


def pick_device(name: str, worker: int = 0) -> torch.device:
    """Return the device of a worker.

    Args:
        name: A device of torch, or "auto": the workers take the GPUs in turn, if there are any.
        worker: Number of the worker.

    Returns:
        The device.

    Raises:
        NASError: If this machine has no such device, or it computes nothing, as "meta".
    """
    if name == "auto":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        return torch.device(f"cuda:{worker % count}" if count > 1 else "cuda" if count else "cpu")
    reason = ""
    if name.partition(":")[0] in TYPES:
        try:
            torch.empty(1, device=name)
            return torch.device(name)
        except (RuntimeError, AssertionError) as error:
            reason = f" ({first_line(error)})"
    raise NASError(f"device={name}{reason}", "a device of this machine: auto, cpu, cuda, cuda:1, ...", "device=auto")

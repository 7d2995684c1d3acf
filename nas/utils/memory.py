"""Memory of the machine."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")


def machine_memory() -> tuple[float | None, float | None]:
    """Return the memory of the machine.

    Returns:
        Total and free bytes; None where the system does not report them.
    """
    with suppress(OSError, ValueError, IndexError):
        pairs = [line.partition(":") for line in (PROC / "meminfo").read_text(encoding="utf-8").splitlines()]
        values = {key: 1024 * float(value.split()[0]) for key, _, value in pairs}
        return values.get("MemTotal"), values.get("MemAvailable")
    with suppress(OSError, ValueError, AttributeError):
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")), None
    if sys.platform == "win32":
        import ctypes

        class Status(ctypes.Structure):
            _fields_ = [("length", ctypes.c_ulong), ("load", ctypes.c_ulong)] + [
                (name, ctypes.c_ulonglong) for name in ("total", "free", "a", "b", "c", "d", "e")
            ]

        status = Status(length=ctypes.sizeof(Status))
        if ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
            return float(status.total), float(status.free)
    return None, None

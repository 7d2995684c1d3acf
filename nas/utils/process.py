"""Identity of a process across hosts and containers, whether it has ended, its cores and running time."""

from __future__ import annotations

import os
import socket
import sys
import uuid
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any


def new_worker_id() -> dict[str, Any]:
    """Make the identity of one worker in this process.

    Returns:
        `token`, a random text; `place`, the host id; `pid`, the process number; `start`, the time at which the process
        began. Studies hold these keys.
    """
    return {"token": uuid.uuid4().hex[:12], "place": host_id(), "pid": os.getpid(), "start": _start(os.getpid())}


def is_dead(worker_id: Mapping[str, Any]) -> bool:
    """Report whether the process of a worker is known to have ended.

    Args:
        worker_id: As `new_worker_id` made it.

    Returns:
        True only if the process ran on this host and has ended, or its number now belongs to another process. False
        for processes of other hosts, of which nothing is known.
    """
    if worker_id.get("place") != host_id():
        return False
    pid = int(worker_id["pid"])
    return has_ended(pid) or _start(pid) != worker_id.get("start")


def has_ended(pid: int) -> bool:
    """Report whether no process of this host has this number.

    Args:
        pid: A process number of this host.

    Returns:
        True if there is no such process. Always False on Windows, because the question would end the process.
    """
    if sys.platform == "win32":  # os.kill(pid, 0) terminates the process there
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def usable_cores() -> int:
    """Count the processor cores that this process may use.

    Returns:
        The number; all cores of the machine where the system gives no other.
    """
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1


@lru_cache(maxsize=1)
def host_id() -> str:
    """Return an identifier within which a process number is unique.

    Returns:
        `host/boot/process namespace`, so that containers that share a host name differ; the host name alone if the
        kernel does not give the rest (macOS, Windows).
    """
    names = [socket.gethostname()]
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        names += [boot[:8], os.readlink("/proc/self/ns/pid")]
    return "/".join(names)


def running_seconds() -> float:
    """Return for how long this process has run.

    Returns:
        Seconds; 0 where the system does not report it.
    """
    with suppress(OSError, ValueError, IndexError, AttributeError):
        started = int(_start(os.getpid())) / os.sysconf("SC_CLK_TCK")
        return max(float(Path("/proc/uptime").read_text(encoding="utf-8").split()[0]) - started, 0.0)
    return 0.0


def _start(pid: int) -> str:
    """Return when the process began, in the kernel's ticks; "" if unknown, "ended" for a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "ended" if fields[0] == "Z" else fields[19]

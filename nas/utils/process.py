"""Who works on a trial: a worker's identity, and whether its process is known to have ended."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any


def new_owner() -> dict[str, Any]:
    """Identity of one attached study in this process. token: unlike any other."""
    return {"token": uuid.uuid4().hex[:12], "place": place(), "pid": os.getpid(), "start": _start(os.getpid())}


def is_dead(owner: Mapping[str, Any]) -> bool:
    """True only where this machine can tell: the process has ended, or its number is that of another process now."""
    if owner.get("place") != place():
        return False
    pid = int(owner["pid"])
    return has_ended(pid) or _start(pid) != owner.get("start")


def has_ended(pid: int) -> bool:
    """Whether this machine has no process of this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


@lru_cache(maxsize=1)
def place() -> str:
    """Host, boot and process namespace: within one place a process number means one process. Containers that share a
    host's name are different places."""
    words = [socket.gethostname()]
    with suppress(OSError):  # not Linux: the host's name has to do
        words += [Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8], os.readlink("/proc/self/ns/pid")]
    return "/".join(words)


def _start(pid: int) -> str:
    """When the process began, in the kernel's ticks; "" where that cannot be read, "ended" for a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "ended" if fields[0] == "Z" else fields[19]

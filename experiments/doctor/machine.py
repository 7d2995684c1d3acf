"""Checks of the processor, GPU, memory and threads, on Linux, macOS and Windows."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from experiments.doctor.check import NOTE, OK, PROBLEM, Check
from nas.utils.memory import machine_memory
from nas.utils.process import usable_cores

GB = 1e9
ENOUGH_MEMORY = 4 * GB  # bytes below which 3D trainings of the default sizes may end
# feature -> names by which /proc/cpuinfo, macOS and torch know it
FEATURES = {
    "AVX2": ("avx2", "AVX2"),
    "AVX-512": ("avx512f", "AVX512F", "AVX512"),
    "bf16": ("avx512_bf16", "amx_bf16", "bf16", "FEAT_BF16"),
    "AMX": ("amx_tile", "AMX"),
}
PROC, CGROUP = Path("/proc"), Path("/sys/fs/cgroup")


def processor_check(torch: dict[str, Any]) -> Check:
    """Check the instructions that trainings on a processor use.

    Args:
        torch: Result of `software.torch_facts`.

    Returns:
        Name and features of the processor.
    """
    name, flags = _processor()
    flags |= {str(torch.get("cpu") or "")}
    known = [f"{feature} {'yes' if flags & set(names) else 'no'}" for feature, names in FEATURES.items()]
    if platform.machine().lower() in ("arm64", "aarch64"):
        return Check("processor", OK, f"{name}, {known[2]}")
    slow = not flags & {*FEATURES["AVX2"], *FEATURES["AVX-512"]}
    fix = "trainings are slow without AVX2; use another machine or a GPU" if slow else ""
    return Check("processor", NOTE if slow else OK, ", ".join([name, *known]), fix)


def _processor() -> tuple[str, set[str]]:
    """Return the name of the processor and the flags of its instructions; empty where the system has none."""
    with suppress(OSError, UnicodeDecodeError):
        pairs = [
            line.partition(":")
            for line in (PROC / "cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        ]
        values = {key.strip(): value.strip() for key, _, value in pairs}
        flags = values.get("flags") or values.get("Features") or ""
        return values.get("model name") or platform.machine(), set(flags.split())
    if sys.platform == "darwin":
        name = _output("sysctl", "-n", "machdep.cpu.brand_string").strip()
        lines = _output("sysctl", "hw.optional").splitlines()
        flags = {
            key.rpartition(".")[2] for key, _, value in (line.partition(":") for line in lines) if value.strip() == "1"
        }
        return name or platform.machine(), {*flags, *_output("sysctl", "-n", "machdep.cpu.leaf7_features").split()}
    return platform.processor() or platform.machine(), set()


def gpu_check(torch: dict[str, Any]) -> Check:
    """Check that torch can use the GPU, if there is one.

    Args:
        torch: Result of `software.torch_facts`.

    Returns:
        Names and memory of the GPUs.
    """
    if gpus := torch.get("gpus"):
        return Check("gpu", OK, ", ".join(f"{name} with {size / GB:.0f} GB" for name, size in gpus))
    if torch.get("mps"):
        return Check("gpu", OK, "Apple Metal; use it with device=mps")
    present = _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader").strip().splitlines()
    if present and "error" not in torch:
        built = f"is built for CUDA {torch['built_for']}" if torch.get("built_for") else "is built without CUDA"
        fix = "install a torch for its driver, see https://pytorch.org/get-started/locally"
        return Check("gpu", NOTE, f"{present[0]}, which torch cannot use: it {built}", fix)
    return Check("gpu", OK, "none; trainings run on the processor")


def memory_check() -> Check:
    """Check the memory of the machine and the limit of its container.

    Returns:
        The memory that this process may use.
    """
    total, free = machine_memory()
    limit = _cgroup_limit()
    if total is None:
        return Check("memory", OK, "unknown on this system")
    usable = min(total, limit or total)
    shown = f"{total / GB:.1f} GB" + (f", {free / GB:.1f} GB free" if free is not None else "")
    if limit is not None and limit < total:
        shown += f", limited to {limit / GB:.1f} GB by a control group"
    if usable < ENOUGH_MEMORY:
        return Check("memory", NOTE, shown, "set a smaller training.batch_size, data.size or patch")
    return Check("memory", OK, shown)


def _cgroup_limit() -> float | None:
    """Return the smallest memory limit of the control groups of this process in bytes, None without one."""
    limits = []
    for folder in _cgroups():
        for name in ("memory.max", "memory.limit_in_bytes"):
            with suppress(OSError, ValueError):
                limits.append(float((folder / name).read_text(encoding="utf-8")))
    limits = [limit for limit in limits if 0 < limit < 2**60]  # version 1 writes a huge number for none
    return min(limits, default=None)


def _cgroups() -> list[Path]:
    """Return the folders of the control groups of this process, the innermost first."""
    folders = [CGROUP, CGROUP / "memory", CGROUP / "cpu"]
    with suppress(OSError):
        for line in (PROC / "self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            base = CGROUP / controllers.split(",")[0] if controllers else CGROUP
            own = base / path.lstrip("/")
            folders = [*(one for one in (own, *own.parents) if one.is_relative_to(base)), *folders]
    return folders


def threads_check(torch: dict[str, Any]) -> Check:
    """Compare the threads of a training with the cores that it may use.

    Args:
        torch: Result of `software.torch_facts`.

    Returns:
        Cores and threads.
    """
    every = os.cpu_count() or 1
    cores = float(usable_cores())
    for folder in _cgroups():
        with suppress(OSError, ValueError, ZeroDivisionError):
            quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
            cores = min(cores, float(quota) / float(period))
    chosen, usable = os.environ.get("OMP_NUM_THREADS", ""), max(1, int(cores))
    shown = f"{cores:g} of {every} cores" if cores < every else f"{every} cores"
    shown += f", OMP_NUM_THREADS={chosen}" if chosen else ""
    if chosen and not chosen.replace(",", "").isdecimal():
        return Check("threads", PROBLEM, shown, f"set OMP_NUM_THREADS={usable}, a whole number, or unset it")
    threads = int(chosen.split(",")[0]) if chosen else torch.get("threads")
    if threads is None:
        return Check("threads", OK, shown)
    shown += "" if chosen else f", torch uses {threads} thread{'s' if threads != 1 else ''}"
    if threads > usable:
        return Check(
            "threads", NOTE, shown, f"set OMP_NUM_THREADS={usable}: more threads than cores slow trainings down"
        )
    return Check("threads", OK, shown)


def _output(*command: str) -> str:
    """Return what a program of the system prints, "" if there is none."""
    if shutil.which(command[0]) is None:
        return ""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""

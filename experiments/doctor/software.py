"""Checks of Python, the installed packages and the extras; nothing but torch is imported, and that in a process."""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

from experiments.doctor.check import NOTE, OK, PROBLEM, Check

NAME = "voxnas"
OLDEST_PYTHON = (3, 10)
PROBE_S = 60.0  # longest import of torch
CORE = ("torch", "numpy", "h5py", "filelock", "scikit-learn", "hydra-core", "optuna", "pydantic", "matplotlib")
SHOWN = ("torch", "numpy", "hydra-core", "optuna", "scikit-learn", "h5py")  # each on a line of its own
EXTRAS = {
    "medical": "MONAI, and the readers of NIfTI, DICOM and MetaImage",
    "export": "trained networks as ONNX and OpenVINO",
    "serve": "the detector over HTTP",
    "joblib": "sweeps of parallel processes",
    "slurm": "sweeps on Slurm",
    "ray": "sweeps on Ray",
    "grpc": "studies on a gRPC server",
    "postgres": "studies in PostgreSQL",
    "dashboard": "Optuna's dashboard",
    "tensorboard": "tracking=tensorboard",
    "mlflow": "tracking=mlflow",
}
# modules that torch imports for compilers and exporters: a third of the time of its import, and no fact is theirs
SPARED = """
import sys, types
for name in ("torch._meta_registrations", "torch.export"):
    sys.modules[name] = types.ModuleType(name)
"""
PROBE = """
import json, torch
cuda, mps = torch.cuda.is_available(), getattr(torch.backends, "mps", None)
names = [torch.cuda.get_device_properties(n) for n in range(torch.cuda.device_count())] if cuda else []
print(json.dumps({
    "gpus": [[one.name, one.total_memory] for one in names], "built_for": torch.version.cuda or torch.version.hip or "",
    "mps": bool(mps and mps.is_available()), "threads": torch.get_num_threads(),
    "cpu": torch.backends.cpu.get_cpu_capability() if hasattr(torch.backends, "cpu") else "",
}))
"""
Requirements = dict[str, dict[str, str]]  # extra ("" for none) -> package -> versions such as ">=5,<6"


def start_probe(code: str = SPARED + PROBE) -> subprocess.Popen[str]:
    """Start the process that imports torch, which takes the longest of all checks.

    Args:
        code: Its program.

    Returns:
        The process, for `torch_facts`.
    """
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
    )


def torch_facts(probe: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for the process that imports torch; if it fails, import the whole of torch in another one.

    Args:
        probe: The process.

    Returns:
        What torch knows of the machine; only `error` if it cannot be imported.
    """
    facts = _facts_of(probe)
    return _facts_of(start_probe(PROBE)) if "error" in facts else facts


def _facts_of(probe: subprocess.Popen[str]) -> dict[str, Any]:
    try:
        output, errors = probe.communicate(timeout=PROBE_S)
    except subprocess.TimeoutExpired:
        probe.kill()
        probe.communicate()
        return {"error": f"its import takes more than {PROBE_S:.0f} s"}
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    try:
        return dict(json.loads(output.splitlines()[-1]))
    except (IndexError, ValueError, TypeError):
        return {"error": lines[-1][:200] if lines else f"its import ends with exit code {probe.returncode}"}


def python_checks() -> list[Check]:
    """Check VoxNAS and Python.

    Returns:
        A check for each.
    """
    try:
        own = Check(NAME, OK, version(NAME))
    except PackageNotFoundError:
        own = Check(NAME, NOTE, "not installed, used from its folder", "pip install -e . lets other folders use it")
    bits, found = 64 if sys.maxsize > 2**32 else 32, platform.python_version()
    if sys.version_info[:2] < OLDEST_PYTHON or bits == 32:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        fix = f"install a 64-bit Python of version {oldest} or later"
        return [own, Check("python", PROBLEM, f"{found}, {bits} bit", fix)]
    return [own, Check("python", OK, f"{found} on {platform.system()} {platform.machine()}")]


def package_checks(torch: dict[str, Any]) -> list[Check]:
    """Check the packages without which nothing works.

    Args:
        torch: Result of `torch_facts`.

    Returns:
        A check for each important package, and one for all others.
    """
    needed = requirements().get("") or dict.fromkeys(CORE, "")
    checks, fine = [], 0
    for name in sorted(needed, key=lambda name: SHOWN.index(name) if name in SHOWN else len(SHOWN)):
        check = _package(name, needed[name])
        if name == "torch" and check.status == OK and "error" in torch:
            fix = "pip install --force-reinstall torch, for this Python and this processor"
            check = Check(name, PROBLEM, f"{check.found}, but cannot be imported: {torch['error']}", fix)
        if name in SHOWN or check.status != OK:
            checks.append(check)
        else:
            fine += 1
    return [*checks, Check("packages", OK, f"{fine} others that VoxNAS needs")] if fine else checks


def extra_checks() -> list[Check]:
    """Check the optional packages.

    Returns:
        A check for each extra; missing ones are notes.
    """
    known = requirements()
    checks = []
    for extra, adds in EXTRAS.items():
        if extra not in known:
            continue  # of another version
        results = [_package(name, wanted) for name, wanted in known[extra].items()]
        found = ", ".join(f"{one.name} {one.found}" for one in results if one.status == OK)
        lacking = [one for one in results if one.status != OK]
        if not lacking:
            checks.append(Check(f"extra {extra}", OK, found))
            continue
        versions = ", ".join(f"{one.name} {one.found}" for one in lacking)
        checks.append(Check(f"extra {extra}", NOTE, versions, f"pip install 'voxnas[{extra}]' adds {adds}"))
    return checks


def requirements() -> Requirements:
    """Return the packages that the installed VoxNAS names.

    Returns:
        Extra -> package -> accepted versions; empty if VoxNAS is not installed.
    """
    found: Requirements = {}
    try:
        lines = requires(NAME) or []
    except PackageNotFoundError:
        return found
    for line in lines:
        text, _, marker = line.partition(";")
        match = re.match(r"\s*([\w.\-]+)\s*(?:\[[^\]]*\])?\s*\(?([^)]*)\)?", text)
        extra = re.search(r"""extra\s*==\s*["']([^"']+)["']""", marker)
        if match and _for_this_python(marker):
            found.setdefault(extra[1] if extra else "", {})[match[1]] = match[2].strip()
    return found


def _for_this_python(marker: str) -> bool:
    """Report whether a requirement counts for this version of Python; other conditions are not looked at."""
    bounds = re.findall(r"""python_version\s*(>=|<)\s*["'](\d+)\.(\d+)["']""", marker)
    here = sys.version_info[:2]
    return all((here >= (int(major), int(minor))) == (sign == ">=") for sign, major, minor in bounds)


def _package(name: str, wanted: str) -> Check:
    try:
        found = version(name)
    except PackageNotFoundError:
        return Check(name, PROBLEM, "missing", f"pip install '{name}{wanted}'")
    except Exception as error:  # broken metadata of another package
        return Check(
            name, PROBLEM, f"unreadable metadata ({type(error).__name__})", f"pip install --force-reinstall {name}"
        )
    if not _is_in(found, wanted.split(",")):
        return Check(name, PROBLEM, f"{found}, needed is {wanted}", f"pip install '{name}{wanted}'")
    return Check(name, OK, found)


def _is_in(found: str, limits: Sequence[str]) -> bool:
    """Return whether a version keeps limits such as >=2.8 and <3; unknown forms count as kept."""
    for limit in limits:
        match = re.fullmatch(r"\s*(>=|<=|<|>|==)\s*(\d+(?:\.\d+)*)\s*", limit)
        if match is None:
            continue
        has, needs = _numbers(found), _numbers(match[2])
        length = max(len(has), len(needs))
        has, needs = has + (0,) * (length - len(has)), needs + (0,) * (length - len(needs))
        kept = {">=": has >= needs, "<=": has <= needs, "<": has < needs, ">": has > needs, "==": has == needs}
        if not kept[match[1]]:
            return False
    return True


def _numbers(text: str) -> tuple[int, ...]:
    match = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(map(int, match[0].split("."))) if match else ()

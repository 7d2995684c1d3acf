"""Checks and ratios of VoxNAS on a GPU, in about ten minutes.

    python -m benchmarks.gpu                       # on the first GPU; without one: exit code 2
    python -m benchmarks.gpu --only prediction     # checks whose name holds a text
    python -m benchmarks.gpu --device cpu --quick  # the script itself, small, in less than a minute

Every check runs by itself and prints one line: `ok` with its seconds and its findings, or `FAIL` with the error, whose
trace is in the result. Ratios above 1 are in favour of VoxNAS; all sides of a ratio alternate within the run. Results
go to benchmarks/results/<date>-gpu-<device>.json. The exit code is 1 if a check failed.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import write_results
from benchmarks.gpu_checks import CHECKS, Bench
from benchmarks.gpu_ratios import RATIOS
from experiments.cli import run_command
from nas.cost.latency import device_name
from nas.errors import first_line

NO_GPU = "no GPU here (torch.cuda.is_available() is False): nothing was checked"
Check = Callable[[Bench], Mapping[str, Any]]


def run_check(name: str, check: Check, bench: Bench) -> dict[str, Any]:
    """Run a check and print its line.

    Args:
        name: Name of the check.
        check: Returns what it found; raises if something is wrong.
        bench: Device and size.

    Returns:
        Its row for the result.
    """
    started = time.perf_counter()
    try:
        found = dict(check(bench))
        row: dict[str, Any] = {"check": name, "ok": True, **found}
        text = "  ".join(f"{key} {value}" for key, value in found.items())
    except Exception as error:
        row = {"check": name, "ok": False, "error": first_line(error), "trace": traceback.format_exc()}
        text = f"{type(error).__name__}: {first_line(error)}"
    row["seconds"] = round(time.perf_counter() - started, 1)
    print(f"{'ok  ' if row['ok'] else 'FAIL'} {name:44} {row['seconds']:6.1f} s  {text}", flush=True)
    return row


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, or cpu to test the script")
    parser.add_argument("--quick", action="store_true", help="small networks and few steps")
    parser.add_argument("--only", default="", metavar="TEXT", help="checks whose name holds this text")
    parser.add_argument("--out", default=None, help="folder of the JSON (default: benchmarks/results)")
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print(NO_GPU)
        return 2
    chosen = {name: check for name, check in (CHECKS | RATIOS).items() if options.only in name}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(device, options.quick, Path(folder))
        rows = [run_check(name, check, bench) for name, check in chosen.items()]
    failed = [row["check"] for row in rows if not row["ok"]]
    date = datetime.now(timezone.utc).date().isoformat()
    on = re.sub(r"[^a-z0-9]+", "-", device_name(device).lower()).strip("-")
    write_results(f"{date}-gpu-{on}", rows, options.out, shown=("check", "ok", "seconds"))
    print(
        f"{len(rows) - len(failed)} of {len(rows)} checks passed" + (f"; failed: {', '.join(failed)}" if failed else "")
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(run_command(main))

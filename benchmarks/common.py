"""Output of benchmarks: a printed table, and a JSON file with date and machine."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nas.utils.files import write_text
from nas.utils.process import usable_cores

RESULTS = Path(__file__).resolve().parent / "results"


def write_results(
    name: str,
    rows: Sequence[Mapping[str, Any]],
    out: str | Path | None = None,
    seed: int = 0,
    shown: Sequence[str] | None = None,
) -> Path:
    """Print rows as a table and write `<name>.json` to the folder `out`, by default benchmarks/results.

    Args:
        name: Name of the file.
        rows: The results.
        out: The folder.
        seed: Seed of the benchmark.
        shown: Columns of the printed table; None for all.

    Returns:
        The file.
    """
    plain = [{key: _plain(value) for key, value in row.items()} for row in rows]
    content: dict[str, Any] = {"name": name, "machine": machine(), "seed": seed, "rows": plain}
    path = (RESULTS if out is None else Path(out)) / f"{name}.json"
    write_text(path, json.dumps(content, indent=1) + "\n")
    in_table = plain if shown is None else [{key: row[key] for key in shown if key in row} for row in plain]
    print(f"{name}  ({content['machine']['cpu']}, {content['machine']['cores']} cores)\n{table(in_table)}\n-> {path}\n")
    return path


def machine() -> dict[str, Any]:
    """Return date, processor, cores available to this process, GPU and versions."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "cpu": cpu_model(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def cpu_model() -> str:
    """Return the name of the processor on Linux or macOS, else its architecture."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    if platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return platform.processor() or platform.machine()


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Format rows as aligned text; the columns are the keys in the order of first appearance."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [columns, *[[_text(row.get(column)) for column in columns] for row in rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in cells)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)

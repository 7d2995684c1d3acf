"""The table of a training, in the terminal and as Markdown; and one table of several trainings.

python -m experiments.tables outputs/train/*/result.json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nas.errors import NASError

METRICS = {"auc": "AUC", "accuracy": "accuracy", "sensitivity": "sens.", "specificity": "spec.", "f1": "F1"}
NOTHING = "–"


@dataclass(frozen=True)
class Row:
    """One system. metrics and ci95 (95 % interval of auc) as fractions; costs as `experiments.benchmark` gives them."""

    system: str
    metrics: Mapping[str, float]
    ci95: Mapping[str, Sequence[float]] = field(default_factory=dict)
    costs: Mapping[str, Any] = field(default_factory=dict)

    def cells(self) -> dict[str, str]:
        """Column -> text. Units stand in the column's name: 10^6 parameters, 10^9 MACs, 10^6 bytes."""
        cells = {"system": self.system}
        for name, column in METRICS.items():
            cells[column] = f"{self.metrics[name]:.3f}" if name in self.metrics else NOTHING
        if "auc" in self.ci95:
            low, high = self.ci95["auc"]
            cells["AUC"] += f" [{low:.3f}, {high:.3f}]"
        macs = self.costs.get("macs")
        cells["params (M)"] = _digits(self.costs.get("params"), 1e6)
        cells["MACs (G)"] = _digits(macs, 1e9)
        cells["FLOPs (G)"] = _digits(None if macs is None else 2 * macs, 1e9)
        cells["size (MB)"] = _digits(self.costs.get("bytes"), 1e6)
        cells["latency (ms)"] = _digits(self.costs.get("latency_ms", {}).get("median"), 1)
        cells["memory (MB)"] = _digits(self.costs.get("peak_memory_mb"), 1)
        return cells


def markdown(rows: Sequence[Row], caption: str) -> str:
    """A GitHub table under its caption."""
    table = [row.cells() for row in rows]
    columns = list(table[0])
    lines = [" | ".join(columns), " | ".join("---" if i == 0 else "---:" for i in range(len(columns)))]
    lines += [" | ".join(cells.values()) for cells in table]
    return caption + "\n\n" + "\n".join(f"| {line} |" for line in lines) + "\n"


def terminal(rows: Sequence[Row], caption: str) -> str:
    """Two aligned blocks, at most 100 columns wide: what each system scores, and what each network costs."""
    table = [row.cells() for row in rows]
    columns = list(table[0])
    split = 1 + len(METRICS)
    scores = _aligned(table, columns[:split])
    networks = [cells for row, cells in zip(rows, table, strict=True) if row.costs]
    blocks = [caption, "", scores]
    if networks:
        blocks += ["", _aligned(networks, [columns[0], *columns[split:]])]
    return "\n".join(blocks)


def caption(result: Mapping[str, Any]) -> str:
    """Data, split, protocol, seed and sizes: what the numbers of a table stand under."""
    data, split = result["data"], result["split"]
    return (
        f"{data['name']} ({data['sha256'][:8]}), {result['protocol']}, split by {split['unit']} "
        f"({split['sha256'][:8]}), "
        f"seed {result['seed']}; {result['tested']['samples']} test samples of {result['tested']['groups']} "
        f"{split['unit']}s; [95 % interval, bootstrap over {split['unit']}s]"
    )


def _digits(value: float | None, unit: float) -> str:
    """Three significant digits and never fewer than the number has before the point."""
    if value is None:
        return NOTHING
    scaled = value / unit
    return f"{scaled:.0f}" if abs(scaled) >= 100 else f"{scaled:#.3g}".rstrip(".")


def _aligned(table: Sequence[Mapping[str, str]], columns: Sequence[str]) -> str:
    widths = {column: max(len(column), *(len(cells[column]) for cells in table)) for column in columns}
    first, *others = columns
    lines = []
    for cells in ({column: column for column in columns}, *table):
        values = [f"{cells[first]:<{widths[first]}}", *(f"{cells[column]:>{widths[column]}}" for column in others)]
        lines.append("  ".join(values).rstrip())
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def over_seeds(results: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: mean and standard deviation over seeds for each architecture, data set and protocol."""
    groups: dict[tuple[str, str, str, str, str], list[Mapping[str, Any]]] = {}
    for result in results:
        key = (result["name"], result["arch_id"], result["data"]["name"], result["split"]["sha256"], result["protocol"])
        groups.setdefault(key, []).append(result)
    columns = ["network", "architecture", "data", "split", "protocol", "seeds", *METRICS.values(), "params (M)"]
    lines = [" | ".join(columns), " | ".join("---" for _ in columns)]
    for key, members in groups.items():
        name, arch_id, data, split, protocol = key
        cells = [name, arch_id, data, split[:8], protocol, str(len({member["seed"] for member in members}))]
        for metric in METRICS:
            values = np.array([member["mean"][metric] for member in members])
            spread = f" ± {values.std(ddof=1):.3f}" if len(values) > 1 else ""
            cells.append(f"{values.mean():.3f}{spread}")
        lines.append(" | ".join([*cells, _digits(members[0]["params"], 1e6)]))
    return "\n".join(f"| {line} |" for line in lines) + "\n"


def read_result(path: Path) -> dict[str, Any]:
    """Raises NASError for a file that is no result.json."""
    try:
        result = json.loads(path.read_text())
        missing = {"name", "arch_id", "data", "split", "protocol", "seed", "mean", "params"} - set(result)
    except (OSError, ValueError, TypeError) as error:
        raise NASError(f"{path} ({error})", "a result.json that run_train.py wrote", "check the path") from error
    if missing:
        raise NASError(f"{path} without {min(missing)}", "a result.json that run_train.py wrote", "check the path")
    return result


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="One table of several result.json files, seeds put together.")
    parser.add_argument("results", nargs="+", type=Path)
    try:
        print(over_seeds([read_result(path) for path in parser.parse_args(arguments).results]), end="")
    except NASError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

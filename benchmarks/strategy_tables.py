"""Markdown tables of a comparison of strategies.

python -m benchmarks.strategy_tables benchmarks/results/strategies_dints_hippocampus.json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.cli import run_command

SHOWN = (10, 25, 50, 100)  # evaluations with a column
DIFFERENCES = (25, 100)  # evaluations after which random search is compared
TARGETS = (50, 100)
QUANTITIES = {"quality": "true quality", "area": "hypervolume"}
NO_RATIO = "not reached"


def markdown(content: Mapping[str, Any], quantity: str) -> str:
    """Return the tables of one quantity.

    Args:
        content: Content of the JSON of benchmarks/compare_strategies.py.
        quantity: "quality" or "area".

    Returns:
        Two tables, a row for each strategy: means after some evaluations; intervals of the difference from random
        search and the cost of reaching what random search reaches.
    """
    marks = [mark for mark in SHOWN if mark <= content["evaluations"]]
    targets = [target for target in TARGETS if target <= content["evaluations"]]
    means = [["strategy", *map(str, marks)]]
    compared = [mark for mark in DIFFERENCES if mark <= content["evaluations"]]
    head = [f"- random at {mark}" for mark in compared] + [f"cost of random's {target}" for target in targets]
    ratios = [["strategy", *head]]
    prefix = "" if quantity == "quality" else f"{quantity}_"
    for row in sorted(content["rows"], key=lambda row: -(row[f"{quantity}@{marks[-1]}"] or 0.0)):
        name = f"{_name(row['strategy'])} ({row['replays']})"
        means.append([name, *(_mean(row[f"{quantity}@{mark}"]) for mark in marks)])
        ends = [row.get(f"{quantity}_difference_interval@{mark}") for mark in compared]
        cells = [name, *("" if not pair or None in pair else f"[{pair[0]:+.4f}, {pair[1]:+.4f}]" for pair in ends)]
        for target in targets:
            cells.append(_ratio(row.get(f"{prefix}ratio@{target}"), row.get(f"{prefix}ratio_interval@{target}")))
        ratios.append(cells)
    return f"{_table(means)}\n\n{_table(ratios)}"


def _mean(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _table(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (lines[0], ["---"] * len(lines[0]), *lines[1:]))


def _ratio(middle: float | None, ends: Sequence[float | None] | None) -> str:
    if middle is None or ends is None:
        return NO_RATIO
    low, high = ("more" if end is None else f"{end:.2f}" for end in ends)
    return f"{middle:.2f} [{low}, {high}]"


def _name(text: str) -> str:
    for group in ("strategy.", "fidelity."):
        text = text.replace(f",{group}", ", ")
    return f"`{text}`"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    options = parser.parse_args(arguments)
    content = json.loads(options.file.read_text())
    for quantity, label in QUANTITIES.items():
        if quantity == "quality" or len(content["objectives"]) > 1:
            print(f"\n{label}\n\n{markdown(content, quantity)}")


if __name__ == "__main__":
    sys.exit(run_command(main))

"""Estimates of a dry run for each job (networks, time, disk), and their table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nas.budget import Estimate
from nas.utils.annotations import duration_text

COLUMNS = 80
UNITS_BYTES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


@dataclass(frozen=True)
class JobEstimate:
    """One job of a command, checked but not run.

    Args:
        folder: Its output folder.
        networks: Number of networks that are evaluated or trained, in all.
        left: Number of those that are not finished yet.
        estimate: Time and disk of those; None if they are unknown.
        device: Device on which a step was timed.
    """

    folder: Path
    networks: int
    left: int
    estimate: Estimate | None
    device: str = "cpu"


def estimate_table(plans: Sequence[JobEstimate]) -> str:
    """Write the table of a dry run, at most 80 columns wide.

    Args:
        plans: The jobs; workers of one study have one folder and are one row.

    Returns:
        Several lines.
    """
    merged: dict[Path, list[JobEstimate]] = {}
    for plan in plans:
        merged.setdefault(plan.folder, []).append(plan)
    rows = [(_name(folder, len(workers)), workers[0]) for folder, workers in merged.items()]
    if len(rows) > 1:
        rows.append(("total", _total([plan for _, plan in rows])))
    head = ("folder", "networks", "left", "time", "disk")
    cells = [head, *((name, f"{plan.networks:,}", f"{plan.left:,}", *_shown(plan.estimate)) for name, plan in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    widths[0] = min(widths[0], COLUMNS - sum(widths[1:]) - 2 * len(widths[1:]))
    lines = [
        "  ".join([_cut(row[0], widths[0]).ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in cells
    ]
    devices = ", ".join(sorted({plan.device for plan in plans}))
    return "\n".join([*lines, "", f"Time of what is left, one job after the other, from timed steps on {devices}."])


def _shown(estimate: Estimate | None) -> tuple[str, str]:
    if estimate is None:
        return "?", "?"
    size, unit = next((one for one in UNITS_BYTES if estimate.bytes >= one[0]), UNITS_BYTES[-1])
    return duration_text(estimate.seconds), f"{estimate.bytes / size:.1f} {unit}"


def _total(plans: Sequence[JobEstimate]) -> JobEstimate:
    known = [plan.estimate for plan in plans if plan.estimate is not None]
    whole = sum(known, Estimate()) if len(known) == len(plans) else None
    networks, left = sum(plan.networks for plan in plans), sum(plan.left for plan in plans)
    return replace(plans[0], networks=networks, left=left, estimate=whole)


def _name(folder: Path, workers: int) -> str:
    shown = os.path.relpath(folder)
    shown = str(folder) if shown.startswith("..") else shown
    return f"{shown} ({workers} workers)" if workers > 1 else shown


def _cut(text: str, width: int) -> str:
    """Shorten a text in its middle: folders of one sweep begin alike and differ at the end."""
    if len(text) <= width:
        return text
    end = (width - 3) * 2 // 3
    return f"{text[: width - 3 - end]}...{text[-end:]}"

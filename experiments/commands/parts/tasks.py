"""`voxnas tasks`: the tasks that are installed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.cli import Parser
from experiments.commands.parts.listing import Listing, Part, about

SUMMARY = "List the tasks: kind, metrics with the score first, source."


def parser() -> Parser:
    """Return the parser of `voxnas tasks`.

    Returns:
        The parser.
    """
    return Listing("tasks", "task", SUMMARY, _facts, ("kind",), _below).parser()


def _facts(settings: dict[str, Any], text: str) -> Mapping[str, Any]:
    from experiments.build import build
    from nas.tasks.base import Task

    task = build(settings, "task", Task, in_channels=1, outputs=2, dims=3)
    return {
        "about": about(type(task)),
        "kind": task.spec.kind,
        "metrics": {metric.name: metric.direction for metric in task.metrics},
    }


def _below(part: Part) -> str:
    return f"score {', '.join(part['metrics'])}"

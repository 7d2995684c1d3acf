"""`voxnas evaluators`: the evaluators that are installed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.cli import Parser
from experiments.commands.parts.listing import Listing, Part, about

SUMMARY = "List the evaluators: whether they train networks, source, what they do."


def parser() -> Parser:
    """Return the parser of `voxnas evaluators`.

    Returns:
        The parser.
    """
    return Listing("evaluators", "evaluator", SUMMARY, _facts, ("trains",), _below).parser()


def _facts(settings: dict[str, Any], text: str) -> Mapping[str, Any]:
    from nas.evaluators.base import Evaluator
    from nas.utils.locate import locate

    cls = locate(settings["_target_"], Evaluator, allow=None)
    own = [name for name in settings if not name.startswith("_")]
    return {"about": about(cls), "settings": own, "trains": "yes" if cls.trains else "no"}


def _below(part: Part) -> str:
    return str(part["about"])

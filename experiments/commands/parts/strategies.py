"""`voxnas strategies`: the strategies that are installed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.cli import Parser
from experiments.commands.parts.listing import Listing, Part, about

SUMMARY = "List the search strategies: class, source, what they do."


def parser() -> Parser:
    """Return the parser of `voxnas strategies`.

    Returns:
        The parser.
    """
    return Listing("strategies", "strategy", SUMMARY, _facts, (), _below).parser()


def _facts(settings: dict[str, Any], text: str) -> Mapping[str, Any]:
    from nas.strategies.base import Strategy
    from nas.utils.locate import locate

    cls = locate(settings["_target_"], Strategy, allow=None)
    own = [name for name in settings if not name.startswith("_")]
    return {"about": about(cls), "settings": own, "trains_supernet": cls.trains_supernet}


def _below(part: Part) -> str:
    return str(part["about"])

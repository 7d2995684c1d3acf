"""`voxnas data`: the data sets that are installed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.cli import Parser
from experiments.commands.parts.listing import Listing, Part, about, commented_task

SUMMARY = "List the data sets: kind of task, source, what they are."


def parser() -> Parser:
    """Return the parser of `voxnas data`.

    Returns:
        The parser.
    """
    return Listing("data", "data", SUMMARY, _facts, ("kind",), _below).parser()


def _facts(settings: dict[str, Any], text: str) -> Mapping[str, Any]:
    from nas.data.source import Source
    from nas.utils.locate import locate

    cls = locate(settings["_target_"], Source, allow=None)
    own = [name for name in settings if not name.startswith("_")]
    return {"about": about(cls), "kind": commented_task(text), "settings": own, "needs_files": "root" in own}


def _below(part: Part) -> str:
    return f"{part['about']}{' Needs data.root.' if part['needs_files'] else ''}"

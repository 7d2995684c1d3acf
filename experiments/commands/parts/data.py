"""`voxnas data`: the data sets that are installed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.cli import Parser
from experiments.commands.parts.listing import Listing, Part, about, commented_task

NEEDS = {"root": "data.root", "path": "data.path", "download": "data.download=true"}
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
    needs = " or ".join(NEEDS[name] for name in own if name in NEEDS)
    return {"about": about(cls), "kind": commented_task(text), "settings": own, "needs": needs}


def _below(part: Part) -> str:
    needs = f" Needs {part['needs']}." if part["needs"] else ""
    return f"{part['about']}{needs}"

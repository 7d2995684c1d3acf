"""`voxnas spaces`: the search spaces that are installed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from experiments.cli import Parser
from experiments.commands.parts.listing import FIXED, Listing, Part, about


def parser() -> Parser:
    """Return the parser of `voxnas spaces`.

    Returns:
        The parser.
    """
    return Listing("spaces", "space", SUMMARY, _facts, ("kind", "networks", "genes"), _below).parser()


SUMMARY = "List the search spaces: kind, number of networks, genes, source."


def _facts(settings: dict[str, Any], text: str) -> Mapping[str, Any]:
    from experiments.build import build
    from nas.space import SearchSpace

    space = build(settings, "space", SearchSpace)
    listed = space.enumerate()
    networks = len(listed) if listed is not None else math.prod(len(gene.choices) for gene in space.genes)
    return {
        "about": about(type(space)),
        "kind": space.kind,
        "networks": networks,
        "exact": listed is not None,  # else only known to be fewer than the product of all choices
        "genes": len(space.genes),
        "choices": {gene.name: list(gene.choices) for gene in space.genes},
        "ordered": [gene.name for gene in space.genes if gene.ordered],
        "published": list(space.published),
    }


def _below(part: Part) -> str:
    names = [f"{name}{FIXED}({len(choices)})" for name, choices in part["choices"].items()]
    return ", ".join(names if len(names) <= 10 else [*names[:8], "...", names[-1]])

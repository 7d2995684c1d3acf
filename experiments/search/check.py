"""Check of the settings of a search before anything starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.config import SearchConfig

PARTS = ("training", "space", "strategy", "evaluator", "data", "split", "task", "tracking")


def check_search(plain: Mapping[str, Any], typed: Sequence[str]) -> None:
    """Check the settings of conf/search.yaml.

    Args:
        plain: The settings, with interpolations filled in.
        typed: The settings of the command line.

    Raises:
        NASError: For the first setting that is wrong.
    """
    config = SearchConfig.of(plain)
    from experiments.parts import check_parts  # here, as torch takes long to import

    check_parts(config, PARTS)

"""Check of the settings of a search before anything starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.config import SearchConfig, require_dry_run
from nas.errors import NASError
from nas.study.url import require_form

PARTS = ("training", "space", "strategy", "fidelity", "evaluator", "data", "split", "task", "tracking")


def check_search(plain: Mapping[str, Any], typed: Sequence[str]) -> None:
    """Check the settings of conf/search.yaml.

    Args:
        plain: The settings, with interpolations filled in.
        typed: The settings of the command line.

    Raises:
        NASError: For the first setting that is wrong.
    """
    require_dry_run(plain)
    config = SearchConfig.of(plain)
    if config.cost.table is not None and not Path(config.cost.table).is_file():
        raise NASError(f"cost.table={config.cost.table}", "a latency table", "correct the path, or see voxnas cost")
    if config.study.url is not None:
        require_form(config.study.url)
    from experiments.parts import check_parts  # here, as torch takes long to import

    check_parts(config, PARTS, worker=config.worker)

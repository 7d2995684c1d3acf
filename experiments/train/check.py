"""Check of the settings of a training before anything starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.config import require_dry_run
from experiments.train.config import TrainConfig
from nas.errors import NASError

PARTS = ("training", "data", "split", "task", "tracking")


def check_train(plain: Mapping[str, Any], typed: Sequence[str]) -> None:
    """Check the settings of conf/train.yaml, together with those of the search of a network.

    Args:
        plain: The settings, with interpolations filled in.
        typed: The settings of the command line.

    Raises:
        NASError: For the first setting that is wrong, or a network that does not exist.
    """
    require_dry_run(plain)
    config = TrainConfig.of(plain)
    from experiments.networks import require_networks, searches_of  # here, as torch takes long to import
    from experiments.parts import check_parts
    from experiments.train.search_defaults import with_search_defaults

    allow = config.allow_packages
    searches = searches_of(config.arch, allow)
    require_networks(config.arch, allow, config.space_changes)
    if isinstance(published := config.baselines.get("published"), str):
        require_networks(published, allow, key="baselines.published")
    if config.supernet is not None and not Path(config.supernet).is_file():
        raise NASError(f"supernet={config.supernet}", "a file last.pt of a supernet", "correct the path")
    check_parts(TrainConfig.of(with_search_defaults(dict(plain), list(typed), searches, allow)), PARTS)

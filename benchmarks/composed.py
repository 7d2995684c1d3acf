"""Configurations of conf/ for benchmarks, with the mistakes of a command line in one line."""

from __future__ import annotations

from collections.abc import Sequence

from hydra import compose, initialize_config_module
from hydra.errors import HydraException
from omegaconf import DictConfig

from experiments.hydra_errors import explain


def composed(name: str, overrides: Sequence[str]) -> DictConfig:
    """Compose a configuration.

    Args:
        name: "search" or "train".
        overrides: Settings in Hydra's grammar.

    Returns:
        The configuration, with interpolations.

    Raises:
        NASError: If a setting is unknown or wrong.
    """
    try:
        with initialize_config_module("conf", version_base="1.3"):
            return compose(name, overrides=list(overrides))
    except HydraException as error:
        raise explain(error, typed=overrides) from error

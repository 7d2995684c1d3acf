"""Configurations as plain values; apart from `experiments.config`, whose checks take time to import."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import Container, DictConfig, OmegaConf


def resolved(cfg: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration as plain values, with all interpolations filled in.

    Args:
        cfg: The configuration.

    Returns:
        Setting -> value.
    """
    if not isinstance(cfg, Container) and not _has_interpolation(cfg):
        return {str(key): value for key, value in cfg.items()}
    content = OmegaConf.to_container(OmegaConf.create(cfg), resolve=True, throw_on_missing=True)  # type: ignore[arg-type]
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def _has_interpolation(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_interpolation, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_has_interpolation, value))
    return isinstance(value, Container) or (isinstance(value, str) and ("${" in value or value == "???"))

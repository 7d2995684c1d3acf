"""Check of every setting of a composed configuration, before a job or its output folder begins."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import hydra._internal.hydra
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import run_job
from omegaconf import DictConfig, OmegaConf, open_dict

from experiments.conf_files import groups, text_of
from experiments.config import resolved
from experiments.hydra_errors import unknown_setting
from nas.errors import NASError
from nas.utils.annotations import is_name, is_path

# file of conf/ -> `module:function` that checks its settings; imported with the first job
CHECKS = {
    "search": "experiments.search.check:check_search",
    "train": "experiments.train.check:check_train",
    "brain_tumor": "experiments.brain_tumor.config:check_brain_tumor",
}
SPECIAL = tuple(map(Path, ("/proc", "/sys", "/dev")))  # hold no folders of a user
SWEEP = BasicSweeper.sweep


def check_before_jobs() -> None:
    """Let Hydra check every job before it makes a folder or starts one; all jobs of a sweep are checked first."""
    hydra._internal.hydra.run_job = _checked_job  # type: ignore[attr-defined]
    BasicSweeper.sweep = _checked_sweep  # type: ignore[method-assign]


def check_settings(cfg: DictConfig) -> None:
    """Check a composed configuration.

    Args:
        cfg: The configuration of a job, with the node `hydra`.

    Raises:
        NASError: For the first setting that is unknown, or of the wrong type or range.
    """
    module, _, name = CHECKS[cfg.hydra.job.config_name].partition(":")
    hydra_config = HydraConfig.instance()
    before, typed = hydra_config.cfg, list(cfg.hydra.overrides.task)
    hydra_config.set_config(cfg)  # for `${hydra:...}` in settings
    try:
        _refuse_unknown(typed)
        job = cfg.copy()
        with open_dict(job):
            del job["hydra"]
        getattr(import_module(module), name)(resolved(job), typed)
        _check_folders(cfg)
    finally:
        hydra_config.cfg = before


def _refuse_unknown(typed: Sequence[str]) -> None:
    """Refuse a new setting `+key=value` at the top, which no command reads."""
    known = _settings_of_commands()
    for text in typed:
        key = text.lstrip("+").partition("=")[0].partition("@")[0]
        if text.startswith("+") and key.partition(".")[0] not in known and "/" not in key:
            raise unknown_setting(text, key.partition(".")[0], sorted(known))


def _settings_of_commands() -> set[str]:
    lines = [line for name in ("common", *CHECKS) for line in text_of(f"{name}.yaml").splitlines()]
    return {line.partition(":")[0] for line in lines if line[:1].isalpha()} - {"defaults", "hydra"} | set(groups())


def _check_folders(cfg: DictConfig) -> None:
    for key in ("hydra.run.dir", "hydra.sweep.dir"):
        require_folder(key, OmegaConf.select(cfg, key))
    below = OmegaConf.select(cfg, "hydra.output_subdir")
    if below is not None and not is_name(str(below)):
        raise NASError(
            f"hydra.output_subdir={below}", "a name that stays in its folder", "leave out hydra.output_subdir"
        )


def require_folder(key: str, value: object) -> None:
    """Check that a folder can be made.

    Args:
        key: The setting.
        value: Its value.

    Raises:
        NASError: If the value is no path, or a part of it is a file or cannot be written.
    """
    text = "" if value is None else str(value)
    if not is_path(text):
        raise NASError(f"{key}={text[:100]}", "the path of a folder", f"leave out {key}")
    path = Path(text).absolute()
    inside = Path(os.path.normpath(path))
    there = next(parent for parent in (path, *path.parents) if os.path.lexists(parent))
    if any(one == inside or one in inside.parents for one in SPECIAL):
        reason = "a folder of the system"
    elif not there.is_dir():
        reason = f"{there} is a file"
    elif not os.access(there, os.W_OK | os.X_OK):
        reason = f"{there} cannot be written"
    else:
        return
    raise NASError(f"{key}={text} ({reason})", "a folder that can be made and written", f"set {key} to another folder")


def _checked_job(**arguments: Any) -> Any:
    check_settings(arguments["config"])
    return run_job(**arguments)


def _checked_sweep(self: BasicSweeper, arguments: list[str]) -> Any:
    """Hydra's method, after a check of all jobs; the jobs are not composed once more."""
    assert self.hydra_context is not None
    assert self.config is not None
    loader = self.hydra_context.config_loader
    parser = OverridesParser.create(config_loader=loader)
    overrides = parser.parse_overrides([*self._parse_config(), *arguments])
    for batch in self.split_arguments(overrides, None):
        for job in batch:
            check_settings(loader.load_sweep_config(self.config, list(job)))
    self.validate_batch_is_legal = lambda batch: None  # type: ignore[method-assign]
    return SWEEP(self, arguments)

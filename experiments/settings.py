"""Check of every setting of a composed configuration, before a job or its output folder begins."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import hydra._internal.hydra
from hydra._internal.core_plugins import basic_sweeper
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import run_job
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig, OmegaConf, open_dict

from experiments.conf_files import groups, text_of
from experiments.hydra_errors import unknown_setting
from experiments.plain_settings import resolved
from nas.errors import NASError
from nas.utils.annotations import is_name, is_path

# file of conf/ -> `module:function` that checks its settings; imported with the first job
CHECKS = {
    "search": "experiments.search.check:check_search",
    "train": "experiments.train.check:check_train",
    "brain_tumor": "experiments.brain_tumor.config:check_brain_tumor",
}
INSTANTIATE = Plugins.instantiate_sweeper  # Hydra's own
SPECIAL = tuple(map(Path, ("/proc", "/sys", "/dev")))  # hold no folders of a user


def check_before_jobs(command: str) -> None:
    """Let Hydra check every job before it makes a folder or starts one; all jobs of a sweep are checked first.

    Args:
        command: Name of the command's file in conf/.
    """
    check = partial(check_settings, command=command)

    def checked_job(**arguments: Any) -> Any:
        check(arguments["config"])
        return run_job(**arguments)

    def checked_sweeper(self: Plugins, **arguments: Any) -> Sweeper:
        sweeper = INSTANTIATE(self, **arguments)
        # Hydra runs the module again when it looks for plug-ins, which replaces the class of an earlier import
        if isinstance(sweeper, basic_sweeper.BasicSweeper):  # sweepers of plug-ins choose jobs while they run
            sweeper.sweep = partial(_checked_sweep, sweeper, sweeper.sweep, check)  # type: ignore[method-assign]
        return sweeper

    hydra._internal.hydra.run_job = checked_job  # type: ignore[assignment]
    Plugins.instantiate_sweeper = checked_sweeper  # type: ignore[method-assign]


def check_settings(cfg: DictConfig, command: str) -> None:
    """Check a composed configuration.

    Args:
        cfg: The configuration of a job, with the node `hydra`.
        command: Name of the command's file in conf/.

    Raises:
        NASError: For the first setting that is unknown, or of the wrong type or range.
    """
    module, _, name = CHECKS[command].partition(":")
    hydra_config = HydraConfig.instance()
    before, typed = hydra_config.cfg, typed_settings(cfg.hydra)
    own: Any = OmegaConf.masked_copy(cfg, "hydra")  # for `${hydra:...}`; set_config would freeze the job's
    own.hydra._set_parent(cfg)
    hydra_config.cfg = own
    try:
        _refuse_unknown(typed)
        job = cfg.copy()
        with open_dict(job):
            del job["hydra"]
        getattr(import_module(module), name)(resolved(job), typed)
        _check_folders(cfg)
    finally:
        hydra_config.cfg = before


def typed_settings(hydra_config: Any) -> list[str]:
    """Return the settings of the command line, with `${...}` as typed.

    Args:
        hydra_config: The node `hydra` of a configuration.

    Returns:
        Texts such as "seed=1".
    """
    plain = OmegaConf.to_container(hydra_config.overrides.task, resolve=False)
    assert isinstance(plain, list)
    return [str(text) for text in plain]


def known_settings(config: DictConfig | None) -> list[str]:
    """Return the dotted keys of the settings that a command has, those of Hydra last.

    Args:
        config: The configuration without the settings of the command line; None if it could not be composed.

    Returns:
        The keys, and the groups of conf/.
    """
    keys = [] if config is None else list(_dotted(OmegaConf.to_container(config, resolve=False)))
    own = [key for key in keys if key.partition(".")[0] != "hydra"]
    return [*own, *(set(groups()) - set(own)), *(key for key in keys if key.partition(".")[0] == "hydra")]


def _dotted(value: Any, above: str = "") -> Iterator[str]:
    for name, part in value.items() if isinstance(value, dict) else ():
        yield f"{above}{name}"
        yield from _dotted(part, f"{above}{name}.")


def _refuse_unknown(typed: Sequence[str]) -> None:
    """Refuse a new setting `+key=value`, or a group at `+group@key=name`, at the top, which no command reads."""
    known = _settings_of_commands()
    for text in typed:
        group, _, place = text.lstrip("+").partition("=")[0].partition("@")
        top = (place or group).partition(".")[0]
        if text.startswith("+") and top not in {*known, "_global_", "_group_"} and "/" not in group:
            raise unknown_setting(text, top, sorted(known))


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


def _checked_sweep(sweeper: Any, sweep: Callable[..., Any], check: Callable[[DictConfig], None], arguments: Any) -> Any:
    """Sweep after a check of all jobs, which are not composed once more before the launch."""
    loader = sweeper.hydra_context.config_loader
    overrides = OverridesParser.create(config_loader=loader).parse_overrides([*sweeper._parse_config(), *arguments])
    for batch in sweeper.split_arguments(overrides, None):
        for job in batch:
            check(loader.load_sweep_config(sweeper.config, list(job)))
    sweeper.validate_batch_is_legal = lambda batch: None
    return sweep(arguments=arguments)

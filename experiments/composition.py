"""Composition of conf/: settings of an experiment for an option of a group apply only together with that option."""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra._internal.defaults_list import create_defaults_list
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.default_element import ResultDefault
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from experiments.plan_settings import COMMANDS, SETTING, settings_of_plan
from nas.errors import NASError

EXPERIMENT = "experiment"
WHOLE = ("objectives",)  # an experiment replaces them, where a merge would only add to those of conf/search.yaml
KEPT = 100  # composed jobs
OF_STRATEGY = {"evaluator": "supernet"}  # scores with the supernet that the strategy of the experiment trains


class ExperimentLoader(ConfigLoaderImpl):
    """Hydra's loader, with three rules for experiments, the files of conf/experiment, and the settings of `plan=FILE`.

    - The settings that an experiment gives to a group (`strategy: {lr: 0.1}`) belong to the option that it chooses. If
      another option is chosen (`strategy=random`), they are left out, and one line on stderr states this.
    - `evaluator: supernet` of an experiment belongs to its strategy. With another strategy the evaluator is that of
      conf/search.yaml, unless the command line names an evaluator or one of its settings.
    - The objectives of an experiment replace those before it. A null among them removes one and keeps the others.

    The settings of a plan come before those of the command line, which replace them.

    Args:
        config_search_path: Where configurations are searched.
    """

    unchanged: ClassVar[DictConfig | None] = None  # the latest configuration, before the settings of the command line
    plan: ClassVar[tuple[str, list[str]]] = ("", [])  # file and settings of the latest plan

    def __init__(self, config_search_path: ConfigSearchPath) -> None:
        super().__init__(config_search_path)
        self._left_out: dict[str, str] = {}  # group -> line for the user
        self._said: set[str] = set()
        self._parsed: tuple[Any, Any] | None = None  # a command line, and its overrides with the files read for them
        self._checked: dict[tuple[str, ...], DictConfig] = {}  # jobs that Hydra composed before it launches any

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """Compose a job. Hydra composes each twice, to check and to run it; the second call returns the first's.

        Args:
            master_config: The configuration of the sweep.
            sweep_overrides: The settings of the job.

        Returns:
            The configuration of the job.
        """
        key = tuple(sweep_overrides)
        if key in self._checked:
            return self._checked.pop(key)
        config = super().load_sweep_config(master_config, sweep_overrides)
        if master_config.hydra.runtime.choices.get("hydra/launcher") == "basic" and len(self._checked) < KEPT:
            self._checked[key] = config
        return config

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_parsed": None, "_checked": {}}  # for the processes of a launcher

    def _parse_overrides_and_create_caching_repo(self, config_name: str | None, overrides: list[str]) -> Any:
        key = (config_name, tuple(overrides))
        if self._parsed is None or self._parsed[0] != key:
            self._parsed = (key, super()._parse_overrides_and_create_caching_repo(config_name, overrides))
            for one in self._parsed[1][0]:
                _refuse_no_option(one, self._parsed[1][1])
        return self._parsed[1]

    def _load_configuration_impl(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        cfg = self._composed(config_name, overrides, run_mode, from_shell, validate_sweep_overrides)
        if cfg.hydra.job.chdir:  # paths of settings are relative to the folder in which the user is
            cfg.hydra.job.chdir = False
        return cfg

    def _composed(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool,
        validate_sweep_overrides: bool,
    ) -> DictConfig:
        given = (run_mode, from_shell, validate_sweep_overrides)
        planned = self._planned(config_name, overrides)
        more = [*planned, *self._apply_rules(config_name, overrides, run_mode)]
        try:
            cfg = super()._load_configuration_impl(config_name, [*planned, *overrides, *more[len(planned) :]], *given)
            if more:  # the job's folder is named by what was typed
                cfg.hydra.overrides.task = [text for text in cfg.hydra.overrides.task if text not in more]
                cfg.hydra.job.override_dirname = self._folder_name(cfg)
            return cfg
        except ConfigCompositionException:
            parsed, _ = self._parse_overrides_and_create_caching_repo(config_name, overrides)
            varied = {one.key_or_group for one in parsed if one.is_sweep_override()}
            of_options = [one for one in parsed if _belongs_to(one, varied)]
            if run_mode is not RunMode.MULTIRUN or not of_options:
                raise
            # Hydra composes a sweep once without the options that it varies; these settings may belong to one of them,
            # and each job is composed, and checked, with them
            kept = [str(one.input_line) for one in parsed if one not in of_options]
            cfg = super()._load_configuration_impl(config_name, [*planned, *kept], *given)
            cfg.hydra.overrides.task = [str(one.input_line) for one in parsed if not one.is_hydra_override()]
            return cfg
        finally:
            self._left_out, self._parsed = {}, None

    def _planned(self, config_name: str | None, overrides: list[str]) -> list[str]:
        """Return the settings of the plan that the command line names; those of a sweep come with its jobs."""
        parsed, _ = self._parse_overrides_and_create_caching_repo(config_name, overrides)
        named = [one for one in parsed if one.key_or_group == SETTING]
        if not named or config_name not in COMMANDS or named[-1].is_sweep_override() or named[-1].value() is None:
            return []
        path = named[-1].value()
        found = settings_of_plan(path, COMMANDS[config_name], [one.key_or_group for one in parsed])
        ExperimentLoader.plan = (str(path), found)
        return found

    def _apply_rules(self, config_name: str | None, overrides: list[str], run_mode: RunMode) -> list[str]:
        """Note which groups' settings in experiments are left out, and return overrides that the rules add."""
        parsed, repo = self._parse_overrides_and_create_caching_repo(config_name, overrides)
        experiment = [one for one in parsed if one.key_or_group == EXPERIMENT and not one.is_sweep_override()]
        options = [one for one in parsed if one.key_or_group != EXPERIMENT and repo.group_exists(one.key_or_group)]
        if not options or not experiment or experiment[-1].value() is None:
            return []

        def choices(of: Sequence[Override]) -> Mapping[str, Any]:
            missing = run_mode is RunMode.MULTIRUN
            listed = create_defaults_list(repo, config_name, list(of), prepend_hydra=True, skip_missing=missing)
            return listed.overrides.known_choices

        name, own, chosen = experiment[-1].input_line, choices(experiment), choices(parsed)
        others = {group: option for group, option in own.items() if "/" not in group and chosen.get(group) != option}
        more: dict[str, Any] = {}
        for group, option in OF_STRATEGY.items():
            typed = any(one.key_or_group.partition(".")[0] == group for one in parsed)
            if "strategy" in others and own.get(group) == option and not typed:
                more[group] = choices([]).get(group)
                others[group] = option
        for group, option in others.items():
            now = f"{group}={_shown(more.get(group, chosen.get(group)))}"
            self._left_out[group] = f"{name}: {now} leaves out its settings of {group}={option}"
        for group, option in more.items():
            needed = f"{group}={own[group]} needs strategy={own['strategy']}"
            self._say(f"{name}: {group}={_shown(option)}, as {needed}")
        return [f"{group}={_shown(option)}" for group, option in more.items()]

    def _load_single_config(self, default: ResultDefault, repo: Any) -> ConfigResult:
        loaded = super()._load_single_config(default, repo)
        if not _is_experiment(default) or not OmegaConf.is_dict(loaded.config):
            return loaded
        unused = [group for group in self._left_out if group in loaded.config]
        for group in unused:
            self._say(self._left_out[group])
        if unused:
            loaded = copy.copy(loaded)
            loaded.config = copy.deepcopy(loaded.config)  # the loader keeps the file for its next job
            with open_dict(loaded.config):
                for group in unused:
                    del loaded.config[group]
        return loaded

    def _compose_config_from_defaults_list(self, defaults: list[ResultDefault], repo: Any) -> DictConfig:
        cfg = super()._compose_config_from_defaults_list(defaults, repo)
        ExperimentLoader.unchanged = copy.deepcopy(cfg)
        if not any(map(_is_experiment, defaults)):
            return cfg
        loaded = [(default, self._load_single_config(default, repo).config) for default in defaults]
        for key in WHOLE:
            parts = [(_is_experiment(default), config[key]) for default, config in loaded if key in config]
            whole = [number for number, (own, part) in enumerate(parts) if own and None not in part.values()]
            if whole:
                with open_dict(cfg):
                    cfg[key] = OmegaConf.merge(*(part for _, part in parts[whole[-1] :]))
        return cfg

    def _folder_name(self, cfg: DictConfig) -> str:
        typed = OverridesParser.create().parse_overrides(list(cfg.hydra.overrides.task))
        names = cfg.hydra.job.config.override_dirname
        return str(get_overrides_dirname(typed, names.exclude_keys, names.item_sep, names.kv_sep))

    def _say(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            print(line, file=sys.stderr)


def _refuse_no_option(override: Override, repo: Any) -> None:
    """Refuse a choice for a group that is null, a number or the like, which Hydra reports by a traceback."""
    key = override.key_or_group
    if not key.strip("."):
        raise NASError(str(override.input_line), "KEY=VALUE", "write the key of a setting before the =")
    if not repo.group_exists(key) or override.is_sweep_override():
        return
    value = override.value()
    named = isinstance(value, str) and bool(value.strip())
    if named or isinstance(value, dict) or (override.is_delete() and value is None):
        return
    if isinstance(value, list) and value and all(isinstance(one, str) and one.strip() for one in value):
        return
    names = repo.get_group_options(key)
    raise NASError(
        str(override.input_line), f"one of {', '.join(names)}", f"choose a name of this list, or leave out {key}"
    )


def _is_experiment(default: ResultDefault) -> bool:
    return str(default.config_path).startswith(f"{EXPERIMENT}/")


def _belongs_to(override: Override, varied: set[str]) -> bool:
    """Whether a setting may belong to an option that the sweep varies; those of a varied experiment are all groups."""
    group, _, setting = override.key_or_group.lstrip("+~").partition(".")
    return bool(setting) and group != "hydra" and bool({group, EXPERIMENT} & varied)


def _shown(option: Any) -> str:
    return "null" if option is None else str(option)

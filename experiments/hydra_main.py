"""Commands that Hydra configures: their start, the folders of a sweep, and Hydra's errors in one line."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NoReturn

import hydra
import hydra._internal.hydra
from hydra._internal.hydra import Hydra
from hydra._internal.utils import get_args_parser
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from experiments.callbacks import CompareJobs
from experiments.cli import run_command
from experiments.composition import ExperimentLoader
from experiments.conf_files import problems, refuse_ambiguous
from experiments.dry_run import DryRun, is_dry_run
from experiments.hydra_errors import explain
from experiments.job_folder import Job
from experiments.plan_settings import with_plan, with_whole_objectives
from experiments.settings import check_before_jobs, known_settings
from experiments.sweep import ORDER, Outcomes, register_resolvers, varied_settings, with_job_folders
from experiments.workers import mark_launcher, workers_first
from nas.errors import NASError
from nas.study.password import take_password
from nas.utils.plugins import installed

ON_ONE_TERMINAL = ("joblib", "ray")  # launchers whose jobs run side by side and write to one terminal
OF_STORES = ("study.url", "warm_start")  # settings with the URL of a store
CHOOSING_MODE = ("hydra.mode", "+hydra.mode", "++hydra.mode", "hydra.searchpath")
GET_MODE = Hydra.get_mode
JOBLIB = "hydra_plugins.hydra_joblib_launcher._core"  # logger of the launcher
INTERRUPTED = "interrupted; the same command continues where this one stopped"


LETTERS = re.compile(r"^([+~]*[\w.@/]+=)([^'\"{}\[\](),]*[^\x00-\x7f][^'\"{}\[\](),]*)$")
NAME = re.compile(r"^(study\.name|name)=([^'\"{}\[\]()$]+)$")  # quoted texts and functions of Hydra stay


def run_hydra(job: Callable[[DictConfig], None], config_name: str, preview: str | None = None) -> NoReturn:
    """Compose the configuration from the command line, run the job or its sweep, and exit.

    Args:
        job: Takes the composed configuration. Processes of a launcher import it by its module and name.
        config_name: A file of conf/, without `.yaml`.
        preview: `module:function` that checks a job of `dry_run=true`. If None, the command has no dry run.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach this module, which reports them in one line
    logging.captureWarnings(True)
    # a line of a dozen arguments of joblib, above that which says how many jobs are launched
    logging.getLogger(JOBLIB).addFilter(lambda record: not record.getMessage().startswith("Joblib.Parallel("))
    outcomes = Outcomes()
    CompareJobs.ended, CompareJobs.jobs = outcomes.folders, outcomes.jobs
    JobReturn.return_value = property(outcomes.value_of, JobReturn.return_value.fset)  # type: ignore
    Hydra.get_mode = _mode  # type: ignore[method-assign]
    hydra._internal.hydra.ConfigLoaderImpl = ExperimentLoader  # type: ignore[misc]

    def body() -> int:
        arguments: list[str] = []
        try:
            arguments = take_passwords(with_whole_objectives(with_names_as_typed(sys.argv[1:])))
            register_resolvers(varied_settings(arguments))
            sys.argv[1:] = with_job_folders(arguments)
            _check_options()
            _find_plugins(arguments)
            dry = DryRun(preview, config_name) if preview is not None and is_dry_run(arguments) else None
            mark_launcher()
            check_before_jobs(config_name)
            with workers_first(arguments), dry.installed() if dry is not None else nullcontext():
                hydra.main(version_base="1.3", config_path="pkg://conf", config_name=config_name)(Job(job))()
        except (HydraException, OmegaConfBaseException) as error:
            path, planned = ExperimentLoader.plan
            explained = explain(error, known_settings(ExperimentLoader.unchanged), [*arguments, *planned])
            raise with_plan(explained, path, planned) from error
        except NASError as error:
            raise with_plan(error, *ExperimentLoader.plan) from error
        return outcomes.report() if dry is None else dry.report()

    sys.exit(run_command(body, INTERRUPTED))


class InstalledConf(SearchPathPlugin):
    """Adds the conf/ of installed plug-ins to Hydra's search path, after that of VoxNAS, which therefore wins."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the folders.

        Args:
            search_path: The search path, changed in place.
        """
        for plugin in installed():
            if plugin.conf is not None:
                search_path.append(provider=plugin.distribution, path=f"file://{plugin.conf}")


def output_folder() -> Path:
    """Return the output folder of the running job.

    Returns:
        The folder.
    """
    return Path(HydraConfig.get().runtime.output_dir)


def shares_terminal() -> bool:
    """Whether the running job writes to the terminal on which another job of the sweep shows its progress.

    Returns:
        True for a job of a parallel sweep other than the first.
    """
    config = HydraConfig.get()
    parallel = config.mode is RunMode.MULTIRUN and config.runtime.choices["hydra/launcher"] in ON_ONE_TERMINAL
    return bool(parallel and config.job.num != 0)


def with_names_as_typed(arguments: list[str]) -> list[str]:
    """Quote names that Hydra would read as numbers, so that study.name=1.10 and study.name=1.1 are two studies.

    Letters that Hydra's grammar does not know, as in data.root=/home/zoë, are quoted too.

    Args:
        arguments: The command line, without the program.

    Returns:
        The command line, in which `study.name` and `name` are texts.
    """
    names = [NAME.sub(lambda match: f"{match[1]}={','.join(map(_as_text, match[2].split(',')))}", a) for a in arguments]
    return [LETTERS.sub(lambda match: f"{match[1]}'{match[2]}'", argument) for argument in names]


def take_passwords(arguments: list[str]) -> list[str]:
    """Take the password out of `study.url` and `warm_start`, before Hydra writes the command line into files.

    Args:
        arguments: The command line, without the program.

    Returns:
        The command line; the password is kept in the environment, see `nas.study.password`.
    """
    found = []
    for text in arguments:
        key, equals, value = text.partition("=")
        found.append(f"{key}={take_password(value)}" if equals and key.lstrip("+") in OF_STORES else text)
    return found


def _as_text(value: str) -> str:
    try:
        parsed = OverridesParser.create().parse_override(f"name={value}").value()
    except HydraException:  # Hydra reports it, unless only letters are unknown to it
        return value if value.isascii() else f"'{value}'"
    return value if isinstance(parsed, str) else f"'{value}'"


def _mode(self: Hydra, config_name: str | None, overrides: list[str]) -> Any:
    """Hydra's method, which composes the whole configuration once more, only if a sweep is possible."""
    if any(argument.startswith(("-", *CHOOSING_MODE)) for argument in sys.argv[1:]):
        return GET_MODE(self, config_name, overrides)
    return None


def _find_plugins(arguments: list[str]) -> None:
    refuse_ambiguous(arguments)
    for problem in problems():
        print(f"warning: {problem}", file=sys.stderr)
    Plugins.instance().register(InstalledConf)


def _check_options() -> None:
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        added = next((text for text in sys.argv if text.startswith(ORDER)), "")
        message = message.replace(f" {added}", "").removeprefix("unrecognized arguments: ")
        raise NASError(
            f"the command line: {message}",
            "options of Hydra, and settings KEY=VALUE in one row",
            "write options such as -m before or after all settings, see --help",
        )

    parser.error = refuse  # type: ignore[method-assign]
    parser.parse_args(sys.argv[1:])

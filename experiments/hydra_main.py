"""Commands that Hydra configures: their start, the folders of a sweep, and Hydra's errors in one line."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra._internal.hydra import Hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.cli import run_command
from nas.errors import NASError

EXTRAS = {"joblib": "joblib", "submitit_local": "slurm", "submitit_slurm": "slurm", "ray": "ray", "ray_aws": "ray"}
ON_ONE_TERMINAL = ("joblib", "ray")  # launchers whose jobs run side by side and write to one terminal
# Never part of the name of a sweep's folder: they are in the folder's name already, or (worker) share a folder
UNNAMED = ("name", "study.name", "experiment", "worker", "arch", "space", "strategy", "seed")
CHOOSING_MODE = ("hydra.mode", "+hydra.mode", "++hydra.mode", "hydra.searchpath")
GET_MODE = Hydra.get_mode
INTERRUPTED = "interrupted; the same command continues where this one stopped"


NAME = re.compile(r"^(study\.name|name)=([^'\"{}\[\]()$]+)$")  # quoted texts and functions of Hydra stay


def run_hydra(job: Callable[[DictConfig], None], config_name: str) -> NoReturn:
    """Compose the configuration from the command line, run the job or its sweep, and exit.

    Args:
        job: Takes the composed configuration. Processes of a launcher import it by its module and name.
        config_name: A file of conf/, without `.yaml`.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach this module, which reports them in one line
    OmegaConf.register_new_resolver("arch_slug", arch_slug, replace=True)
    logging.captureWarnings(True)
    JobReturn.return_value = property(_value_of_job, JobReturn.return_value.fset)  # type: ignore
    Hydra.get_mode = _mode  # type: ignore[method-assign]

    def body() -> None:
        try:
            sys.argv[1:] = with_sweep_folders(with_names_as_typed(sys.argv[1:]))
            _check_options()
            hydra.main(version_base="1.3", config_path="pkg://conf", config_name=config_name)(job)()
        except (HydraException, OmegaConfBaseException) as error:
            raise explain(error) from error

    sys.exit(run_command(body, INTERRUPTED))


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


def with_sweep_folders(arguments: list[str]) -> list[str]:
    """Let the folders of a sweep be named by the settings that it varies.

    Settings that are the same for all jobs do not move them, and all workers of a study find one folder.

    Args:
        arguments: The command line, without the program.

    Returns:
        The command line of a sweep with one more setting; any other unchanged.

    Raises:
        NASError: If two jobs would be the same worker.
    """
    if not {"-m", "--multirun"} & set(arguments):
        return arguments
    unnamed, last = set(UNNAMED), len(arguments) - 1
    for position, argument in enumerate(arguments):
        try:
            override = OverridesParser.create().parse_override(argument)
        except HydraException:  # an option, or a mistake that Hydra reports
            continue
        last = position
        if not override.is_sweep_override():
            unnamed.add(override.key_or_group)
        elif override.key_or_group == "worker":
            workers = list(override.sweep_iterator())
            if len(set(workers)) < len(workers):
                raise NASError(f"{argument}, the same worker twice", "a number for each worker", "worker=range(0,8)")
    names = ",".join(f"'{key}'" for key in sorted(unnamed))
    order = f"hydra.job.config.override_dirname.exclude_keys=[{names}]"
    return [*arguments[: last + 1], order, *arguments[last + 1 :]]  # Hydra wants all settings in one row


def with_names_as_typed(arguments: list[str]) -> list[str]:
    """Quote names that Hydra would read as numbers, so that study.name=1.10 and study.name=1.1 are two studies.

    Args:
        arguments: The command line, without the program.

    Returns:
        The command line, in which `study.name` and `name` are texts.
    """
    return [NAME.sub(lambda match: f"{match[1]}={','.join(map(_as_text, match[2].split(',')))}", a) for a in arguments]


def _as_text(value: str) -> str:
    try:
        parsed = OverridesParser.create().parse_override(f"name={value}").value()
    except HydraException:  # Hydra reports it
        return value
    return value if isinstance(parsed, str) else f"'{value}'"


def explain(error: BaseException) -> NASError:
    """Return the NASError for an error of Hydra.

    Args:
        error: The error.

    Returns:
        The NASError that it wraps, or one with Hydra's own message.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, NASError):
            return cause
        cause = cause.__cause__ or cause.__context__
    message = " ".join(str(error).split()).replace("\t", " ")
    if "Available options" in message:
        problem, _, options = message.partition("Available options in ")
        group, _, names = options.partition(":")
        names = names.partition("Config search path")[0]
        launcher = problem.rpartition("hydra/launcher/")[2].strip(" '")
        if launcher in EXTRAS:
            return NASError(
                f"hydra/launcher={launcher}, which is not installed",
                f"one of: {names.strip()}",
                f"pip install 'voxnas[{EXTRAS[launcher]}]'",
            )
        group = group.strip(" '")
        name = problem.rpartition(f"{group}/")[2].strip(" '")
        return NASError(f"{group}={name}", f"one of {', '.join(names.split())}", f"choose a {group} of this list")
    return NASError(message, "a setting that the configuration has", "compare with `--cfg job` and the files in conf/")


def arch_slug(arch: Any) -> str:
    """Make a folder name of the setting `arch`.

    Args:
        arch: A name or a list of names.

    Returns:
        For .../arch.json the file's folder, else the name itself; at most 80 characters.
    """
    names = [str(item) for item in arch] if isinstance(arch, list | tuple) or OmegaConf.is_list(arch) else [str(arch)]
    parts = [Path(name).parent.name if Path(name).name == "arch.json" else name.removesuffix(".json") for name in names]
    text = "+".join(parts)
    return "".join(letter if letter.isalnum() or letter in "-+." else "_" for letter in text)[:80] or "arch"


def _value_of_job(result: JobReturn) -> Any:
    """Hydra's property, without its line on stderr: the job's error is reported once, by `run_hydra`."""
    if result.status is JobStatus.FAILED:
        raise result._return_value
    return result._return_value


def _mode(self: Hydra, config_name: str | None, overrides: list[str]) -> Any:
    """Hydra's method, which composes the whole configuration once more, only if a sweep is possible."""
    if any(argument.startswith(("-", *CHOOSING_MODE)) for argument in sys.argv[1:]):
        return GET_MODE(self, config_name, overrides)
    return None


def _check_options() -> None:
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise NASError(f"the command line: {message}", "settings key=value and options of Hydra", "see --help")

    parser.error = refuse  # type: ignore[method-assign]
    parser.parse_args(sys.argv[1:])

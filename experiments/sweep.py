"""Sweeps of Hydra: the folder of each job, names that all jobs share, and jobs that fail without ending the others."""

from __future__ import annotations

import hashlib
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.cli import USER_ERROR, mistake_of
from experiments.hydra_errors import explain
from nas.errors import NASError, first_line

MULTIRUN = ("-m", "--multirun")
NAMES = ("name", "study.name")  # the folder above that of the job has this name
WORKER = "worker"  # workers of one study share a folder
MOST_VALUES = 10_000  # of one setting of a sweep
LONGEST = 120  # characters of a folder's name
DIGITS = 8  # of the hash in a folder's name that is cut or changed
ORDER = "hydra.job.config.override_dirname.exclude_keys="
IN_NAMES = "-+.,=[]_ "  # characters of a folder's name beside letters and digits


def varied_settings(arguments: Sequence[str]) -> tuple[str, ...]:
    """Return the settings that a sweep varies.

    Args:
        arguments: The command line, without the program.

    Returns:
        Their keys, for example ("seed", "space.widths"); empty without `-m`.

    Raises:
        NASError: If the values cannot be listed, or a setting has one twice, so that two jobs would be the same.
    """
    if not set(MULTIRUN) & set(arguments):
        return ()
    varied = [override for override in overrides_of(arguments) if override.is_sweep_override()]
    for override in varied:
        listed = override.is_discrete_sweep() and not isinstance(override.value(), Glob)
        try:
            values = list(islice(override.sweep_string_iterator(), MOST_VALUES + 1)) if listed else []
        except (ValueError, TypeError, ArithmeticError) as error:  # of range(0,5,0)
            raise NASError(
                f"{override.input_line} ({first_line(error)})", "values such as seed=0,1", "correct the values"
            ) from error
        if len(values) > MOST_VALUES:
            raise NASError(f"more values in {override.input_line}", f"at most {MOST_VALUES}", "name fewer values")
        if len(set(values)) < len(values):
            twice = next(value for value in values if values.count(value) > 1)
            raise NASError(
                f"{override.input_line}, {twice} twice", "each value once, as two jobs would be the same", "remove one"
            )
    return tuple(override.key_or_group for override in varied)


def with_job_folders(arguments: list[str]) -> list[str]:
    """Let the folders of a sweep be named by the settings that it varies.

    Settings that are the same for all jobs do not move them, and all workers of a study find one folder.

    Args:
        arguments: The command line, without the program.

    Returns:
        The command line of a sweep with one more setting; any other unchanged.

    Raises:
        NASError: If two jobs would be the same.
    """
    if not set(MULTIRUN) & set(arguments):
        return arguments
    given = {override.key_or_group for override in overrides_of(arguments)}
    unnamed = {*NAMES, WORKER, *(given - set(varied_settings(arguments)))}
    names = ",".join(f"'{key}'" for key in sorted(unnamed))
    order = f"{ORDER}[{names}]"
    last = max((position for position, text in enumerate(arguments) if _override(text)), default=len(arguments) - 1)
    return [*arguments[: last + 1], order, *arguments[last + 1 :]]  # Hydra wants all settings in one row


def register_resolvers(varied: Sequence[str] = ()) -> None:
    """Register the functions that conf/ uses in its texts.

    Args:
        varied: Settings that the sweep varies, which the names of studies and trainings leave out.
    """
    functions: dict[str, Callable[..., str]] = {
        "job_folder": job_folder,
        "study_name": partial(study_name, varied=tuple(varied)),
        "training_name": partial(training_name, varied=tuple(varied)),
    }
    for name, function in functions.items():
        OmegaConf.register_new_resolver(name, function, replace=True)


def job_folder(overrides: str) -> str:
    """Return the folder of a job, below the folder of its sweep.

    Args:
        overrides: The settings that the sweep varies with their values in this job, as Hydra writes them.

    Returns:
        The same text, readable and at most 120 characters; one that is cut, or has other characters, ends with a hash.
    """
    parts = [part.lstrip("+") for part in overrides.split(",") if not part.startswith("~")]  # of Hydra's grammar
    overrides = ",".join(parts)
    text = "".join(letter if letter.isalnum() or letter in IN_NAMES else "_" for letter in overrides)
    if text == overrides and len(text) <= LONGEST:
        return text
    digest = hashlib.sha256(overrides.encode()).hexdigest()[:DIGITS]
    return f"{text[: LONGEST - DIGITS - 1]}-{digest}"


def study_name(space: str, strategy: str, seed: int, fidelity: str | None = None, *, varied: Sequence[str] = ()) -> str:
    """Return the default name of a study.

    Args:
        space: Name of the space in conf/.
        strategy: Name of the strategy in conf/.
        seed: Seed of the search.
        fidelity: Name of the multi-fidelity rule in conf/; None or "null" for none.
        varied: Settings that the sweep varies; the name is the same for all its jobs.

    Returns:
        For example "naslung-pop-seed0".
    """
    parts = {"space": str(space), "strategy": str(strategy), "fidelity": str(fidelity), "seed": f"seed{seed}"}
    if fidelity in (None, "null", ""):
        del parts["fidelity"]
    return "-".join(text for key, text in parts.items() if key not in varied) or "search"


def training_name(arch: Any, seed: int, varied: Sequence[str] = ()) -> str:
    """Return the default name of a training.

    Args:
        arch: The setting `arch`, a name or a list of names.
        seed: Seed of the training.
        varied: Settings that the sweep varies; the name is the same for all its jobs.

    Returns:
        For example "model-1-seed0". Of .../arch.json it holds the file's folder; it is at most 90 characters long.
    """
    names = [str(item) for item in arch] if isinstance(arch, list | tuple) or OmegaConf.is_list(arch) else [str(arch)]
    parts = [Path(name).parent.name if Path(name).name == "arch.json" else name.removesuffix(".json") for name in names]
    text = "".join(letter if letter.isalnum() or letter in "-+." else "_" for letter in "+".join(parts))[:80]
    named = {"arch": text or "arch", "seed": f"seed{seed}"}
    return "-".join(text for key, text in named.items() if key not in varied) or "training"


def study_of_job(name: str) -> str:
    """Return the name of a job's study in a store that all jobs of a sweep share.

    Args:
        name: The setting `study.name`.

    Returns:
        The name, with the settings that the sweep varies; workers of one study have one name.
    """
    config = HydraConfig.get()
    folder = job_folder(config.job.override_dirname) if config.mode is RunMode.MULTIRUN else ""
    return f"{name}/{folder}" if folder else name


class Outcomes:
    """The jobs of a sweep, as the launcher returns them. A job that failed does not end the sweep."""

    def __init__(self) -> None:
        self._jobs: dict[int, JobReturn] = {}

    def value_of(self, job: JobReturn) -> Any:
        """Return the value of a job, the property `return_value` of Hydra.

        Args:
            job: A job that ended.

        Returns:
            Its value; None if it failed as one of a sweep.

        Raises:
            Exception: The job's error, if it is no job of a sweep, or the reader of the output is gone.
        """
        failed = job.status is JobStatus.FAILED
        if failed and isinstance(
            job._return_value, BrokenPipeError
        ):  # the reader of the output is gone: no job is next
            raise job._return_value
        if _hydra_of(job).mode is RunMode.MULTIRUN:
            self._jobs[id(job)] = job
            return None if failed else job._return_value
        if failed:
            raise job._return_value
        return job._return_value

    def jobs(self) -> list[JobReturn]:
        """Return the jobs of the sweep.

        Returns:
            The jobs that ended, in their order.
        """
        return list(self._jobs.values())

    def folders(self) -> list[Path]:
        """Return the output folders of the jobs.

        Returns:
            Folders in the order of the jobs; workers of one study share one.
        """
        return [Path(_hydra_of(job).runtime.output_dir) for job in self._jobs.values()]

    def report(self) -> int:
        """Print how many jobs of the sweep finished, and why the others did not.

        Returns:
            Exit code: 2 if a job failed, else 0.
        """
        jobs = list(self._jobs.values())
        failed = [job for job in jobs if job.status is JobStatus.FAILED]
        if jobs:
            print(f"{len(jobs) - len(failed)} of {len(jobs)} jobs finished", flush=True)
        for job in failed:
            own = _hydra_of(job).job
            settings = str(own.override_dirname) or f"job {own.num}"
            print(f"error: {settings}: {_reason(job._return_value)}", file=sys.stderr)
        return USER_ERROR if failed else 0


def _hydra_of(job: JobReturn) -> DictConfig:
    assert job.hydra_cfg is not None
    return job.hydra_cfg.hydra


def _reason(error: BaseException) -> str:
    if isinstance(error, HydraException | OmegaConfBaseException):
        return str(explain(error))
    if (mistake := mistake_of(error)) is not None:
        return str(mistake)
    traceback.print_exception(error)
    return f"{type(error).__name__}: {first_line(error)}"


def overrides_of(arguments: Sequence[str]) -> list[Override]:
    """Parse the settings of a command line.

    Args:
        arguments: The command line, without the program.

    Returns:
        The settings; options of Hydra, and mistakes that Hydra reports, are left out.
    """
    return [override for override in map(_override, arguments) if override is not None]


def _override(argument: str) -> Override | None:
    try:
        return OverridesParser.create().parse_override(argument)
    except HydraException:  # an option, or a mistake that Hydra reports
        return None

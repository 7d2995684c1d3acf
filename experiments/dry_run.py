"""`dry_run=true`: every job of a command is composed and checked, and one table estimates their time and disk."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.hydra import Hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from experiments.cli import USER_ERROR, mistake_of
from experiments.hydra_errors import explain
from experiments.settings import check_settings
from experiments.sweep import overrides_of
from nas.errors import NASError, TrialFailed, first_line

if TYPE_CHECKING:
    from experiments.estimates import JobEstimate

DRY_RUN = "dry_run"
Preview = Callable[[DictConfig, Path], "JobEstimate"]


def is_dry_run(arguments: Sequence[str]) -> bool:
    """Whether a command line asks for a dry run.

    Args:
        arguments: The command line, without the program.

    Returns:
        The value of `dry_run`, False without it.

    Raises:
        NASError: If it is neither true nor false.
    """
    given = [override for override in overrides_of(arguments) if override.key_or_group == DRY_RUN]
    if given and (given[-1].is_sweep_override() or not isinstance(given[-1].value(), bool)):
        raise NASError(str(given[-1].input_line), "true or false", f"{DRY_RUN}=true")
    return bool(given and given[-1].value())


class DryRun:
    """Takes the place of Hydra's runs: jobs are composed and previewed, without folders, logs and launchers.

    Args:
        preview: `module:function`; the function takes a composed configuration and its output folder, checks it, and
            returns its plan.
        command: Name of the command's file in conf/.
    """

    def __init__(self, preview: str, command: str) -> None:
        module, _, name = preview.partition(":")
        self._preview: Preview = getattr(import_module(module), name)
        self._command = command
        self._plans: list[JobEstimate] = []
        self._failures: list[str] = []

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Let Hydra call this object in place of its own `run` and `multirun`.

        Yields:
            None, while it does.
        """
        dry, before = self, (Hydra.run, Hydra.multirun)

        def run(self: Hydra, config_name: str, task_function: Any, overrides: list[str], *_: Any, **__: Any) -> None:
            dry._job(lambda: self.compose_config(config_name, overrides, RunMode.RUN), RunMode.RUN, 0)

        def multirun(
            self: Hydra, config_name: str, task_function: Any, overrides: list[str], *_: Any, **__: Any
        ) -> None:
            sweep = self.compose_config(config_name, overrides, RunMode.MULTIRUN)
            for number, job in enumerate(_jobs(self, sweep)):
                dry._job(
                    lambda job=job: self.config_loader.load_sweep_config(sweep, job),  # type: ignore[misc]
                    RunMode.MULTIRUN,
                    number,
                )

        Hydra.run, Hydra.multirun = run, multirun  # type: ignore
        try:
            yield
        finally:
            Hydra.run, Hydra.multirun = before  # type: ignore

    def report(self) -> int:
        """Print the table of the jobs, and one line for each that cannot run.

        Returns:
            Exit code: 2 if a check failed, else 0.
        """
        if self._plans:
            from experiments.estimates import estimate_table  # here, as numpy takes long to import

            print(estimate_table(self._plans), flush=True)
        count = len(self._plans) + len(self._failures)
        if count:
            print(f"{len(self._plans)} of {count} jobs can run; nothing was started", flush=True)
        for failure in self._failures:
            print(f"error: {failure}", file=sys.stderr)
        return USER_ERROR if self._failures else 0

    def _job(self, compose: Callable[[], DictConfig], mode: RunMode, number: int) -> None:
        logging.basicConfig(level=logging.INFO, format="%(message)s")  # the preparation of data takes time
        name = f"job {number}"
        try:
            cfg = compose()
            with open_dict(cfg), read_write(cfg.hydra):
                cfg.hydra.mode, cfg.hydra.job.num, cfg.hydra.job.id = mode, number, str(number)
            HydraConfig.instance().set_config(cfg)
            name = str(cfg.hydra.job.override_dirname) or name
            single = mode is RunMode.RUN
            folder = Path(cfg.hydra.run.dir if single else f"{cfg.hydra.sweep.dir}/{cfg.hydra.sweep.subdir}")
            task = cfg.copy()
            with open_dict(task):
                del task["hydra"]
            check_settings(cfg, self._command)
            self._plans.append(self._preview(task, folder))
        except Exception as error:
            if mode is RunMode.RUN:
                raise
            self._failures.append(f"{name}: {_reason(error)}")


def _jobs(hydra: Hydra, sweep: DictConfig) -> Iterator[list[str]]:
    parser = OverridesParser.create(config_loader=hydra.config_loader)
    overrides = parser.parse_overrides(list(sweep.hydra.overrides.task))
    for batch in BasicSweeper.split_arguments(overrides, None):
        yield from batch


def _reason(error: Exception) -> str:
    if isinstance(error, HydraException | OmegaConfBaseException):
        return str(explain(error))
    if isinstance(error, TrialFailed):
        return f"got a network with {error}; expected one that trains here; fix: smaller networks or batches"
    if (mistake := mistake_of(error)) is not None:
        return str(mistake)
    traceback.print_exception(error)
    return f"{type(error).__name__}: {first_line(error)}"

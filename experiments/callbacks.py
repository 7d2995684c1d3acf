"""Callback of Hydra: the record of each job, and the comparison of a sweep's jobs at its end."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, flag_override

from experiments.cli import mistake_of
from experiments.job_folder import is_open, when_open
from nas.comparison.record import FAILED, FINISHED, RUNNING, JobRecord
from nas.errors import NASError, first_line
from nas.study.password import take_password

DRY_RUN = "dry_run"


class CompareJobs(Callback):
    """Writes job.json into the folder of each job, and sweep.csv and compare.html into that of a sweep.

    Neither changes the exit code of a command: an error becomes a line on stderr.

    Attributes:
        ended: Returns the folders of the jobs that the launcher returned; set by the process that runs the sweep.
        jobs: Returns these jobs.
    """

    ended: ClassVar[Callable[[], list[Path]]] = staticmethod(lambda: [])
    jobs: ClassVar[Callable[[], list[JobReturn]]] = staticmethod(lambda: [])

    def __init__(self) -> None:
        self.started = 0.0

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Take the password of a store out of the configuration before Hydra writes it to multirun.yaml.

        Args:
            config: The configuration with that of Hydra, changed in place.
            **kwargs: What else Hydra passes.
        """
        url = OmegaConf.select(config, "study.url", default=None)
        if isinstance(url, str):
            with flag_override(config, ["readonly", "struct"], False):
                config.study.url = take_password(url)

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Record a job of a sweep before it runs, so that one that is killed is listed too.

        Args:
            config: The configuration with that of Hydra.
            **kwargs: What else Hydra passes.
        """
        self.started = time.time()
        if config.hydra.mode == RunMode.MULTIRUN:
            when_open(lambda: self._record(config, HydraConfig.get(), RUNNING))

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Record how a job ended.

        Args:
            config: The configuration with that of Hydra.
            job_return: Status and error of the job.
            **kwargs: What else Hydra passes.
        """
        failed = job_return.status is JobStatus.FAILED
        folder = Path(HydraConfig.get().runtime.output_dir)
        if not folder.is_dir() or (failed and (config.hydra.mode == RunMode.RUN or not is_open())):
            return  # a refused job leaves nothing
        reason = _reason(job_return._return_value) if failed else ""
        self._record(config, HydraConfig.get(), FAILED if failed else FINISHED, reason)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Compare the jobs of the sweep, if there are several and one of them began.

        A refused job has no folder of its own before: its record is written beside those of the others.

        Args:
            config: The configuration of the sweep.
            **kwargs: What else Hydra passes.
        """
        folders = list(dict.fromkeys(type(self).ended()))
        if len(folders) < 2 or OmegaConf.select(config, DRY_RUN) or not any(map(Path.is_dir, folders)):
            return
        for job in type(self).jobs():
            if job.status is JobStatus.FAILED and not _folder_of(job).is_dir() and job.hydra_cfg is not None:
                self._record(config, job.hydra_cfg.hydra, FAILED, _reason(job._return_value))
        try:
            _compare(folders)
        except Exception as error:
            print(f"warning: no comparison of the jobs: {_reason(error)}", file=sys.stderr, flush=True)

    def _record(self, config: DictConfig, own: HydraConf, state: str, reason: str = "") -> None:
        if OmegaConf.select(config, DRY_RUN) or os.environ.get("RANK", "0") != "0":
            return
        choices = {str(group): str(name) for group, name in own.runtime.choices.items() if name is not None}
        record = JobRecord(
            command=str(own.job.config_name),
            state=state,
            started=self.started,
            number=int(own.job.num) if own.mode is RunMode.MULTIRUN else -1,
            overrides=dict(map(_setting, own.overrides.task)),
            choices={group: name for group, name in choices.items() if not group.startswith("hydra")},
            reason=reason,
        )
        folder = Path(own.runtime.output_dir)
        try:
            if state == FAILED or not _finished_before(folder, record):
                record.save(folder)
        except OSError as error:  # the job itself reports a full disk
            print(f"warning: no job.json: {first_line(error)}", file=sys.stderr, flush=True)


def _folder_of(job: JobReturn) -> Path:
    assert job.hydra_cfg is not None
    return Path(job.hydra_cfg.hydra.runtime.output_dir)


def _compare(folders: list[Path]) -> None:
    from nas.comparison.jobs import by_network, read_job  # these are needed at the end of a sweep only
    from nas.report.comparison import write_comparison, write_sweep

    parents = {str(folder.parent) for folder in folders}
    out = Path(os.path.commonpath(parents))
    jobs = [job for folder in folders for job in by_network(read_job(folder))]
    write_sweep(out, jobs)  # also if the jobs cannot be compared
    comparison = write_comparison(out, jobs)
    shown = os.path.relpath(out)
    print(f"\n{' '.join(comparison.verdicts)}\nwrote {shown}/sweep.csv and {shown}/compare.html", flush=True)


def _finished_before(folder: Path, record: JobRecord) -> bool:
    """Whether the folder is that of the same job, which finished before, and keeps its files."""
    try:
        before = JobRecord.load(folder)
    except NASError:  # a damaged record is replaced
        return False
    return before is not None and before == replace(record, state=FINISHED, started=before.started)


def _setting(override: str) -> tuple[str, str]:
    key, _, value = override.partition("=")
    return key.lstrip("+~"), value.strip("'\"")


def _reason(error: Any) -> str:
    mistake = mistake_of(error)
    return str(mistake) if mistake is not None else f"{type(error).__name__}: {first_line(error)}"

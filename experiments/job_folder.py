"""The output folder of a job of Hydra, made after the checks of the job, so that a refused job leaves nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial, update_wrapper
from pathlib import Path
from typing import Any

import hydra.core.utils
from omegaconf import DictConfig, OmegaConf

FILE_HANDLER = "logging.FileHandler"
CONFIGURE_LOG, SAVE_CONFIG = hydra.core.utils.configure_log, hydra.core.utils._save_config


class _Pending:
    """The output folder of the running job, and what is to be done once it exists."""

    folder: Path | None = None
    actions: list[Callable[[], None]] = []  # noqa: RUF012, replaced by each job


class Job:
    """A job for Hydra, whose output folder is made by `open_folder` and not before the job.

    In a process of a launcher Hydra is changed when the job is unpickled.

    Args:
        run: Takes the composed configuration; a function of an importable module.
    """

    __wrapped__: Callable[[DictConfig], None]

    def __init__(self, run: Callable[[DictConfig], None]) -> None:
        update_wrapper(self, run)
        # names that hydra.core.utils.run_job looks up when it makes the folder, opens the log and writes `.hydra`
        hydra.core.utils.Path = _UnmadeFolder  # type: ignore[misc]
        hydra.core.utils.configure_log = _configure_log
        hydra.core.utils._save_config = _save_config_later

    def __call__(self, cfg: DictConfig) -> None:
        self.__wrapped__(cfg)

    def __reduce__(self) -> tuple[Any, ...]:
        return Job, (self.__wrapped__,)


class LaterFile(logging.FileHandler):
    """A log file that is opened with the folder of the job; earlier records are written then.

    Args:
        filename: The file.
        mode: Mode of `open`.
        encoding: Encoding of the file.
    """

    def __init__(self, filename: str, mode: str = "a", encoding: str | None = "utf-8") -> None:
        super().__init__(filename, mode, encoding, delay=True)
        self._early: list[logging.LogRecord] | None = []
        when_open(self._open_early)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or keep it until the folder exists.

        Args:
            record: The record.
        """
        if self._early is None:
            super().emit(record)
        else:
            self._early.append(record)

    def _open_early(self) -> None:
        early, self._early = self._early or [], None
        if self.stream is None:
            self.stream = self._open()
        for record in early:
            super().emit(record)


def when_open(action: Callable[[], None]) -> None:
    """Do something as soon as the output folder of the running job exists.

    Args:
        action: Called once; at once if the folder exists.
    """
    if is_open():
        action()
    else:
        _Pending.actions.append(action)


def is_open() -> bool:
    """Check whether the running job has opened its output folder.

    Returns:
        True if it has, or if no job of Hydra runs.
    """
    return _Pending.folder is None


def open_folder(folder: Path) -> None:
    """Make the output folder of a job whose checks have passed, with its log.

    Args:
        folder: The folder.

    Raises:
        OSError: If it cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if _Pending.folder is not None and folder.absolute() == _Pending.folder:
        actions, _Pending.folder, _Pending.actions = _Pending.actions, None, []
        for action in actions:
            action()


class _UnmadeFolder(type(Path())):  # type: ignore[misc]
    """The class of the output folder in `hydra.core.utils.run_job`."""

    def mkdir(self, *arguments: Any, **settings: Any) -> None:
        """Note the folder of the job that begins."""
        _Pending.folder, _Pending.actions = Path(self).absolute(), []


def _configure_log(log_config: DictConfig, verbose_config: bool | str | Sequence[str] = False) -> None:
    """Hydra's function, with log files that are opened later."""
    plain = None if log_config is None else OmegaConf.to_container(log_config, resolve=True)
    if isinstance(plain, dict):
        for handler in (plain.get("handlers") or {}).values():
            if handler.get("class") == FILE_HANDLER:
                handler["class"] = f"{LaterFile.__module__}.{LaterFile.__qualname__}"
    CONFIGURE_LOG(OmegaConf.create(plain) if isinstance(plain, dict) else log_config, verbose_config)


def _save_config_later(cfg: DictConfig, filename: str, output_dir: Path) -> None:
    when_open(partial(SAVE_CONFIG, cfg, filename, Path(output_dir)))

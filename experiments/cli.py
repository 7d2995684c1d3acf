"""How a command ends: one line and exit code 2 for a user's mistake, a traceback only for a defect of VoxNAS."""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nas.errors import NASError

USER_ERROR, INTERRUPTED = 2, 130
# A file where a folder should be, a place without the right to it, a full or read-only disk
NO_PLACE = (errno.EEXIST, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)
EXTRAS = {"joblib": "joblib", "submitit_local": "slurm", "submitit_slurm": "slurm", "ray": "ray", "ray_aws": "ray"}
ON_ONE_TERMINAL = ("joblib", "ray")  # launchers whose jobs run side by side and write to one terminal
# Never part of the name of a sweep's folder: they are in the folder's name already, or (worker) share a folder
UNNAMED = ("name", "study.name", "experiment", "worker", "arch", "space", "strategy", "seed")


def run_as_command(task: Callable[[], None]) -> None:
    """Runs a Hydra main and exits. SIGTERM ends it as Ctrl-C does: what is finished is kept."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come up to here, where they become one line
    OmegaConf.register_new_resolver("arch_slug", arch_slug, replace=True)
    signal.signal(signal.SIGTERM, _interrupt)
    logging.captureWarnings(True)
    try:
        sys.argv[1:] = with_sweep_folders(sys.argv[1:])
        task()
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where this one stopped", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except (NASError, HydraException, OmegaConfBaseException) as error:
        _refuse(explain(error))
    except OSError as error:
        if error.errno not in NO_PLACE:
            raise
        got = f"{error.filename or 'a file'}: {(error.strerror or '').lower()}"
        fix = "mend that, or name another folder (hydra.run.dir, data_cache, data.root)"
        _refuse(NASError(got, "folders that may be written to and files that may be read", fix))


def as_command(task: Callable[[Sequence[str]], None], words: Sequence[str]) -> None:
    """Runs the body of a command that is not Hydra's and exits."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        task(words)
    except KeyboardInterrupt:
        print("interrupted; nothing half done was written", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except NASError as error:
        _refuse(error)


def _refuse(mistake: NASError) -> NoReturn:
    print(f"error: {mistake}", file=sys.stderr)
    sys.exit(USER_ERROR)


def with_sweep_folders(arguments: list[str]) -> list[str]:
    """The arguments of a sweep, and the order to name the folders of its jobs by what the sweep varies only: what is
    the same for all jobs does not move them elsewhere, and all workers of a study find one folder.

    Raises NASError where two jobs would be the same worker.
    """
    if not {"-m", "--multirun"} & set(arguments):
        return arguments
    unnamed, last = set(UNNAMED), len(arguments) - 1
    for position, word in enumerate(arguments):
        try:
            override = OverridesParser.create().parse_override(word)
        except HydraException:  # an option, or a mistake that Hydra tells of
            continue
        last = position
        if not override.is_sweep_override():
            unnamed.add(override.key_or_group)
        elif override.key_or_group == "worker":
            workers = list(override.sweep_iterator())
            if len(set(workers)) < len(workers):
                raise NASError(f"{word}, the same worker twice", "a number for each worker", "worker=range(0,8)")
    names = ",".join(f"'{key}'" for key in sorted(unnamed))
    order = f"hydra.job.config.override_dirname.exclude_keys=[{names}]"
    return [*arguments[: last + 1], order, *arguments[last + 1 :]]  # Hydra wants all settings in one row


def shares_terminal() -> bool:
    """Whether the running job writes to the terminal on which another job of the sweep shows its progress."""
    hydra = HydraConfig.get()
    parallel = hydra.mode is RunMode.MULTIRUN and hydra.runtime.choices["hydra/launcher"] in ON_ONE_TERMINAL
    return bool(parallel and hydra.job.num != 0)


def explain(error: BaseException) -> NASError:
    """The user's mistake behind an exception: a NASError wrapped by Hydra's instantiation, or Hydra's own words."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, NASError):
            return cause
        cause = cause.__cause__ or cause.__context__
    words = " ".join(str(error).split()).replace("\t", " ")
    if "Available options" in words:
        problem, _, options = words.partition("Available options in ")
        group, _, names = options.partition(":")
        names = names.partition("Config search path")[0]
        launcher = problem.rpartition("hydra/launcher/")[2].strip(" '")
        if launcher in EXTRAS:
            return NASError(
                f"hydra/launcher={launcher}, which is not installed",
                f"one of: {names.strip()}",
                f"pip install 'voxnas[{EXTRAS[launcher]}]'",
            )
        return NASError(problem.strip(), f"one of: {names.strip()}", f"choose {group.strip(' ' + chr(39))}=<name>")
    return NASError(words, "a setting that the configuration knows", "compare with `--cfg job` and the files in conf/")


def arch_slug(arch: Any) -> str:
    """A folder name from what `arch=` named: the file's folder for .../arch.json, else the name itself."""
    names = [str(item) for item in arch] if isinstance(arch, list | tuple) or OmegaConf.is_list(arch) else [str(arch)]
    parts = [Path(name).parent.name if Path(name).name == "arch.json" else name.removesuffix(".json") for name in names]
    text = "+".join(parts)
    return "".join(letter if letter.isalnum() or letter in "-+." else "_" for letter in text)[:80] or "arch"


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt

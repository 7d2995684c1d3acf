"""How a command ends: one line and exit code 2 for a user's mistake, a traceback only for a defect of VoxNAS."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nas.errors import NASError

USER_ERROR, INTERRUPTED = 2, 130


def run_as_command(task: Callable[[], None]) -> None:
    """Runs a Hydra main and exits. SIGTERM ends it as Ctrl-C does: what is finished is kept."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come up to here, where they become one line
    OmegaConf.register_new_resolver("arch_slug", arch_slug, replace=True)
    signal.signal(signal.SIGTERM, _interrupt)
    logging.captureWarnings(True)
    try:
        task()
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where this one stopped", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except (NASError, HydraException, OmegaConfBaseException) as error:
        print(f"error: {explain(error)}", file=sys.stderr)
        sys.exit(USER_ERROR)


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

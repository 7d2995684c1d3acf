"""Steps that a table may run: functions of a few modules, and commands without settings that name classes or programs.

A table may be a file from elsewhere, so its functions are those written for tables, and its commands can neither trust
further packages nor configure Hydra, whose callbacks and launchers are called by their dotted paths. What they write
lies in the folder of a row: they name no other place for it.
"""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

from experiments.commands.voxnas import COMMANDS as ALL_COMMANDS
from nas.errors import NASError
from nas.utils.named import require_plain
from nas.utils.plugins import plugin_packages

PACKAGE = "experiments.tables"
MODULES = ("checks", "counts", "dints", "nnunet", "references", "shape")
COMMANDS = (
    "search",
    "train",
    "predict",
    "evaluate",
    "export",
    "compare",
    "cost",
    "brats",
    "lung-detector",
    "lung-screening",
)
HYDRA_COMMANDS = ("search", "train")
OWN_FOLDER = "hydra.run.dir={folder}/"
SETTINGS = re.compile(r"(^|\s)[+~'\"]*hydra[./@]|_target_|allow[_-]package|(^|\s)(--(config|predictor|multirun)|-c|-m)")

PLACES = ("{folder}", "{row:")  # begins of the places that a step may write to
OUTPUT_OPTIONS = ("--out", "--save", "--cache")
OUTPUT_SETTING = re.compile(  # also within a mapping, such as tracking.tensorboard={folder: ...}
    r"(?<![A-Za-z0-9_])(?:[A-Za-z0-9]+_)*(?:cache|dir|folder|out|output|url|uri)['\"]?\s*[:=]\s*['\"]?(?P<value>.*)",
    re.DOTALL,
)
WRITE_BESIDE = ("compare", "evaluate", "export")  # without --out, into the folder of their first argument


def table_function(path: str, allow: Sequence[str] = ()) -> Callable[..., Any]:
    """Import a function that a table names.

    Args:
        path: Dotted path, `experiments.tables.<module>.<function>`, or of a further package.
        allow: Further packages whose functions may be called, from the command line.

    Returns:
        The function.

    Raises:
        NASError: If it is no public function that is defined in one of `MODULES`, a further package or a plug-in.
    """
    require_function_path(path, allow)
    module, _, name = path.rpartition(".")
    try:
        function = getattr(import_module(module), name, None)
    except ImportError as error:
        raise NASError(f"_target_={path} ({error})", "a function module.name", "correct the table") from error
    if not inspect.isfunction(function) or function.__module__ != module:
        raise NASError(f"_target_={path}", f"a function that {module} defines", "correct the table")
    return function


def require_function_path(path: str, allow: Sequence[str] = ()) -> None:
    """Check the path of a function without importing it.

    Args:
        path: See `table_function`.
        allow: See `table_function`.

    Raises:
        NASError: If it is in none of `MODULES`, further packages and plug-ins, or not public.
    """
    module, _, name = path.rpartition(".")
    further = module.partition(".")[0] in (*allow, *plugin_packages())
    if (further or module in {f"{PACKAGE}.{one}" for one in MODULES}) and not name.startswith("_"):
        return
    raise NASError(
        f"_target_={path}",
        f"a function that one of {', '.join(MODULES)} of {PACKAGE} defines",
        "correct the table; --allow-package NAME, if you trust that package",
    )


def require_function_settings(settings: Mapping[str, Any], where: str, allow: Sequence[str] = ()) -> None:
    """Check the settings of a function of a table before anything runs.

    Args:
        settings: `_target_` and arguments.
        where: Their place in the file, for messages.
        allow: See `table_function`.

    Raises:
        NASError: If the function is none of those for tables, or an argument is filled in from this machine.
    """
    require_plain(settings, where)
    folder = settings.get("folder", "{folder}")
    if not _is_own(str(folder)):
        raise NASError(f"{where}: folder={folder}", "a folder of a row, such as {row:ID}/x", "correct folder")
    require_function_path(str(settings["_target_"]), allow)


def require_command(step: str, where: str) -> None:
    """Check a command of a table before anything runs.

    Args:
        step: The words after `voxnas`, with the words of its size and section filled in.
        where: Its place in the file, for messages.

    Raises:
        NASError: If the command is not one of `COMMANDS`, a word sets what only a user may set, or it writes elsewhere
            than into the folder of a row.
    """
    try:
        words = shlex.split(step)
    except ValueError as error:
        raise NASError(f"{where}: the step {step!r} ({error})", "a command line", "correct the table") from error
    if not words or (words[0] in ALL_COMMANDS and words[0] not in COMMANDS):  # an unknown one fails by itself
        raise NASError(f"{where}: the step {step!r:.80}", f"one of {', '.join(COMMANDS)}", "correct the table")
    for word in words[1:]:
        if not (word.startswith(OWN_FOLDER) and _is_own(word.partition("=")[2])):
            require_word(word, where)
    for value in _outputs(words):
        if not _is_own(value):
            got = f"{where}: the output {value!r:.80} in a step"
            raise NASError(got, "a place that begins with {folder} or {row:ID}, without ..", "correct the table")


def _is_own(place: str) -> bool:
    return place.startswith(PLACES) and ".." not in place


def _outputs(words: Sequence[str]) -> list[str]:
    """Places to which a command writes, as far as its words name them."""
    command, *rest = words
    options = (*OUTPUT_OPTIONS, "--predictions") if command == "brats" else OUTPUT_OPTIONS
    found, named = [], False
    for number, word in enumerate(rest):
        option, equals, value = word.partition("=")
        if option in options:
            named = True
            found.append(value if equals else (rest[number + 1] if number + 1 < len(rest) else ""))
        elif command in HYDRA_COMMANDS:
            found += [value for value in _settings(word) if value != "null"]
    if command in WRITE_BESIDE and not named:
        found.append(next((word for word in rest if not word.startswith("-")), ""))
    return found


def _settings(word: str) -> list[str]:
    """Values of all settings of a word that name outputs, also within a mapping: the rest of the word from each on."""
    found, start = [], 0
    while match := OUTPUT_SETTING.search(word, start):
        found.append(match["value"])
        start = match.start("value")
    return found


def require_word(text: str, where: str) -> None:
    """Check a word of a command, or a text that is filled into commands.

    Args:
        text: The text.
        where: Its place in the file, for messages.

    Raises:
        NASError: If it sets what only a user may set.
    """
    if SETTINGS.search(text):
        raise NASError(f"{where}: {text!r:.80} in a step", "settings of the command", "type such a command yourself")

"""Errors of Hydra and OmegaConf in one line of our own, with the setting as typed and the nearest valid one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from nas.errors import NASError, first_line

EXTRAS = {"joblib": "joblib", "submitit_local": "slurm", "submitit_slurm": "slurm", "ray": "ray", "ray_aws": "ray"}
GRAMMAR = "KEY=VALUE in the grammar of Hydra"
SEARCHED = re.compile(r" ?(Config search path|Search path|See https)\b.*")
MOST_NAMED = 30  # settings in a message


def explain(error: BaseException, known: Sequence[str] = (), typed: Sequence[str] = ()) -> NASError:
    """Return the NASError for an error of Hydra.

    Args:
        error: The error.
        known: Dotted keys of the valid settings.
        typed: The command line, without the program.

    Returns:
        The NASError that it wraps, or one with the setting that Hydra refuses.
    """
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, NASError):
            return cause
        if isinstance(cause, MissingMandatoryValue):
            key = cause.full_key or str(cause).rpartition(": ")[2]
            return NASError(f"no {key}", "a value", f"set {key}=...")
    message = SEARCHED.sub("", " ".join(str(error).replace("\t", " ").split()))
    if "Available options" in message:
        return _of_option(message)
    if override := getattr(error, "override", None):
        return _of_grammar(str(override))
    if match := re.match(r"Could not override '(.*?)'\. To append to your config use \+(.*)$", message):
        return unknown_setting(match[2], match[1], known)
    if match := re.match(r"Could not override '(.*?)'|Could not delete(?: from config\.)? '?(.*?)'", message):
        key = match[1] or match[2]
        return unknown_setting(_as_typed(key, typed), key.partition("@")[0], known)
    if match := re.match(r"Override (\S+) looks like a config group override", message):
        key = match[1].lstrip("+~").partition("=")[0].partition("@")[0]
        return unknown_setting(match[1], key, known)
    if match := re.match(r"Error merging override (.*)$", message):
        return _of_merge(match[1], causes[1:])
    if match := re.match(r"Ambiguous value for argument '(.*?)' 1\.", message):
        key, _, values = match[1].partition("=")
        return NASError(match[1], "one value, or -m before several", f"add -m, or write {key}=[{values}]")
    if match := re.match(r"Could not append to config\. An item is already at '(.*?)'", message):
        text = _as_typed(match[1], typed)
        return NASError(text, f"a new setting after +, as {match[1]} exists", f"write {text.lstrip('+')}")
    if match := re.match(r"Cannot find primary config '(.*?)'", message):
        return NASError(f"--config-name={match[1]}", "the name of a configuration file", "leave out --config-name")
    if match := re.match(r"Additional config directory '(.*?)' not found", message):
        return NASError(f"--config-dir={match[1]}", "a folder of configuration files", "correct --config-dir")
    if match := re.match(r"Primary config (?:module|directory) .*?'?(\S+?)'? (?:not found|exists)", message):
        return NASError(f"--config-path={match[1]}", "a folder of configuration files", "leave out --config-path")
    if match := re.match(r"(.*) appears more than once in the final defaults list", message):
        return NASError(f"{match[1]} twice", "one choice for each group", f"keep one {match[1]}=...")
    for cause in causes:
        if isinstance(cause, OmegaConfBaseException) and cause.full_key:
            return _of_interpolation(cause, known, typed)
    return NASError(message or type(error).__name__, "settings of this command", "compare with --cfg job and --help")


def unknown_setting(text: str, key: str, known: Sequence[str]) -> NASError:
    """Return the refusal of a setting that does not exist.

    Args:
        text: The setting as typed.
        key: Its key.
        known: Dotted keys of the valid settings.

    Returns:
        The refusal, with the nearest valid key.
    """
    parts = key.split(".")
    depth = next((n for n in range(len(parts), 0, -1) if _below(".".join(parts[: n - 1]), known)), 1)
    above = ".".join(parts[: depth - 1])
    names = _below(above, known)
    start = f"{above}." if above else ""
    near = [start + name for name in get_close_matches(parts[depth - 1], names, n=3)]
    rest = "".join(f".{part}" for part in parts[depth:])
    near = [one + rest for one in near if one + rest in known] or near
    near = near or [one for one in known if one.rpartition(".")[2] == parts[-1]] or get_close_matches(key, known, n=1)
    listed = ", ".join(names[:MOST_NAMED]) + (", ..." if len(names) > MOST_NAMED else "")
    level = f"one of {listed}" if names else "a setting of the configuration"
    fix = f"write {text.replace(key, near[0], 1)}" if near and near[0] != key else "see --cfg job"
    return NASError(text, f"{level} in {above}" if above else level, fix)


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _below(above: str, known: Sequence[str]) -> list[str]:
    start = f"{above}." if above else ""
    return [key[len(start) :] for key in known if key.startswith(start) and "." not in key[len(start) :]]


def _as_typed(key: str, typed: Sequence[str]) -> str:
    return next((text for text in typed if re.match(rf"[+~]*{re.escape(key)}(=|$)", text)), key)


def _of_option(message: str) -> NASError:
    problem, _, options = message.partition("Available options in ")
    group, _, names = options.partition(":")
    group, listed = group.strip(" '"), names.split()
    name = problem.rpartition(f"{group}/")[2].strip(" '")
    if group == "hydra/launcher" and name in EXTRAS:
        return NASError(
            f"hydra/launcher={name}, which is not installed",
            f"one of: {' '.join(listed)}",
            f"pip install 'voxnas[{EXTRAS[name]}]'",
        )
    close = get_close_matches(name, listed, n=1)
    fix = f"write {group}={close[0]}" if close else f"choose a name of this list for {group}"
    return NASError(f"{group}={name}", f"one of {', '.join(listed)}", fix)


def _of_grammar(text: str) -> NASError:
    key, equal, value = text.partition("=")
    if not equal:
        return NASError(text, GRAMMAR, f"write {text}=...")
    quoted = value.replace("'", "")
    return NASError(text, GRAMMAR, f"close its brackets and quotes, or quote the value: \"{key}='{quoted}'\"")


def _of_merge(text: str, causes: Sequence[BaseException]) -> NASError:
    key = text.lstrip("+~").partition("=")[0]
    reason = next((first_line(cause) for cause in causes if isinstance(cause, OmegaConfBaseException)), "")
    kind = re.search(r"to (Integer|Float|Boolean|Path|Bytes)|type '(\w+)'", reason)
    words = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false", "Path": "a path"}
    if "not Optional" in reason or "is not supported" in reason:
        expected = "a value other than null"
    elif kind:
        expected = words.get(kind[1] or "", "a value of its type")
    else:
        expected = "a value that fits the other settings"
    return NASError(text, expected, f"set {key} to such a value, see --cfg all")


def _of_interpolation(error: OmegaConfBaseException, known: Sequence[str], typed: Sequence[str]) -> NASError:
    key = str(error.full_key)
    text, reason = _as_typed(key, typed), first_line(error)
    if missing := re.search(r"Interpolation key '(.*?)' not found", reason):
        holder = next((one for one in typed if "${" + missing[1] in one), text)
        close = get_close_matches(missing[1], known, n=1)
        fix = f"write ${{{close[0]}}}" if close else f"set {key} to a value"
        return NASError(f"{holder} (no setting {missing[1]})", "the name of a setting in ${...}", fix)
    if missing := re.search(r"Environment variable '(.*?)' not found", reason):
        return NASError(f"{text} (no environment variable {missing[1]})", "one that is set", f"export {missing[1]}=...")
    if missing := re.search(r"Unsupported interpolation type (\S+)", reason):
        return NASError(f"{text} (no function {missing[1]})", "a function such as oc.env in ${...}", f"set {key}")
    return NASError(f"{text} ({reason})", "a value that can be filled in", f"set {key} to a value")

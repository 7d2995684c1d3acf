"""A plan: settings of the commands, each with its reason, and its file `plan.yaml`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nas.errors import NASError
from nas.utils.files import write_text
from nas.utils.foreign import parse_yaml, read_text

FORMAT = 1
MOST_BYTES = 1_000_000
SECTIONS = {"": "decisions", "search": "search", "train": "train"}  # command -> section of the file
TASKS = ("segmentation", "classification")
KEYS = ("plan", "task", "fingerprint", "reference", *SECTIONS.values())
KEY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
PLAIN = re.compile(r"[A-Za-z_/][\w/.-]*", re.ASCII)  # a text that needs no quotes on a command line
KEYWORDS = ("null", "true", "false", "nan", "inf")
REASON = "  # "


@dataclass(frozen=True)
class Decision:
    """One setting.

    Args:
        key: Dotted key of the setting, such as `training.batch_size`; a key without a dot whose value is a text
            chooses a file of conf/, as `data`.
        value: Plain value.
        reason: One line.
        command: "search" or "train" for a setting of one of the commands; "" for both.
    """

    key: str
    value: Any
    reason: str
    command: str = ""

    @property
    def override(self) -> str:
        """The setting in Hydra's grammar, `key=value`."""
        return f"{self.key}={in_grammar(self.value)}"

    @property
    def chooses(self) -> bool:
        """Whether the setting may choose a file of a group."""
        return "." not in self.key and isinstance(self.value, str)


@dataclass(frozen=True)
class Plan:
    """The settings of a search and a training for one data set, and what they rest on.

    Args:
        task: "segmentation" or "classification".
        fingerprint: Facts of the data as plain values, see `nas.planning.facts`.
        decisions: The settings.
        reference: Name of a gene -> value of the reference network in the planned space.
    """

    task: str
    fingerprint: Mapping[str, Any]
    decisions: Sequence[Decision]
    reference: Mapping[str, Any] = field(default_factory=dict)

    def of(self, command: str) -> list[Decision]:
        """Return the settings of a command, those that choose a file of a group first.

        Args:
            command: "search" or "train".

        Returns:
            The decisions; one of this command replaces one of both with the same key.
        """
        found = {one.key: one for one in self.decisions if not one.command}
        found |= {one.key: one for one in self.decisions if one.command == command}
        return sorted(found.values(), key=lambda one: not one.chooses)

    def overrides(self, command: str = "search") -> list[str]:
        """Return the settings of a command in Hydra's grammar, those that choose a file of a group first.

        Args:
            command: "search" or "train".

        Returns:
            Texts such as "data=msd" and "training.batch_size=2".
        """
        return [one.override for one in self.of(command)]

    def value(self, key: str, command: str = "search", default: Any = None) -> Any:
        """Return the value of a setting.

        Args:
            key: Its dotted key.
            command: "search" or "train".
            default: Value to return if the plan does not decide it.

        Returns:
            The value.
        """
        return next((one.value for one in self.of(command) if one.key == key), default)

    def write(self, path: str | Path) -> None:
        """Write the plan as YAML, each decision on one line with its reason as a comment.

        Args:
            path: The file.
        """
        write_text(path, "\n".join(self._lines()) + "\n")

    def _lines(self) -> Iterator[str]:
        yield "# Settings for `voxnas search plan=FILE` and `voxnas train plan=FILE`. Each line may be changed here,"
        yield "# or on the command line behind plan=FILE."
        yield f"plan: {FORMAT}"
        yield f"task: {self.task}"
        for command, name in SECTIONS.items():
            decisions = [one for one in self.decisions if one.command == command]
            if decisions:
                yield ""
                yield f"{name}:" + (f"{REASON}of `voxnas {command}` only" if command else "")
            for one in decisions:
                yield f"  {one.key}: {in_yaml(one.value)}{REASON}{' '.join(one.reason.split())}"
        for name, facts in (("reference", self.reference), ("fingerprint", self.fingerprint)):
            if facts:
                yield ""
                yield f"{name}:" + (f"{REASON}genes of the reference network" if name == "reference" else "")
                yield from (f"  {in_yaml(str(key))}: {in_yaml(value)}" for key, value in facts.items())

    @classmethod
    def read(cls, path: str | Path) -> Plan:
        """Read a plan.

        Args:
            path: The file, as `write` makes it, also with changed, added and removed decisions.

        Returns:
            The plan. A decision without a comment has the reason "".

        Raises:
            NASError: If the file is missing or is no plan.
        """
        path = Path(path)
        try:
            text = read_text(path, MOST_BYTES)
            content = parse_yaml(text)
        except FileNotFoundError as error:
            raise NASError(f"no file {path}", "a plan", "voxnas plan FOLDER --out plan.yaml") from error
        except OSError as error:
            raise _no_plan(path, f" ({' '.join(str(error).split())})") from error
        except ValueError as error:
            text = f"{path}, which cannot be read ({' '.join(str(error).split())})"
            raise NASError(
                text, "YAML with each key once", f"correct {path}, or make it anew by voxnas plan"
            ) from error
        if not isinstance(content, dict) or content.get("plan") != FORMAT:
            raise _no_plan(path)
        if unknown := [key for key in content if key not in KEYS]:
            raise NASError(
                f"{unknown[0]} in {path}", f"one of {', '.join(KEYS)}", "remove it, or write it below decisions"
            )
        reasons, decisions = _reasons(text), []
        for command, name in SECTIONS.items():
            for key, value in _mapping(content, name, path).items():
                if not isinstance(key, str) or not KEY.fullmatch(key):
                    raise NASError(f"the key {key!r} in {path}", "the dotted key of a setting", "correct the key")
                decisions.append(Decision(key, value, reasons.get((name, key), ""), command))
        facts, reference = (_mapping(content, name, path) for name in ("fingerprint", "reference"))
        if (task := content.get("task")) not in TASKS:
            raise NASError(f"task: {in_yaml(task)} in {path}", f"one of {', '.join(TASKS)}", f"correct task in {path}")
        return cls(task, facts, tuple(decisions), reference)


def is_like_plan(path: Path) -> bool:
    """Check whether a file is a plan, perhaps one with mistakes.

    Args:
        path: The file.

    Returns:
        True if it has a line `plan: NUMBER`.
    """
    try:
        return re.search(r"^plan: *\d+\s*$", read_text(path, MOST_BYTES), re.MULTILINE) is not None
    except (OSError, ValueError):
        return False


def _mapping(content: Mapping[str, Any], name: str, path: Path) -> Mapping[str, Any]:
    value = content.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise NASError(f"{name} in {path}, which holds no settings", "lines KEY: VALUE below it", f"correct {name}")
    return value


def _no_plan(path: Path, reason: str = "") -> NASError:
    return NASError(
        f"{path}, which is no plan{reason}", f"YAML with plan: {FORMAT}", "voxnas plan FOLDER --out plan.yaml"
    )


def _reasons(text: str) -> dict[tuple[str, str], str]:
    """Return the comment of every line of a section."""
    found: dict[tuple[str, str], str] = {}
    section = ""
    for line in text.splitlines():
        if line[:1].isalpha():
            section = line.partition(":")[0]
        elif line.startswith("  ") and REASON in line:
            key = line.partition(":")[0].strip()
            found[section, key] = line.rpartition(REASON)[2].strip()
    return found


def in_yaml(value: Any) -> str:
    """Write a plain value as YAML on one line.

    Args:
        value: Numbers, texts, lists and mappings.

    Returns:
        The text, which YAML 1.1 reads as the same value.
    """
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{in_yaml(str(key))}: {in_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(in_yaml, value)) + "]"
    if isinstance(value, str) and PLAIN.fullmatch(value) and value.lower() not in (*KEYWORDS, "yes", "no", "on", "off"):
        return value
    return json.dumps(value, ensure_ascii=False)


def in_grammar(value: Any) -> str:
    """Write a plain value in Hydra's grammar.

    Args:
        value: Numbers, texts, lists and mappings with texts as keys.

    Returns:
        The text.
    """
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{in_grammar(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(in_grammar, value)) + "]"
    text = str(value)
    if isinstance(value, int) or (PLAIN.fullmatch(text) and text.lower() not in KEYWORDS):
        return text
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", text)
    at_end = re.sub(r"(\\+)$", r"\1\1", escaped)
    return f"'{at_end}'"


def _number(value: float) -> str:
    """Write a float with a point, as YAML 1.1 reads 1e-05 as a text."""
    if not math.isfinite(value):
        return ".nan" if math.isnan(value) else f"{'-' * (value < 0)}.inf"
    text = repr(float(value))
    mantissa, e, exponent = text.partition("e")
    return text if not e or "." in mantissa else f"{mantissa}.0e{exponent}"

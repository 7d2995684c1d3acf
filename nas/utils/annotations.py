"""Annotations with ranges, for arguments that are checked, and their description in messages."""

from __future__ import annotations

import inspect
import math
import re
import reprlib
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Len, Lt, Predicate

PLAIN = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", type(None): "null"}
UNITS_S = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}  # of durations
DURATION = re.compile(r"(\d+\.?\d*)\s*([a-z]*)")
CONSTRAINT = re.compile(r"\s*([A-Za-z_]\w*)\s*(<=|>=)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,2})?)\s*")
LONGEST_S = 1e8  # three years; timers of the operating system refuse much longer limits
MAX_SHOWN = 100  # characters of a value in a message
MOST, LARGEST = 10**9, 1e18  # of numbers without a limit of their own; messages name them only to those beyond
LONGEST_PATH, LONGEST_NAME = 4096, 240  # bytes; systems take file names of 255


@dataclass(frozen=True)
class Expected:
    """Replaces the description of a type in messages; checks nothing itself.

    Args:
        text: The description.
    """

    text: str


@dataclass(frozen=True)
class Rule(Predicate):
    """A predicate on a value of the right type, with its description for messages.

    Args:
        text: The description.
        choices: The valid values, if they are few.
    """

    text: str = ""
    choices: tuple[object, ...] = ()


class OneOf(Rule):
    """Metadata of an annotation: the value is one of several.

    Args:
        *choices: The allowed values.
    """

    def __init__(self, *choices: object) -> None:
        listed = f"one of {', '.join(map(str, choices))}" if len(choices) > 2 else " or ".join(map(str, choices))
        super().__init__(lambda value: value in choices, listed, choices)


class SomeOf(Rule):
    """Metadata of an annotation: the value is a list of at least one of several values, each at most once.

    Args:
        *choices: The allowed values.
    """

    def __init__(self, *choices: object) -> None:
        super().__init__(
            lambda values: 0 < len(values) == len(set(values)) and set(values) <= set(choices),
            f"some of {', '.join(map(str, choices))}, each once",
            choices,
        )


def is_path(text: str) -> bool:
    """Whether a text can be the path of a file or folder.

    Args:
        text: The text.

    Returns:
        False if it is blank, longer than systems allow, or has control characters.
    """
    return bool(text.strip()) and len(text.encode(errors="replace")) <= LONGEST_PATH and text.isprintable()


def is_name(text: str) -> bool:
    """Whether a text names a folder within another one, which it cannot leave; `a/b` is a folder in a folder.

    Args:
        text: The text.

    Returns:
        False for blank or long parts, parts `.` and `..`, an absolute path, backslashes and control characters.
    """
    parts = text.split("/")
    whole = all(part.strip() == part and part not in ("", ".", "..", "~") for part in parts)
    longest = max(len(part.encode(errors="replace")) for part in parts)
    return whole and longest <= LONGEST_NAME and is_path(text) and "\\" not in text


PositiveInt = Annotated[int, Ge(1), Le(MOST)]
Several = Annotated[int, Ge(1), Le(1_000_000)]
AtLeastTwo = Annotated[int, Ge(2), Le(MOST)]
Keep = Literal["front", "best", "all"]  # trials of a search whose weights are kept
Count = Annotated[int, Ge(0), Le(MOST)]
Seed = Annotated[int, Ge(0), Le(2**32 - 1)]
PositiveFloat = Annotated[float, Gt(0), Le(LARGEST)]
NonNegativeFloat = Annotated[float, Ge(0), Le(LARGEST)]
Rate = Annotated[float, Gt(0), Le(1000)]
Strength = Annotated[float, Ge(0), Le(1000)]
Millimetres = Annotated[float, Ge(0), Le(10_000)]
Spacing = Annotated[float, Ge(0.001), Le(1000), Expected("mm from 0.001 to 1000")]
Seconds = Annotated[float, Gt(0), Le(LONGEST_S), Expected("a number of seconds above 0, at most 1e8 (three years)")]
Duration = Annotated[
    float | str,
    Rule(lambda value: 0 < seconds_of(value) <= LONGEST_S, "seconds, or a text such as 90s, 30min, 2h or 1d"),
]
Share = Annotated[float, Ge(0), Le(1)]
Fraction = Annotated[float, Ge(0), Lt(1)]
Dims = Annotated[int, OneOf(2, 3)]
Side = Annotated[int, Ge(1), Le(4096)]  # voxels; a volume of 4096 voxels a side does not fit any memory
Sides = Annotated[
    Side | Annotated[Sequence[Side], Len(3, 3)],
    Expected("one side or three (D, H, W), of at least 1 voxel and at most 4096"),
]
Spacings = Annotated[
    Spacing | Annotated[Sequence[Spacing], Len(3, 3)],
    Expected("one positive number or three (D, H, W), in mm from 0.001 to 1000"),
]
Interval = Annotated[Sequence[float], Len(2, 2), Rule(lambda ends: ends[0] < ends[1], "[low, high] with low < high")]
HuWindow = Annotated[
    Sequence[float],
    Len(2, 2),
    Rule(
        lambda ends: -32768 <= ends[0] < ends[1] <= 32767 and not any(end % 1 for end in ends),
        "[low, high] in whole HU, low < high",
    ),
]
Flips = Annotated[Sequence[int], Rule(lambda axes: set(axes) <= {0, 1, 2}, "axes out of 0, 1, 2")]
Planes = Annotated[
    Sequence[str],
    Rule(
        lambda planes: set(planes) <= {"DH", "DW", "HW"} and len(set(planes)) == len(planes),
        "planes out of DH, DW, HW, each once",
    ),
]
Channels = Annotated[int, Ge(1), Le(4096)]
Text = Annotated[str, Rule(lambda text: bool(text.strip()) and text.isprintable(), "a text that is not empty")]
PathText = Annotated[str, Rule(is_path, "a path")]
PathName = PathText | Path


def is_url(text: str) -> bool:
    """Check whether a text has the form of a URL.

    Args:
        text: The text.

    Returns:
        True for a scheme, `://` and more.
    """
    return re.match(r"[a-zA-Z0-9+]+://\S", text) is not None


Url = Annotated[str, Rule(is_url, "a URL")]
StoreUrl = Annotated[str, Rule(is_url, "a URL such as sqlite:///study.db")]
Name = Annotated[str, Rule(is_name, "a name of at most 240 letters that stays in its folder (no .., no / first)")]
Limit = Annotated[
    str, Rule(lambda text: CONSTRAINT.fullmatch(text) is not None, "a limit such as params<=1e6 or auc>=0.8")
]
Package = Annotated[str, Rule(str.isidentifier, "a package such as annanas")]


def seconds_of(duration: float | str) -> float:
    """Return a duration in seconds.

    Args:
        duration: A number of seconds, or a text such as 90s, 30min, 2h or 1d.

    Returns:
        The seconds; NaN if the text is no duration.
    """
    if not isinstance(duration, str):
        return float(duration)
    match = DURATION.fullmatch(duration.strip())
    return float(match[1]) * UNITS_S[match[2]] if match is not None and match[2] in UNITS_S else math.nan


def duration_text(seconds: float) -> str:
    """Return a duration in words.

    Args:
        seconds: The duration in seconds, at least 0.

    Returns:
        Two or three digits and a unit, for example "40 s", "12 min", "3.2 h" or "95 ms".
    """
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    unit = next((unit for unit in ("d", "h", "min") if seconds >= 2 * UNITS_S[unit]), "s")
    value = seconds / UNITS_S[unit]
    return f"{value:.1f} {unit}" if value < 10 and unit in ("h", "d") else f"{value:.0f} {unit}"


def describe(hint: Any, value: Any = None) -> str:
    """Return an annotation in words, for the `expected` part of a message.

    Args:
        hint: The annotation.
        value: The value that was refused.

    Returns:
        A description.
    """
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        texts = [one.text for one in parts[1:] if isinstance(one, Expected | Rule)]
        if texts:
            return texts[-1] + (f", at most {MOST}" if _is_beyond(parts[1:], value) else "")
        return f"{describe(parts[0], value)}{_bounds(parts[1:], value)}"
    if origin is Literal:
        return f"one of {', '.join(map(str, parts))}"
    if origin in (Union, types.UnionType):
        return ", or ".join(dict.fromkeys(describe(part, value) for part in parts))
    if origin is tuple and Ellipsis not in parts:
        return f"a list of {len(parts)}: {', '.join(describe(part) for part in parts)}"
    if origin is not None and issubclass(origin, Mapping):
        return "a mapping" if parts[1:] in ((), (Any,)) else f"a mapping whose values are each {describe(parts[1])}"
    if origin is not None and issubclass(origin, Sequence):
        return f"a list, each entry {describe(parts[0])}" if parts else "a list"
    if hint is float and isinstance(value, float) and not math.isfinite(value):
        return "a finite number"
    if hint is Path:
        return "a path"
    if is_dataclass(hint) and inspect.isclass(hint):
        return f"a mapping with {', '.join(field.name for field in fields(hint))}"
    return PLAIN.get(hint) or (f"settings of {hint.__name__}" if inspect.isclass(hint) else "another value")


def own_limits(metadata: Sequence[object], value: Any = None) -> list[object]:
    """Return the metadata of an annotation without the general limits, which no message about other values names.

    Args:
        metadata: Metadata of an `Annotated`.
        value: The value that was refused.

    Returns:
        The metadata; MOST and LARGEST are among them only if the value is beyond.
    """
    if _is_beyond(metadata, value):
        return list(metadata)
    return [one for one in metadata if not (isinstance(one, Le) and one.le in (MOST, LARGEST))]


def _is_beyond(metadata: Sequence[object], value: Any) -> bool:
    number = isinstance(value, int | float) and math.isfinite(value)
    return number and any(isinstance(one, Le) and one.le in (MOST, LARGEST) and value > one.le for one in metadata)


def _bounds(metadata: Sequence[object], value: Any = None) -> str:
    """Return the range in words: " of at least 1", " above 0", " from 0 to 1", " in [0, 1)"."""
    metadata = own_limits(metadata, value)
    low = next((one for one in metadata if isinstance(one, Ge | Gt)), None)
    high = next((one for one in metadata if isinstance(one, Le | Lt)), None)
    if isinstance(low, Ge) and isinstance(high, Le):
        return f" from {low.ge} to {high.le}"
    if isinstance(low, Gt) and isinstance(high, Le):
        return f" above {low.gt}, at most {high.le}"
    if low is not None and high is not None:
        left = f"[{low.ge}" if isinstance(low, Ge) else f"({low.gt}"
        right = f"{high.le}]" if isinstance(high, Le) else f"{high.lt})"
        return f" in {left}, {right}"
    if low is not None:
        return f" of at least {low.ge}" if isinstance(low, Ge) else f" above {low.gt}"
    if high is not None:
        return f" of at most {high.le}" if isinstance(high, Le) else f" below {high.lt}"
    length = next((one for one in metadata if isinstance(one, Len)), None)
    if length is None:
        return ""
    return f", {length.min_length} of them" if length.min_length == length.max_length else ", at least one"


def shown(value: Any) -> str:
    """Return a value as a message shows it: as in a yaml file, shortened.

    Args:
        value: The value.

    Returns:
        One line.
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return (value if value.strip() else repr(value))[:MAX_SHOWN]
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(shown, value[:10]))}{', ...' if len(value) > 10 else ''}]"[:MAX_SHOWN]
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{name}: {shown(part)}' for name, part in list(value.items())[:10])}}}"[:MAX_SHOWN]
    if isinstance(value, int) and abs(value) > 10**18:
        return f"{float(value):g}" if abs(value) < 10**300 else "a number of hundreds of digits"
    return str(value)[:MAX_SHOWN] if isinstance(value, int | float | Path) else reprlib.repr(value)

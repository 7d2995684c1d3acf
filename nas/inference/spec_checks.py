"""Checks of the values of a model specification, which may come from a stranger: types, ranges and sizes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nas.task_spec import COLDEST, HOTTEST

LARGEST_SIDE = 4096  # voxels along an axis of an input
MOST_VALUES = 2**31  # of one input

Rule = tuple[Callable[[Any], bool], str]


def _number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _numbers(value: Any, length: int | None = None) -> bool:
    return isinstance(value, Sequence) and all(map(_number, value)) and length in (None, len(value))


def _positive(value: Any) -> bool:
    values = value if isinstance(value, Sequence) else [value]
    return 0 < len(values) <= 3 and all(_number(one) and one > 0 for one in values)


def _range(value: Any) -> bool:
    return _numbers(value, 2) and value[0] < value[1]


def _sides(value: Any) -> bool:
    values = value if isinstance(value, Sequence) else [value]
    return 0 < len(values) <= 3 and all(type(one) is int and 1 <= one <= LARGEST_SIDE for one in values)


SIDES = f"one side or up to three, of 1 to {LARGEST_SIDE} voxels"
PREPARATION: Mapping[str, Rule] = {
    "size": (_sides, SIDES),
    "spacing_mm": (lambda value: value is None or _positive(value), "mm above 0, or null"),
    "npy_spacing_mm": (_positive, "mm above 0"),
    "window": (lambda value: value is None or _range(value), "two numbers, the smaller first, or null"),
    "percentiles": (lambda value: _range(value) and value[0] >= 0 and value[1] <= 100, "two numbers within 0 to 100"),
    "scale": (_number, "a finite number"),
    "offset": (_number, "a finite number"),
    "crop": (lambda value: _sides(value) and isinstance(value, Sequence) and len(value) == 3, f"three {SIDES[9:]}"),
}
INFERENCE: Mapping[str, Rule] = {
    "window": (lambda value: value is None or _sides(value), f"{SIDES}, or null"),
    "overlap": (lambda value: _number(value) and 0 <= value <= 1, "a fraction"),
    "threshold": (lambda value: _number(value) and 0 < value < 1, "a probability between 0 and 1"),
    "temperature": (lambda value: _number(value) and COLDEST <= value <= HOTTEST, "a number from 0.05 to 20"),
    "positive": (lambda value: isinstance(value, str), "the name of a class"),
    "flips": (lambda value: _numbers(value) and set(value) <= {0, 1, 2}, "axes out of 0, 1, 2"),
    "rotations": (
        lambda value: isinstance(value, list | tuple) and all(one in ("DH", "DW", "HW") for one in value),
        "planes out of DH, DW, HW",
    ),
}


def first_fault(
    preparation: Mapping[str, Any],
    inference: Mapping[str, Any],
    shapes: Sequence[Sequence[int | str]],
    sides: Sequence[int],
) -> tuple[str, str] | None:
    """Find the first value of a specification that is out of range.

    Args:
        preparation: `ModelSpec.preparation`.
        inference: `ModelSpec.inference`.
        shapes: Shapes of the inputs.
        sides: All numbers of `ModelSpec.sides`.

    Returns:
        The invalid value as name=value and the valid ones; None if all are valid.
    """
    for section, values, rules in (("preparation", preparation, PREPARATION), ("inference", inference, INFERENCE)):
        for name, (holds, expected) in rules.items():
            if name in values and not holds(values[name]):
                return f"{section}.{name}={values[name]!r:.40}", expected
    for shape in shapes:
        lengths = [length for length in shape if not isinstance(length, str)]
        if not all(type(length) is int and 1 <= length <= LARGEST_SIDE for length in lengths):
            return f"shape={shape!r:.60}", f"lengths of 1 to {LARGEST_SIDE}, or their names"
        if math.prod(lengths) > MOST_VALUES:
            return f"shape={shape!r:.60}", f"at most {MOST_VALUES} values"
    if not all(type(side) is int and 1 <= side <= LARGEST_SIDE for side in sides):
        return f"sides={sides!r:.40}", SIDES
    return None


def require_types(content: Mapping[str, Any]) -> None:
    """Check the types of all parts of a specification before it is constructed.

    Args:
        content: The parsed file, without its schema.

    Raises:
        TypeError: For the first part of another type.
    """
    _require(content, "task", dict)
    if "kind" in content["task"]:
        _require(content["task"], "kind", str)
    for name in ("inputs", "outputs"):
        for port in _require(content, name, list):
            for part in ("name", "axes"):
                _require(port, part, str)
            if isinstance(port["shape"], list):  # else the specification is refused as a whole
                _require_each(port["shape"], (int, str), f"{name}.shape")
            _require_each(port.get("channels", []), (str,), f"{name}.channels")
    _require(content, "sides", dict)
    _require_each((content["sides"].get("multiple_of", 1), content["sides"].get("at_least", 1)), (int,), "sides")
    for file in _require(content, "files", dict).values():
        _require(file, "file", str)
        _require_checksums(_require(file, "sha256", dict))
    weights = content.get("weights", {})
    if isinstance(weights, Mapping):
        _require_checksums(weights)


def _require(part: Any, name: str, kind: type) -> Any:
    if not isinstance(part, Mapping) or not isinstance(part[name], kind):
        raise TypeError(f"{name} of another type than {kind.__name__}")
    return part[name]


def _require_each(values: Any, kinds: tuple[type, ...], name: str) -> None:
    if not isinstance(values, list | tuple) or not all(type(value) in kinds for value in values):
        raise TypeError(f"{name} with values of another type")


def _require_checksums(checksums: Mapping[Any, Any]) -> None:
    """Check that checksums are texts by the name of a file in the folder of the specification."""
    for name, checksum in checksums.items():
        plain = name not in ("", ".", "..") and not set(name) & set("/\\\0")
        if not plain or not isinstance(checksum, str):
            raise TypeError(f"a checksum of {name!r:.80}, which is no file of its folder")
